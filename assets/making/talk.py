# ruff: noqa: E501  (a wording stays on one line)
"""Small talk: greetings, moods, who the model is, and "I don't know" for what lies outside its world."""

from __future__ import annotations

from assets.making.phrasing import Phrasings, dress, expand
from assets.making.turn import Turn, keywords
from assets.making.wider import SMALL_TALK_WIDER
from assets.making.words import DAYS, THINGS, Words

HELLO = "Hello! How can I help you today?"
SMALL_TALK: tuple[tuple[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]], ...] = (
    # answer, keywords, seen phrasings, unseen phrasings
    (
        HELLO,
        ("help",),
        (
            "[Hello|Hi|Hey|Hello there|Hi there|Hey there|Greetings|Howdy|Hiya][!|.|]",
            "[Hello|Hi|Hey] [again|friend|my friend|computer|model|assistant|Starter|everyone|there, friend][!|.|]",
            "[Hello|Hi|Hey][, | ]hello[!|.]",
            "[Hi|Hello], [I am here|it's me|I am back|nice to see you][!|.]",
            "[Say hello|Greet me|Say hi|Say hello to me][!|.|, please.]",
            "[Anybody there|Are you there|Is anyone there|Can you hear me]?",
            "[Hi|Hello][!|,] [can|could] you help me?",
            "I need [help|your help|some help][.|!]",
        ),
        (
            "Hello, little model!",
            "Well hello there!",
            "Hi, hi!",
            "Hey you!",
            "Oh, hello!",
            "Greetings, friend!",
            "hey hey",
            "hello my dear",
        ),
    ),
    (
        "I am fine, thank you! How are you?",
        ("fine",),
        (
            "[How are you|How are you doing|How do you do|How do you feel|How's it going|How is it going|Are you well]?",
            "[How are you|How are you doing|How do you feel] [today|now|this morning|tonight|right now]?",
            "[Hello|Hi|Hey][!|,] [how are you|how are you doing|how's it going|how do you feel][ today|]?",
            "[What's up|How have you been|How are things|Are you OK|Are you fine|How is your day|How is life][?|]",
            "Tell me how you are[.| today.]",
        ),
        (
            "Hi, how are things going?",
            "How are you feeling this evening?",
            "Good to see you, how are you?",
            "And how are you, my friend?",
            "Hello, are you doing well?",
        ),
    ),
    (
        "Good morning! How can I help you today?",
        ("help", "morning"),
        (
            "[Good morning|Morning|Hello, good morning|Hi, good morning][!|.|]",
            "Good morning[,| to you,|,] [friend|my friend|Starter|to you][!|.]",
        ),
        ("A very good morning!", "Good morning, dear model!", "I wish you a good morning."),
    ),
    (
        "Good afternoon! How can I help you today?",
        ("help", "afternoon"),
        (
            "[Good afternoon|Hello, good afternoon|Hi, good afternoon][!|.|]",
            "Good afternoon[,| to you,] [friend|my friend|Starter][!|.]",
        ),
        ("A very good afternoon!", "Good afternoon, dear model!", "I wish you a good afternoon."),
    ),
    (
        "Good evening! How can I help you today?",
        ("help", "evening"),
        (
            "[Good evening|Evening|Hello, good evening|Hi, good evening][!|.|]",
            "Good evening[,| to you,] [friend|my friend|Starter][!|.]",
        ),
        ("A very good evening!", "Good evening, dear model!", "I wish you a good evening."),
    ),
    (
        "Good night! Sleep well.",
        ("sleep",),
        (
            "[Good night|Night|Goodnight|Night night|OK, good night|Thanks, good night][!|.|]",
            "Good night[,| to you,] [friend|my friend|Starter][!|.]",
            "[I am going to bed|I go to bed now|Time for bed|I will sleep now|I am going to sleep][!|.]",
            "[Sleep well|Sweet dreams][!|.|]",
        ),
        ("A very good night!", "Good night, dear model!", "I wish you a good night."),
    ),
    (
        "Goodbye! Have a nice day.",
        ("nice",),
        (
            "[Bye|Goodbye|Bye bye|See you|See you later|See you soon|Farewell|Good bye|Take care|So long][!|.|]",
            "[Bye|Goodbye|See you][, | ][friend|my friend|Starter|for now|then|tomorrow|next time][!|.]",
            "[I have to go|I must go|I am leaving|I am going home|I need to go|I must leave][ now|][.|!]",
            "[OK|Thanks|Thank you|Well][,|] [bye|goodbye|see you|that is all][!|.]",
            "[Until|See you] [tomorrow|next time|next week|Monday][!|.]",
            "Say goodbye[.|!]",
        ),
        (
            "Bye for today!",
            "I have to leave you now, goodbye!",
            "OK then, bye bye!",
            "See you again soon!",
            "Well, farewell!",
        ),
    ),
    (
        "You are welcome!",
        ("welcome",),
        (
            "[Thanks|Thank you|Many thanks|Thanks a lot|Thank you very much|Thank you so much|Thanks so much|Thx][!|.|]",
            "[Thanks|Thank you] [for your help|for that|for the answer|for helping me|for everything|my friend|Starter][!|.]",
            "[Great|OK|Good|Perfect|Nice|Cool][,|] [thanks|thank you][!|.]",
            "[That was|That is] [helpful|very helpful][, thanks|, thank you|][.|!]",
            "I [am grateful|thank you][.|!]",
            "[Thanks|Thank you][,|!] [that helps|that is all I need|that was good][.|!]",
        ),
        (
            "Thank you for this!",
            "Thanks, you helped me a lot.",
            "A big thank you!",
            "Oh, thank you very, very much!",
        ),
    ),
    (
        "I am Starter, a small language model.",
        ("starter",),
        (
            "[Who are you|What are you|What's your name|What is your name|Who is this|Do you have a name|Your name]?",
            "[Hello|Hi|Hey][!|,] [who are you|what is your name|what's your name|what are you]?",
            "[Tell me|Can you tell me|Please tell me] [your name|who you are|what you are|about yourself]?",
            "[Introduce yourself|Say your name|Tell me about yourself|Tell me your name|Tell me who you are][.|!]",
            "[What do they call you|What should I call you|How should I call you|What are you called]?",
            "[Who am I talking to|Who am I speaking with|With whom do I talk]?",
        ),
        (
            "May I know your name?",
            "What do people call you?",
            "I would like to know who you are.",
            "And you, who are you?",
            "Say who you are, please.",
        ),
    ),
    (
        "I can answer simple questions, add small numbers, make lists, tell short stories and copy words.",
        ("questions", "lists"),
        (
            "[What can you do|What are you able to do|What can I ask you|What can you help me with|What do you know]?",
            "[How can you help me|What are you good at|What are your skills|What can you do for me]?",
            "[Tell me what you can do|Tell me what you know|Show me what you can do|List your skills][.|!]",
            "[Help|What are you for|What is your job|What do you do]?",
        ),
        (
            "Which things are you able to do?",
            "With what can you help me?",
            "Could you tell me what you can do?",
        ),
    ),
    (
        "No, I am a small language model.",
        ("model",),
        (
            "Are you [a human|human|a person|a man|a woman|real|a robot|alive|a real person|a boy|a girl|an animal]?",
            "[Do you have|Have you got] [a body|a heart|feelings|hands|eyes|a mother|a family|friends|a house]?",
            "Do you [eat|sleep|dream|drink|live in a house]?",
        ),
        ("Am I talking to a human being?", "Are you a person like me?", "Are you a living person?"),
    ),
    (
        "I was made by a script of Finetune Studio.",
        ("studio",),
        (
            "[Who made you|Who built you|Who created you|Where do you come from|Where are you from|Who is your maker]?",
            "[How were you made|Who trained you|Who wrote you|What made you|Who programmed you]?",
            "Tell me who [made|built|created|trained] you.",
        ),
        ("Who is the one that made you?", "By whom were you made?", "Say who created you."),
    ),
    (
        "I am glad to hear that!",
        ("glad",),
        (
            "I [am|feel] [so |very |]{good} [today|now|]",
            "I'm [so |very |]{good}[ today| now|][.|!]",
            "[I had|I have] a [good|great|nice|wonderful] day[.|!]",
            "[I am fine|I'm fine|I am well|I'm good|I'm doing well|I am OK|Fine|Very well|All is well][, thanks|, thank you|][.|!]",
            "[Today is|This is] a [good|great|wonderful|beautiful] day[.|!]",
        ),
        ("Today I am so very {good}!", "Everything makes me {good} now.", "I must say I feel {good}."),
    ),
    (
        "I am sorry to hear that. I hope you feel better soon.",
        ("sorry", "better"),
        (
            "I [am|feel] [so |very |]{bad} [today|now|]",
            "I'm [so |very |]{bad}[ today| now|][.|!]",
            "[I had|I have] a [bad|terrible|hard|awful] day[.|!]",
            "[My head hurts|I am not well|I do not feel well|I don't feel good|I have a cold|I am not happy][.|!]",
        ),
        ("Today I am so very {bad}.", "Everything makes me {bad} now.", "I must say I feel {bad}."),
    ),
    (
        "Thank you! That is very kind of you.",
        ("thank",),
        (
            "[You are|You're] [great|nice|good|smart|clever|funny|wonderful|the best|very good|so kind|amazing|cool][!|.]",
            "[I like you|I love you|Well done|Good job|Good answer|Great answer|Good work|Nice work][!|.]",
            "[You did|You are doing] [well|a good job][!|.]",
        ),
        ("You really are a clever model!", "What a good answer!", "I like talking with you."),
    ),
    (
        "No problem! What can I do for you?",
        ("problem",),
        (
            "[Sorry|I am sorry|I'm sorry|Excuse me|Pardon me|My mistake|Oops|Forgive me][!|.]",
            "[Sorry|I am sorry] [for that|about that|I was wrong][!|.]",
        ),
        ("Oh, I am so sorry!", "I want to say sorry.", "Please forgive me!"),
    ),
    (
        "Good! What else can I do for you?",
        ("else",),
        (
            "[OK|Okay|Good|Great|Yes|Fine|Nice|Cool|I see|All right|Perfect|Sure|Right][!|.|]",
            "[That is|That's] [right|good|correct|nice|fine|great|true][!|.]",
        ),
        ("OK, I see that.", "Yes, that is good!", "All right, fine."),
    ),
    (
        "Why did the chicken cross the road? To get to the other side!",
        ("chicken", "side"),
        (
            "[Tell me|Do you know|Can you tell me|Know] [a joke|a good joke|a funny joke|any joke|jokes]?",
            "[Tell me a joke|Make me laugh|Say something funny|Tell a joke|Tell me something funny|I want to hear a joke][.|!|, please.]",
        ),
        ("I would love to hear a joke.", "Have you got a joke for me?", "Could you make me laugh?"),
    ),
    (
        "Nice to meet you too!",
        ("meet",),
        (
            "[Nice|Good|Glad|Pleased|Happy] to meet you[!|.|, Starter.|, my friend!]",
            "[It is|It's] [nice|good] to meet you[!|.]",
        ),
        ("How nice to meet you!", "I am very pleased to meet you."),
    ),
)
GOOD = ("happy", "good", "great", "well", "glad", "fine", "cheerful", "wonderful")
BAD = (
    "sad",
    "tired",
    "sick",
    "ill",
    "angry",
    "lonely",
    "unhappy",
    "bored",
    "terrible",
    "hungry",
    "afraid",
    "bad",
)
BY_NAME = Phrasings(
    (
        "[Hello|Hi|Hey][!|,] [I am|I'm|my name is|this is] {name}.",
        "[My name is|I am|I'm|Call me|You can call me|They call me] {name}.",
        "[I am|I'm] called {name}.",
        "[Good morning|Good evening|Good afternoon][!|,] [I am|I'm|my name is] {name}.",
    ),
    ("People know me as {name}.", "Hello there, {name} is my name.", "Let me introduce myself: {name}."),
)

UNKNOWN = Phrasings(
    (
        "Who won the [match|game|race|election|war|prize] [yesterday|last night|last week|today]?",
        "What will the weather be [tomorrow|next week|today] in {place}?",
        "What is the [weather|temperature] [like |]in {place}?",
        "How many people live in {place}?",
        "What is the capital of {Word}?",
        "Who is [the mayor|the king|the president|the queen|the boss] of {place}?",
        "Who is {name}?",
        "[What|Who] is {Word}?",
        "Where is {Word}?",
        "What does {word} mean?",
        "How old is {name}?",
        "Where does {name} live?",
        "What [time|day] is it [now|]?",
        "What did I [eat|do|say|buy|dream] [yesterday|last night|last week]?",
        "What is my [name|age|phone number|address|dog's name|favourite colour]?",
        "[Where are|Where did I put] my [keys|glasses|shoes|books]?",
        "When was {name} born?",
        "When does the [train|bus|plane] to {place} [leave|arrive]?",
        "When do you [open|close]?",
        "[What are|Tell me] your opening hours?",
        "Where is [your shop|your store|the shop]?",
        "How much does the {thing} cost?",
        "How much is [the|a] {thing}?",
        "[Do you sell|Can I buy|Do you have] a {thing}[ in your shop|]?",
        "How long does [delivery|shipping|a repair] take?",
        "Can I [return|exchange|repair] the {thing}?",
        "How can I [pay|order|contact you|reach you]?",
        "Is the shop open on {day}?",
        "Who wrote the book {Word}?",
        "What is the phone number of {name}?",
        "Which [film|song|book] is the best [of all|this year]?",
        "How do I [build a rocket|fix a computer|win the lottery|become rich|repair a car|get to {place}]?",
        "What is the distance between {place} and {place2}?",
        "Who invented the {word}?",
        "What is the price of gold[ today|]?",
        "What happened in [1848|1923|1765|1999|1612|2010]?",
        "Explain {word} to me.",
        "What is the square root of {number}?",
        "[What is|What's|How much is] {number} [times|divided by] {number}?",
        "What colour is {name}'s [car|hat|house]?",
    ),
    (
        "Can you predict who will win the game next Sunday?",
        "What is the name of the mayor of {place}?",
        "Tell me what {word} means.",
        "What was the weather in {place} last year?",
        "Who lives at number {number} in {place}?",
        "What is {name}'s favourite song?",
        "Where can I find {name}?",
        "What is the history of {place}?",
    ),
)


def greeting(words: Words) -> Turn:
    """Small talk of any kind, with its one answer."""
    if words.rng.random() < 0.2:
        name = words.name()
        return Turn(
            "greetings",
            words.phrase(BY_NAME, wider="by name", name=name),
            f"Nice to meet you, {name}!",
            keywords("nice", name),
        )
    answer, wanted, seen, unseen = words.rng.choice(
        SMALL_TALK if words.rng.random() < 0.7 else SMALL_TALK[:9]
    )
    templates = unseen if words.unseen else seen
    if words.wide and words.rng.random() < 0.5:
        templates = SMALL_TALK_WIDER.get(answer, templates)
    template = expand(words.rng.choice(templates), words.rng).strip()
    prompt = template.format(good=words.pick(GOOD), bad=words.pick(BAD))
    if not words.unseen and words.rng.random() < 0.1:
        prompt = prompt.lower()
    if not words.unseen and words.rng.random() < 0.1:
        prompt = dress(prompt, words.rng)
    return Turn("greetings", prompt, answer, keywords(*wanted))


def unknown(words: Words) -> Turn:
    """A question outside the model's world."""
    prompt = words.phrase(
        UNKNOWN,
        wider="unknown",
        name=words.name(),
        place=words.place(),
        place2=words.place(),
        word=words.invented(),
        Word=words.invented().capitalize(),
        thing=words.pick(THINGS),
        day=words.pick(DAYS),
        number=words.number(),
    )
    return Turn("unknown", prompt, "I don't know.", {"kind": "unknown"})
