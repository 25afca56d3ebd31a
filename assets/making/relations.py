# ruff: noqa: E501  (a wording stays on one line)
"""The relations of the starter's world, each with many wordings, some kept for held-out prompts.

`{x}` is what is asked about, `{y}` the answer, `{a_x}` and `{a_y}` the same with their article; a capital letter in a
slot stands for one at the start of its words.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from assets.making.phrasing import Phrasings
from assets.making.tables import (
    AMOUNTS,
    CAPITALS,
    COLOUR_OF,
    CONTINENT_OF,
    EATS,
    GIVES,
    HOME_OF,
    JOB_OF,
    KIND_OF,
    LANGUAGE_OF,
    LEGS_OF,
    MADE_OF,
    ORDER_DAYS,
    ORDER_MONTHS,
    SENSE,
    SOUND_OF,
    TOOL_FOR,
    YOUNG_OF,
)


@dataclass(frozen=True)
class Relation:
    """Pairs (x, y), the ways to ask for y, and the one way to answer."""

    name: str
    pairs: dict[str, str]
    ask: Phrasings
    answer: str


RELATIONS = (
    Relation(
        "capital",
        CAPITALS,
        Phrasings(
            (
                "[What is|What's] the capital of {x}?",
                "[What is|What's] the capital city of {x}?",
                "[Which|What] city is the capital of {x}?",
                "[Which|What] is the capital [city |]of {x}?",
                "Name the capital [city |]of {x}.",
                "Tell me the capital [city |]of {x}.",
                "[Do you know|Can you tell me] the capital of {x}?",
                "[Do you know|Can you tell me|Tell me] what the capital of {x} is?",
                "The capital of {x} is [what|which city]?",
                "{x}'s capital [is|city is] what?",
                "[What is|What's] {x}'s capital [city|]?",
                "[The capital of|Capital of] {x}?",
                "What city is the capital of {x}?",
                "I want to know the capital of {x}.",
                "Complete: The capital of {x} is",
            ),
            (
                "Which town is the seat of government of {x}, its capital?",
                "What do we call the capital city of {x}?",
                "Could you name {x}'s capital city?",
                "I forgot what the capital of {x} is called.",
                "What would be the capital of {x}?",
                "Say which city is {x}'s capital.",
            ),
        ),
        "The capital of {x} is {y}.",
    ),
    Relation(
        "country",
        {capital: country for country, capital in CAPITALS.items()},
        Phrasings(
            (
                "[Which|What] country is {x} the capital of?",
                "{x} is the capital of [which|what] country?",
                "[In which|In what] country is {x}?",
                "[What|Which] country is {x} in?",
                "Where is {x}?",
                "Where [is|can I find] [the city of |the city |]{x}?",
                "Tell me [in which country {x} is|where {x} is].",
                "{x} is in [which|what] country?",
            ),
            (
                "To which country does {x} belong?",
                "Name the country whose capital is {x}.",
                "What country does the city of {x} lie in?",
                "Whose capital is {x}?",
            ),
        ),
        "{x} is the capital of {y}.",
    ),
    Relation(
        "language",
        LANGUAGE_OF,
        Phrasings(
            (
                "[What|Which] language do people [speak|use] in {x}?",
                "[What|Which] language [is spoken|do they speak] in {x}?",
                "[What is|What's] the [main |]language [of|in] {x}?",
                "What do people speak in {x}?",
                "Name the language [of|spoken in|people speak in] {x}.",
                "Tell me the language [of|spoken in] {x}.",
                "In {x}, [which|what] language do [people|they] speak?",
                "People in {x} speak [which|what] language?",
            ),
            (
                "Which tongue or language is used in {x}?",
                "If I go to {x}, which language will I hear?",
                "What language should I learn for {x}?",
                "What language does one speak in {x}?",
            ),
        ),
        "People in {x} speak {y}.",
    ),
    Relation(
        "continent",
        CONTINENT_OF,
        Phrasings(
            (
                "[On|In] [which|what] continent is {x}?",
                "[Which|What] continent is {x} [on|in|part of]?",
                "{x} is [on|in] [which|what] continent?",
                "Tell me [which|what] continent {x} is [in|on].",
                "Name the continent [of|where] {x}[ is|].",
                "[What is|What's] the continent of {x}?",
            ),
            (
                "To which continent does {x} belong?",
                "{x} lies on what continent?",
                "What continent would I find {x} on?",
            ),
        ),
        "{x} is in {y}.",
    ),
    Relation(
        "colour",
        COLOUR_OF,
        Phrasings(
            (
                "[What|Which] [colour|color] is {x}?",
                "[What is|What's] the [colour|color] of {x}?",
                "[What|Which] [colour|color] does {x} have?",
                "Tell me the [colour|color] of {x}.",
                "Tell me what [colour|color] {x} is.",
                "Name the [colour|color] of {x}.",
                "{x} is [what|which] [colour|color]?",
                "[Do you know|Can you tell me] [what|which] [colour|color] {x} is?",
                "{x} has [what|which] [colour|color]?",
                "Of [what|which] [colour|color] is {x}?",
            ),
            (
                "What color would you say {x} is?",
                "In which colour would I paint {x}?",
                "What is {x}'s colour?",
                "What colour do you think of when you see {x}?",
            ),
        ),
        "{X} is {y}.",
    ),
    Relation(
        "sound",
        SOUND_OF,
        Phrasings(
            (
                "[What|Which] [sound|noise] does a {x} make?",
                "What does a {x} say?",
                "How does a {x} [sound|go]?",
                "[What is|What's] the [sound|noise] of a {x}?",
                "Tell me the [sound|noise] of a {x}.",
                "Tell me what a {x} says.",
                "[What|Which] [sound|noise] do {x}s make?",
                "A {x} says what?",
                "Make the [sound|noise] of a {x}.",
                "What [sound|noise] comes from a {x}?",
            ),
            (
                "What kind of noise do you hear from a {x}?",
                "Imitate a {x}.",
                "What does the {x} say?",
                "If a {x} makes a sound, what is it?",
            ),
        ),
        "A {x} says {y}.",
    ),
    Relation(
        "young",
        YOUNG_OF,
        Phrasings(
            (
                "What is a [baby|young] {x} called?",
                "What do you call a [baby|young] {x}?",
                "What do we call a [baby|young] {x}?",
                "[What is|What's] the [name of|name for|word for] a [baby|young] {x}?",
                "A [baby|young] {x} is called what?",
                "Name the [baby|young] of a {x}.",
                "Tell me the name of a [baby|young] {x}.",
                "How do you call a [baby|young] {x}?",
                "[What|Which] word means a [baby|young] {x}?",
                "What is the [baby|young|child] of a {x}[ called|]?",
            ),
            (
                "The young of a {x} has which name?",
                "What are baby {x}s called?",
                "Which name does a little {x} have?",
                "What's the right word for a newborn {x}?",
            ),
        ),
        "A baby {x} is called a {y}.",
    ),
    Relation(
        "legs",
        LEGS_OF,
        Phrasings(
            (
                "How many legs does a {x} have?",
                "How many legs has a {x}[ got|]?",
                "Tell me how many legs a {x} has.",
                "[What is|What's] the number of legs of a {x}?",
                "A {x} has how many legs?",
                "How many legs do {x}s have?",
                "How many legs are there on a {x}?",
                "Count the legs of a {x}.",
            ),
            (
                "On how many legs does a {x} stand?",
                "What number of legs does a {x} have?",
                "How many legs would you count on a {x}?",
            ),
        ),
        "A {x} has {y} legs.",
    ),
    Relation(
        "home",
        HOME_OF,
        Phrasings(
            (
                "Where does a {x} live?",
                "What is the home of a {x}[ called|]?",
                "[In what|In which home] does a {x} live?",
                "Tell me where a {x} lives.",
                "A {x} lives in what?",
                "What does a {x} live in?",
                "Where do {x}s live?",
                "What do you call the home of a {x}?",
            ),
            (
                "In what kind of home does a {x} live?",
                "Name the place where a {x} lives.",
                "What is a {x}'s home called?",
            ),
        ),
        "A {x} lives in a {y}.",
    ),
    Relation(
        "gives",
        GIVES,
        Phrasings(
            (
                "What does [a|an] {x} give [us|]?",
                "What do we get from [a|an] {x}?",
                "What does [a|an] {x} make?",
                "What comes from [a|an] {x}?",
                "Tell me what [a|an] {x} gives [us|].",
                "[What|Which food] do {x}s give [us|]?",
                "What do {x}s make?",
            ),
            ("What can you get from a {x}?", "What does a {x} produce?", "What do people get from {x}s?"),
        ),
        "{A_x} gives us {y}.",
    ),
    Relation(
        "eats",
        EATS,
        Phrasings(
            (
                "What does a {x} [eat|like to eat]?",
                "What do {x}s [eat|like to eat]?",
                "[What food|Which food] does a {x} [eat|like]?",
                "[What is|What's] the food of a {x}?",
                "Tell me what a {x} eats.",
                "What should I give a {x} to eat?",
                "A {x} eats what?",
                "What is a {x}'s food?",
            ),
            (
                "What could I feed a {x}?",
                "What does a hungry {x} want?",
                "Which food is right for a {x}?",
                "What do you feed {x}s?",
            ),
        ),
        "A {x} eats {y}.",
    ),
    Relation(
        "job",
        JOB_OF,
        Phrasings(
            (
                "What does a {x} do?",
                "[What is|What's] the [job|work] of a {x}?",
                "Tell me what a {x} does.",
                "[What|Which] [job|work] does a {x} do?",
                "What do {x}s do?",
                "A {x} does what?",
                "What does a {x} do [at work|all day|for a living]?",
                "Explain what a {x} does.",
                "What is a {x}?",
                "What is a {x}'s job?",
            ),
            (
                "How does a {x} earn money?",
                "What kind of work does a {x} do?",
                "Describe the job of a {x}.",
                "What are the duties of a {x}?",
            ),
        ),
        "A {x} {y}.",
    ),
    Relation(
        "tool",
        TOOL_FOR,
        Phrasings(
            (
                "What do [you|I|we|people] [use|need] to {x}?",
                "What do [you|I|we] {x} with?",
                "[What|Which thing] is used to {x}?",
                "[What|Which thing|Which tool] can I use to {x}?",
                "Tell me what [you|I|we] [use|need] to {x}.",
                "What should I take to {x}?",
                "I want to {x}. What do I need?",
                "With what do [you|we] {x}?",
                "To {x}, what do [you|I|we] need?",
                "What helps me to {x}?",
            ),
            (
                "What is the right tool to {x}?",
                "If I must {x}, what should I get?",
                "Which object would you use to {x}?",
                "How do I {x}, with what thing?",
            ),
        ),
        "You use {y} to {x}.",
    ),
    Relation(
        "sense",
        SENSE,
        Phrasings(
            (
                "What do [you|we|people] {x} with?",
                "What do [you|we] use to {x}?",
                "[With what|With which part of the body] do [you|we] {x}?",
                "[Which|What] part of the body do [you|we] use to {x}?",
                "Tell me what [you|we] {x} with.",
                "What part of [your|the] body helps you to {x}?",
            ),
            (
                "Which body part is for when you {x}?",
                "What in our body lets us {x}?",
                "People {x} with which part of the body?",
            ),
        ),
        "You {x} with your {y}.",
    ),
    Relation(
        "kind",
        KIND_OF,
        Phrasings(
            (
                "What is {a_x}?",
                "What's {a_x}?",
                "What kind of thing is {a_x}?",
                "Tell me what {a_x} is.",
                "What sort of thing is {a_x}?",
                "{A_x} is what?",
                "What type of thing is {a_x}?",
                "[Do you know|Can you tell me] what {a_x} is?",
                "Explain what {a_x} is.",
                "What do we call {a_x}, [an animal, a plant or a thing|what kind of thing]?",
            ),
            (
                "{A_x} belongs to which group of things?",
                "How would you class {a_x}?",
                "Do you know what sort of thing {a_x} is?",
                "In one word, what is {a_x}?",
            ),
        ),
        "{A_x} is {a_y}.",
    ),
    Relation(
        "made",
        MADE_OF,
        Phrasings(
            (
                "What is {x} made [of|from]?",
                "What's {x} made [of|from]?",
                "[From|Of] what is {x} made?",
                "What do [you|we|people] make {x} [of|from]?",
                "Tell me what {x} is made [of|from].",
                "{x} is made [of|from] what?",
                "What do [you|I] need to make {x}?",
                "{x} comes from what?",
            ),
            (
                "Out of what is {x} made?",
                "Which material is {x} made from?",
                "What does one need to make {x}?",
            ),
        ),
        "{X} is made from {y}.",
    ),
    Relation(
        "next day",
        dict(pairwise(ORDER_DAYS)),
        Phrasings(
            (
                "[What|Which] day [comes|is] after {x}?",
                "[What|Which] day follows {x}?",
                "What comes after {x}?",
                "Today is {x}. [What|Which] day is [it |]tomorrow?",
                "If today is {x}, what [day is|is] tomorrow?",
                "What is the [next day|day] after {x}?",
                "Tell me the day after {x}.",
                "After {x} comes [which|what] day?",
                "Name the day [after|that follows] {x}.",
            ),
            (
                "It is {x} today, so what day will it be tomorrow?",
                "Yesterday was {x}. What is today?",
                "Which day of the week comes right after {x}?",
                "What day is next when it is {x}?",
            ),
        ),
        "The day after {x} is {y}.",
    ),
    Relation(
        "day before",
        {day: before for before, day in pairwise(ORDER_DAYS)},
        Phrasings(
            (
                "[What|Which] day [comes|is] before {x}?",
                "Today is {x}. [What|Which] day was [it |]yesterday?",
                "If today is {x}, what [day was|was] yesterday?",
                "What comes before {x}?",
                "Tell me the day before {x}.",
                "Before {x} comes [which|what] day?",
                "Name the day before {x}.",
            ),
            (
                "Tomorrow is {x}. What is today?",
                "Which day of the week comes right before {x}?",
                "It is {x} today, so what day was it yesterday?",
            ),
        ),
        "The day before {x} is {y}.",
    ),
    Relation(
        "next month",
        dict(pairwise(ORDER_MONTHS)),
        Phrasings(
            (
                "[What|Which] month [comes|is] after {x}?",
                "[What|Which] month follows {x}?",
                "What comes after {x}?",
                "Tell me the month after {x}.",
                "What is the [next month|month] after {x}?",
                "Name the month [after|that follows] {x}.",
                "It is {x}. [What|Which] is the next month?",
                "After {x} comes [which|what] month?",
            ),
            (
                "It is {x} now. Which month is next?",
                "Which month of the year comes right after {x}?",
                "When {x} ends, what month begins?",
            ),
        ),
        "The month after {x} is {y}.",
    ),
    Relation(
        "month before",
        {month: before for before, month in pairwise(ORDER_MONTHS)},
        Phrasings(
            (
                "[What|Which] month [comes|is] before {x}?",
                "What comes before {x}?",
                "Tell me the month before {x}.",
                "Name the month before {x}.",
                "It is {x}. [What|Which] was the last month?",
                "Before {x} comes [which|what] month?",
            ),
            (
                "Which month of the year comes right before {x}?",
                "When {x} begins, what month has just ended?",
            ),
        ),
        "The month before {x} is {y}.",
    ),
    Relation(
        "amount",
        AMOUNTS,
        Phrasings(
            (
                "How many {x} [are|are there] in {of}?",
                "How many {x} does {of} have?",
                "{Of} has how many {x}?",
                "Tell me how many {x} {of} has.",
                "Tell me how many {x} are in {of}.",
                "How many {x} has {of}[ got|]?",
                "[What is|What's] the number of {x} in {of}?",
                "[Do you know|Can you tell me] how many {x} there are in {of}?",
            ),
            (
                "In {of}, how many {x} are there?",
                "What number of {x} makes up {of}?",
                "Count the {x} in {of}.",
                "Say how many {x} you find in {of}.",
            ),
        ),
        "{Of} has {y} {x}.",
    ),
)
