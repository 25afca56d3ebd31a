# ruff: noqa: E501  (a wording stays on one line)
"""The relations of the starter's world, each with many wordings, some kept for held-out prompts.

`{x}` is what is asked about, `{y}` the answer, `{a_x}` and `{a_y}` the same with their article; a capital letter in a
slot stands for one at the start of its words.
"""

from __future__ import annotations

from dataclasses import dataclass

from assets.making.phrasing import Phrasings
from assets.making.tables import (
    CAPITALS,
    COLOUR_OF,
    CONTINENT_OF,
    EATS,
    GIVES,
    HOME_OF,
    JOB_OF,
    LANGUAGE_OF,
    LEGS_OF,
    SOUND_OF,
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
                "[What|Which] [sound|noise] does {a_x} make?",
                "What does {a_x} say?",
                "How does {a_x} [sound|go]?",
                "[What is|What's] the [sound|noise] of {a_x}?",
                "Tell me the [sound|noise] of {a_x}.",
                "Tell me what {a_x} says.",
                "[What|Which] [sound|noise] do {xs} make?",
                "{A_x} says what?",
                "Make the [sound|noise] of {a_x}.",
                "What [sound|noise] comes from {a_x}?",
            ),
            (
                "What kind of noise do you hear from {a_x}?",
                "Imitate {a_x}.",
                "What does the {x} say?",
                "If {a_x} makes a sound, what is it?",
            ),
        ),
        "{A_x} says {y}.",
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
                "Name the [baby|young] of {a_x}.",
                "Tell me the name of a [baby|young] {x}.",
                "How do you call a [baby|young] {x}?",
                "[What|Which] word means a [baby|young] {x}?",
                "What is the [baby|young|child] of {a_x}[ called|]?",
            ),
            (
                "The young of {a_x} has which name?",
                "What are baby {xs} called?",
                "Which name does a little {x} have?",
                "What's the right word for a newborn {x}?",
            ),
        ),
        "A baby {x} is called {a_y}.",
    ),
    Relation(
        "legs",
        LEGS_OF,
        Phrasings(
            (
                "How many legs does {a_x} have?",
                "How many legs has {a_x}[ got|]?",
                "Tell me how many legs {a_x} has.",
                "[What is|What's] the number of legs of {a_x}?",
                "{A_x} has how many legs?",
                "How many legs do {xs} have?",
                "How many legs are there on {a_x}?",
                "Count the legs of {a_x}.",
            ),
            (
                "On how many legs does {a_x} stand?",
                "What number of legs does {a_x} have?",
                "How many legs would you count on {a_x}?",
            ),
        ),
        "{A_x} has {y} legs.",
    ),
    Relation(
        "home",
        HOME_OF,
        Phrasings(
            (
                "Where does {a_x} live?",
                "What is the home of {a_x}[ called|]?",
                "[In what|In which home] does {a_x} live?",
                "Tell me where {a_x} lives.",
                "{A_x} lives in what?",
                "What does {a_x} live in?",
                "Where do {xs} live?",
                "What do you call the home of {a_x}?",
            ),
            (
                "In what kind of home does {a_x} live?",
                "Name the place where {a_x} lives.",
                "What is {a_x}'s home called?",
            ),
        ),
        "{A_x} lives in {a_y}.",
    ),
    Relation(
        "gives",
        GIVES,
        Phrasings(
            (
                "What does {a_x} give [us|]?",
                "What do we get from {a_x}?",
                "What does {a_x} make?",
                "What comes from {a_x}?",
                "Tell me what {a_x} gives [us|].",
                "[What|Which food] do {xs} give [us|]?",
                "What do {xs} make?",
            ),
            ("What can you get from {a_x}?", "What does {a_x} produce?", "What do people get from {xs}?"),
        ),
        "{A_x} gives us {y}.",
    ),
    Relation(
        "eats",
        EATS,
        Phrasings(
            (
                "What does {a_x} [eat|like to eat]?",
                "What do {xs} [eat|like to eat]?",
                "[What food|Which food] does {a_x} [eat|like]?",
                "[What is|What's] the food of {a_x}?",
                "Tell me what {a_x} eats.",
                "What should I give {a_x} to eat?",
                "{A_x} eats what?",
                "What is {a_x}'s food?",
            ),
            (
                "What could I feed {a_x}?",
                "What does a hungry {x} want?",
                "Which food is right for {a_x}?",
                "What do you feed {xs}?",
            ),
        ),
        "{A_x} eats {y}.",
    ),
    Relation(
        "job",
        JOB_OF,
        Phrasings(
            (
                "What does {a_x} do?",
                "[What is|What's] the [job|work] of {a_x}?",
                "Tell me what {a_x} does.",
                "[What|Which] [job|work] does {a_x} do?",
                "What do {xs} do?",
                "{A_x} does what?",
                "What does {a_x} do [at work|all day|for a living]?",
                "Explain what {a_x} does.",
                "What is {a_x}?",
                "What is {a_x}'s job?",
            ),
            (
                "How does {a_x} earn money?",
                "What kind of work does {a_x} do?",
                "Describe the job of {a_x}.",
                "What are the duties of {a_x}?",
            ),
        ),
        "{A_x} {y}.",
    ),
)
