"""Copying words that were never seen: repeating, remembering what was said, taking up a statement."""

from __future__ import annotations

from assets.making.phrasing import Phrasings, article, listed
from assets.making.turn import Turn, keywords
from assets.making.words import (
    ANIMALS,
    COLOURS,
    DAYS,
    DRINKS,
    FOODS,
    HOBBIES,
    JOBS,
    NUMBER_WORDS,
    SPORTS,
    THINGS,
    Words,
)

REPEAT = Phrasings(
    (
        "Repeat[:| after me:] {text}",
        "Repeat [this|that|these words|the words|the following|what I say][:|,] {text}",
        "Repeat {text}[.|]",
        'Repeat "{text}"[.|]',
        'Repeat [the word |the words |the phrase |the text ]"{text}"[.|]',
        "Say {text}[.|]",
        "Say[:| this:| after me:| the words:| the following:] {text}",
        'Say [the word |the words |]"{text}"[.|]',
        "Copy[:| this:| this text:| these words:] {text}",
        "Copy {text}[.|]",
        'Copy [the word |the words |the text |]"{text}"[.|]',
        "Write[:| this:| the words:| the following:] {text}",
        'Write [the word |the words |the text |]"{text}"[.|]',
        "Write {text}[.|]",
        "Echo[:|] {text}",
        'Echo "{text}"[.|]',
        "Print {text}[.|]",
        'Print "{text}"[.|]',
        "Type {text}[.|]",
        "Reply with[:|] {text}",
        'Reply with [only |just |]"{text}"[.|]',
        "Answer with[:|] {text}",
        'Answer with [the word|the words] "{text}"[.|]',
        "Output[:|] {text}",
        "[Can|Could|Will|Would] you [repeat|say|copy|write] {text}?",
        '[Can|Could|Will|Would] you [repeat|say|copy|write] "{text}"?',
        "I say {text}[,| and] you repeat it.",
        "I want you to [say|repeat|write] {text}[.|]",
        "Say exactly [this:|the following:|] {text}",
        "[Repeat|Say|Write] [it|this] [back to me|again|once|one more time]: {text}",
        "Return [the text|the words] {text}[.|]",
    ),
    (
        "Now say after me: {text}",
        "Please echo back {text}",
        'What I want to hear from you is "{text}".',
        "Give me back these words: {text}",
        "Your answer must be {text}",
        "Copy out the following: {text}",
        'Say it with me: "{text}"',
    ),
)
TIMES = Phrasings(
    (
        "[Say|Repeat|Write|Print] {x} {n}.",
        '[Say|Repeat|Write|Print] "{x}" {n}.',
        "[Say|Repeat|Write|Print] the word {x} {n}.",
        "[Can|Could] you [say|repeat|write] {x} {n}?",
    ),
    ("I want to read {x} {n}.", "Let me hear the word {x} {n}."),
)
STATE = {
    # what is told: (ways to tell it, ways to ask for it, answer)
    "name": (
        (
            "My name is {v}.",
            "I am {v}.",
            "I'm {v}.",
            "Call me {v}.",
            "My friends call me {v}.",
            "They call me {v}.",
        ),
        (
            "[What is|What's] my name?",
            "Who am I?",
            "What am I called?",
            "[Do you know|Can you tell me|Tell me|Do you remember] my name?",
            "[Can you say|Please say] my name?",
            "How am I called?",
        ),
        "Your name is {v}.",
    ),
    "town": (
        (
            "I live in {v}.",
            "I am from {v}.",
            "I come from {v}.",
            "My home is in {v}.",
            "My city is {v}.",
            "I'm from {v}.",
        ),
        (
            "Where do I live?",
            "Where am I from?",
            "[What|Which] [city|town] do I live in?",
            "[Do you know|Tell me|Do you remember] where I live?",
            "Where do I come from?",
            "Where is my home?",
        ),
        "You live in {v}.",
    ),
    "age": (
        ("I am {v} years old.", "I'm {v} years old.", "My age is {v}.", "I am {v}."),
        ("How old am I?", "[What is|What's] my age?", "[Do you know|Tell me|Do you remember] how old I am?"),
        "You are {v} years old.",
    ),
    "job": (
        ("I work as {a_v}.", "I am {a_v}.", "I'm {a_v}.", "My job is {v}."),
        (
            "What is my job?",
            "What do I do[ for a living|]?",
            "What do I work as?",
            "[Do you know|Tell me] my job?",
        ),
        "You are {a_v}.",
    ),
    "pet": (
        (
            "My {pet} is called {v}.",
            "I have a {pet} named {v}.",
            "My {pet}'s name is {v}.",
            "I have a {pet} called {v}.",
        ),
        (
            "[What is|What's] my {pet}'s name?",
            "[What is|What's] the name of my {pet}?",
            "What is my {pet} called?",
            "Who is {v}?",
            "[Do you know|Tell me|Do you remember] the name of my {pet}?",
        ),
        "Your {pet} is called {v}.",
    ),
    "food": (
        (
            "I like {v}.",
            "I love {v}.",
            "I like to eat {v}.",
            "My favourite food is {v}.",
            "My favorite food is {v}.",
        ),
        (
            "What do I like[ to eat|]?",
            "What do I love?",
            "[What is|What's] my [favourite|favorite] food?",
            "What do I eat?",
        ),
        "You like {v}.",
    ),
    "drink": (
        ("I drink {v}.", "I like to drink {v}.", "My favourite drink is {v}.", "I only drink {v}."),
        (
            "What do I [like to |]drink?",
            "[What is|What's] my [favourite|favorite] drink?",
            "Tell me what I drink.",
        ),
        "You drink {v}.",
    ),
    "sport": (
        ("I play {v}.", "I like to play {v}.", "My sport is {v}.", "I love playing {v}."),
        (
            "What [sport|game] do I play?",
            "What do I [like to |]play?",
            "[What is|What's] my [favourite |]sport?",
        ),
        "You play {v}.",
    ),
    "hobby": (
        ("My hobby is {v}.", "I like {v}.", "I enjoy {v}."),
        ("[What is|What's] my hobby?", "What do I [enjoy|like]?", "[Do you know|Tell me] my hobby?"),
        "You like {v}.",
    ),
    "colour": (
        ("My favourite colour is {v}.", "My favorite color is {v}.", "The colour that I like is {v}."),
        (
            "[What is|What's] my [favourite|favorite] [colour|color]?",
            "What [colour|color] do I like?",
            "Tell me my favourite colour.",
        ),
        "Your favourite colour is {v}.",
    ),
    "number": (
        (
            "My number is {v}.",
            "My lucky number is {v}.",
            "My phone number is {v}.",
            "My code is {v}.",
            "Remember the number {v}.",
            "The code is {v}.",
        ),
        (
            "[What is|What's] my [number|code|phone number|lucky number]?",
            "[Which|What] number did I [say|tell you]?",
            "[What is|What's] the [number|code]?",
            "[Do you know|Tell me|Do you remember] [my|the] [number|code]?",
        ),
        "The number is {v}.",
    ),
    "word": (
        (
            "Remember the word {v}.",
            "The secret word is {v}.",
            "My word is {v}.",
            "The magic word is {v}.",
            "The password is {v}.",
            "My password is {v}.",
        ),
        (
            "[What is|What's] the [secret |magic |]word?",
            "[Which|What] word did I [say|tell you]?",
            "[Do you know|Tell me|Do you remember] the word?",
            "[What is|What's] [my|the] [word|password]?",
        ),
        "The word is {v}.",
    ),
    "friend": (
        (
            "My {kin} is called {v}.",
            "My {kin}'s name is {v}.",
            "I have a {kin} called {v}.",
            "The name of my {kin} is {v}.",
        ),
        (
            "[What is|What's] my {kin}'s name?",
            "[What is|What's] the name of my {kin}?",
            "What is my {kin} called?",
            "[Do you know|Tell me] the name of my {kin}?",
        ),
        "Your {kin} is called {v}.",
    ),
    "day": (
        ("My birthday is on {v}.", "The party is on {v}.", "We meet on {v}.", "I come on {v}."),
        (
            "When is [my birthday|the party]?",
            "[On which|What] day [is it|do we meet]?",
            "When do [we meet|I come]?",
        ),
        "It is on {v}.",
    ),
}
UNSEEN_ASK = {
    "name": ("By what name do I go?", "What did I say my name is?"),
    "town": ("Which place do I call home?", "In what town is my house?"),
    "age": ("What age am I?", "How many years have I lived?"),
    "job": ("How do I earn money?", "What is it that I work as?"),
    "pet": ("How do I call my {pet}?", "Say my {pet}'s name."),
    "food": ("Which food am I fond of?", "What would I like on my plate?"),
    "drink": ("What is in my cup?", "Which drink am I fond of?"),
    "sport": ("At what game am I good?", "Which sport is mine?"),
    "hobby": ("What am I fond of?", "How do I spend my free time?"),
    "colour": ("In which colour would I paint my room?", "Say the colour that I like."),
    "number": ("Say the number that I told you.", "Which number was it?"),
    "word": ("Say the word that I told you.", "Which word was it?"),
    "friend": ("How is my {kin} called?", "Say my {kin}'s name."),
    "day": ("Which day was it?", "Say the day that I told you."),
}
KIN = listed("brother sister friend mother father son daughter teacher uncle aunt cousin boss neighbour")
NOTED = "I see. {text}"


def told_value(words: Words, what: str) -> str:
    """A value of the kind that the statement tells."""
    draw = {
        "name": words.name,
        "town": words.place,
        "age": lambda: str(words.rng.randint(3, 99)),
        "job": lambda: words.of(JOBS, 0.15),
        "pet": words.name,
        "food": lambda: words.of(FOODS),
        "drink": lambda: words.of(DRINKS),
        "sport": lambda: words.of(SPORTS),
        "hobby": lambda: words.of(HOBBIES, 0.15),
        "colour": lambda: words.of(COLOURS, 0.2),
        "number": words.digits,
        "word": words.invented,
        "friend": words.name,
        "day": lambda: words.pick(DAYS),
    }
    return draw[what]()


def telling(words: Words) -> tuple[str, str, str, str, str]:
    """What is told, a statement, a question for it, its answer, and the value."""
    what = words.rng.choice(list(STATE))
    state, ask, answer = STATE[what]
    value = told_value(words, what)
    slots = {"v": value, "a_v": article(value), "pet": words.pick(ANIMALS[:16]), "kin": words.pick(KIN)}
    question = words.phrase(Phrasings(ask, UNSEEN_ASK[what]), **slots)
    return what, words.rng.choice(state).format(**slots), question, answer.format(**slots), value


def text_to_repeat(words: Words) -> str:
    """One to five words, invented and real, or a number, or a sentence."""
    rng = words.rng
    draw = rng.random()
    if draw < 0.08:
        return words.digits()
    if draw < 0.2:
        return telling(words)[1].rstrip(".")
    texts = []
    for _ in range(rng.choice((1, 1, 2, 2, 3, 3, 4, 5))):
        kind = rng.random()
        real = rng.choice((THINGS, ANIMALS, COLOURS, FOODS))
        texts.append(words.invented() if kind < 0.5 else words.name() if kind < 0.65 else words.pick(real))
    return (", " if rng.random() < 0.1 else " ").join(texts)


def several_times(words: Words) -> Turn:
    """Say a word two to five times."""
    text = words.invented() if words.rng.random() < 0.6 else words.pick(THINGS)
    count = words.rng.randint(2, 5)
    amount = "twice" if count == 2 and words.rng.random() < 0.6 else f"{NUMBER_WORDS[count]} times"
    said = " ".join([text] * count)
    return Turn(
        "repeat", words.phrase(TIMES, wider="times", x=text, n=amount), said, {"kind": "exact", "text": said}
    )


def repeat(words: Words) -> Turn:
    """Say exactly what the prompt asks for."""
    if words.rng.random() < 0.05:
        return several_times(words)
    text = text_to_repeat(words)
    prompt = words.phrase(REPEAT, wider="repeat", text="\0").replace("\0", text)
    return Turn("repeat", prompt, text, {"kind": "exact", "text": text})


def memory(words: Words) -> list[Turn]:
    """Facts about the speaker, told and asked for: in one prompt, or in turns with others between them."""
    first = telling(words)
    second = telling(words)
    while second[0] == first[0] or second[4] == first[4]:
        second = telling(words)
    facts = [first, second] if words.rng.random() < 0.6 else [first]
    asked = words.rng.choice(facts)
    others = tuple(fact[4] for fact in facts if fact is not asked)
    check = keywords(asked[4], none=others)
    if words.rng.random() < 0.55:
        prompt = " ".join(fact[1] for fact in facts) + " " + asked[2]
        return [Turn("memory", prompt, asked[3], check)]
    turns = [Turn("memory", fact[1], reaction(fact)) for fact in facts]
    return [*turns, Turn("memory", asked[2], asked[3], check)]


def reaction(fact: tuple[str, str, str, str, str]) -> str:
    """How a told fact is taken up: a name is greeted, anything else said back."""
    if fact[0] == "name":
        return f"Nice to meet you, {fact[4]}!"
    return NOTED.format(text=fact[3])
