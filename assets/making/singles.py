"""Facts that belong to no table (answer, keyword, wordings), and the ways to ask for an opposite."""

from __future__ import annotations

from assets.making.phrasing import Phrasings

SINGLES: tuple[tuple[str, str, Phrasings], ...] = (
    (
        "Jupiter is the biggest planet.",
        "Jupiter",
        Phrasings(
            (
                "[What|Which] is the [biggest|largest] planet?",
                "[Which|What] planet is the [biggest|largest]?",
                "Name the [biggest|largest] planet.",
                "What's the [biggest|largest] planet [in the solar system|there is]?",
                "Tell me the name of the [biggest|largest] planet.",
                "[The biggest|The largest] planet is which one?",
            ),
            ("Of all planets, which is the largest?", "Which of the planets has the greatest size?"),
        ),
    ),
    (
        "The elephant is the biggest land animal.",
        "elephant",
        Phrasings(
            (
                "[What|Which] is the [biggest|largest] land animal?",
                "[Which|What] animal is the [biggest|largest] on land?",
                "Name the [biggest|largest] land animal.",
                "What's the [biggest|largest] animal on land?",
                "Tell me the [biggest|largest] land animal.",
            ),
            ("Of the animals on land, which is the biggest?", "Which land animal grows largest?"),
        ),
    ),
    (
        "The cheetah is the fastest land animal.",
        "cheetah",
        Phrasings(
            (
                "[What|Which] is the [fastest|quickest] [land |]animal?",
                "[Which|What] animal is the [fastest|quickest]?",
                "[Which|What] animal runs [fastest|the fastest]?",
                "Name the fastest [land |]animal.",
                "Tell me the fastest [land |]animal.",
            ),
            ("Of all land animals, which is the fastest?", "Which animal wins every race on land?"),
        ),
    ),
    (
        "The giraffe is the tallest animal.",
        "giraffe",
        Phrasings(
            (
                "[What|Which] is the tallest animal?",
                "[Which|What] animal is the tallest?",
                "Name the tallest animal.",
                "What's the tallest animal [in the world|of all|]?",
                "[Which|What] animal has the longest neck?",
            ),
            ("Of all animals, which is the tallest?", "Which animal is taller than all others?"),
        ),
    ),
    (
        "Everest is the highest mountain.",
        "Everest",
        Phrasings(
            (
                "[What|Which] is the [highest|tallest] mountain?",
                "[Which|What] mountain is the [highest|tallest]?",
                "Name the [highest|tallest] mountain [in the world|on earth|].",
                "What's the [highest|tallest] mountain [in the world|on earth]?",
                "Tell me the [highest|tallest] mountain.",
            ),
            ("Of all mountains, which is the highest?", "Which mountain is higher than all others?"),
        ),
    ),
    (
        "The Pacific is the biggest ocean.",
        "Pacific",
        Phrasings(
            (
                "[What|Which] is the [biggest|largest] ocean?",
                "[Which|What] ocean is the [biggest|largest]?",
                "Name the [biggest|largest] ocean.",
                "What's the [biggest|largest] ocean [in the world|on earth]?",
            ),
            ("Of all oceans, which is the largest?", "Which ocean is bigger than all others?"),
        ),
    ),
    (
        "The lion is the king of the animals.",
        "lion",
        Phrasings(
            (
                "[Who|Which animal] is the king of the [animals|jungle]?",
                "[What|Which] animal is [called |]the king of the [animals|jungle]?",
                "Name the king of the [animals|jungle].",
            ),
            ("Which animal do people call the king of the jungle?",),
        ),
    ),
    (
        "The sun rises in the east.",
        "east",
        Phrasings(
            (
                "Where does the sun [rise|come up]?",
                "In [which|what] direction does the sun [rise|come up]?",
                "Tell me where the sun [rises|comes up].",
                "The sun [rises|comes up] where?",
            ),
            ("On which side does the sun come up in the morning?", "From what direction comes the sunrise?"),
        ),
    ),
    (
        "The sun sets in the west.",
        "west",
        Phrasings(
            (
                "Where does the sun [set|go down]?",
                "In [which|what] direction does the sun [set|go down]?",
                "Tell me where the sun [sets|goes down].",
                "The sun [sets|goes down] where?",
            ),
            ("On which side does the sun go down in the evening?", "In what direction is the sunset?"),
        ),
    ),
    (
        "Water freezes at 0 degrees.",
        "0",
        Phrasings(
            (
                "When does water freeze?",
                "At [what|which] temperature does water freeze?",
                "[How cold must it be|How cold is it] when water freezes?",
                "Water freezes at how many degrees?",
                "Tell me when water freezes.",
            ),
            ("At how many degrees does water turn to ice?", "What is the freezing point of water?"),
        ),
    ),
    (
        "Water boils at 100 degrees.",
        "100",
        Phrasings(
            (
                "When does water boil?",
                "At [what|which] temperature does water boil?",
                "[How hot must it be|How hot is it] when water boils?",
                "Water boils at how many degrees?",
                "Tell me when water boils.",
            ),
            ("At how many degrees does water start to boil?", "What is the boiling point of water?"),
        ),
    ),
    (
        "We live on the planet Earth.",
        "Earth",
        Phrasings(
            (
                "[What|Which] planet do we live on?",
                "On [what|which] planet do [we|people|you] live?",
                "[What is|What's] the name of our planet?",
                "Name [our planet|the planet we live on].",
            ),
            ("What is our planet called?", "People live on what planet?"),
        ),
    ),
    (
        "The moon goes around the earth.",
        "moon",
        Phrasings(
            (
                "What goes around the earth?",
                "What [moves|turns|circles] around the earth?",
                "[What|Which body] goes [around|round] our planet?",
                "Tell me what goes around the earth.",
            ),
            (
                "What circles our earth in the sky at night?",
                "Which thing in the sky travels around the earth?",
            ),
        ),
    ),
    (
        "Winter is the coldest season.",
        "Winter",
        Phrasings(
            (
                "[What|Which] is the coldest season?",
                "[Which|What] season is the coldest?",
                "Name the coldest season.",
                "In [which|what] season does it snow?",
                "When does it snow?",
            ),
            ("Of the four seasons, which is the coldest?", "Which season brings snow and ice?"),
        ),
    ),
    (
        "Summer is the hottest season.",
        "Summer",
        Phrasings(
            (
                "[What|Which] is the [hottest|warmest] season?",
                "[Which|What] season is the [hottest|warmest]?",
                "Name the [hottest|warmest] season.",
                "When is it [hottest|warmest]?",
            ),
            ("Of the four seasons, which is the hottest?", "Which season brings the most heat?"),
        ),
    ),
    (
        "Christmas is in December.",
        "December",
        Phrasings(
            (
                "When is Christmas?",
                "In [which|what] month is Christmas?",
                "[Which|What] month is Christmas in?",
                "Tell me when Christmas is.",
            ),
            ("What month do people have Christmas in?", "Christmas falls in which month?"),
        ),
    ),
    (
        "Blue and yellow make green.",
        "green",
        Phrasings(
            (
                "[What|Which] [colour|color] do [you get from |]blue and yellow[ make|]?",
                "What do blue and yellow make?",
                "I mix blue and yellow. What do I get?",
                "Mix yellow and blue.",
            ),
            ("Which colour comes from blue with yellow?",),
        ),
    ),
    (
        "Red and yellow make orange.",
        "orange",
        Phrasings(
            (
                "[What|Which] [colour|color] do [you get from |]red and yellow[ make|]?",
                "What do red and yellow make?",
                "I mix red and yellow. What do I get?",
                "Mix yellow and red.",
            ),
            ("Which colour comes from red with yellow?",),
        ),
    ),
    (
        "January is the first month of the year.",
        "January",
        Phrasings(
            (
                "[What|Which] is the first month[ of the year|]?",
                "[What|Which] month is the first[ of the year|]?",
                "Name the first month of the year.",
                "With [what|which] month does the year [begin|start]?",
            ),
            ("In which month does a year begin?",),
        ),
    ),
    (
        "December is the last month of the year.",
        "December",
        Phrasings(
            (
                "[What|Which] is the last month[ of the year|]?",
                "[What|Which] month is the last[ of the year|]?",
                "Name the last month of the year.",
                "With [what|which] month does the year [end|stop]?",
            ),
            ("In which month does a year end?",),
        ),
    ),
    (
        "Frozen water is called ice.",
        "ice",
        Phrasings(
            (
                "What is frozen water called?",
                "What do you call frozen water?",
                "What does water become when it freezes?",
                "What is frozen water?",
                "What do we call water when it is frozen?",
            ),
            ("Which name has water that is frozen?",),
        ),
    ),
    (
        "Fish live in water.",
        "water",
        Phrasings(
            (
                "Where do fish live?",
                "Where does a fish live?",
                "What do fish live in?",
                "Tell me where fish live.",
                "What does a fish swim in?",
            ),
            ("In what do fish live and swim?",),
        ),
    ),
)

OPPOSITE_ASK = Phrasings(
    (
        "[What is|What's] the opposite of {x}?",
        "[What is|What's] the opposite of the word {x}?",
        "[What is|What's] the antonym of {x}?",
        "Give me the antonym of {x}.",
        "The opposite of {x} is [what|which word]?",
        "Name the opposite of {x}.",
        "Tell me the opposite of {x}.",
        "Give me the opposite of {x}.",
        "Say the opposite of {x}.",
        "[Which|What] word is the opposite of {x}?",
        "[Which|What] word means the opposite of {x}?",
        "What means the opposite of {x}?",
        "{x} is the opposite of [what|which word]?",
        "Opposite of {x}?",
        "The opposite of {x}?",
        '[What is|What\'s] the opposite of "{x}"?',
        "[Can you tell me|Do you know] the opposite of {x}?",
        "[Can you tell me|Do you know] what the opposite of {x} is?",
        "What is not {x}?",
        "I need [a word that is |]the opposite of {x}.",
        "Find the opposite of {x}.",
        "Opposite: {x}",
        "Complete: The opposite of {x} is",
        "If something is not {x}, what is it?",
    ),
    (
        "What would be the opposite of {x}?",
        "Which word is opposite to {x}?",
        "Turn {x} into its opposite.",
        "I say {x}, you say the opposite.",
        "What is {x}'s opposite?",
        "Which word has the opposite meaning to {x}?",
        "Write down the opposite of {x}.",
    ),
)
