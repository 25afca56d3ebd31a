# ruff: noqa: E501  (a wording stays on one line)
"""Relations of everyday life: tools, the senses, kinds of things, the calendar; and some of `relations` turned round."""

from __future__ import annotations

from itertools import pairwise

from assets.making.phrasing import Phrasings
from assets.making.relations import Relation
from assets.making.tables import (
    AMOUNTS,
    JOB_OF,
    KIND_OF,
    MADE_OF,
    ORDER_DAYS,
    ORDER_MONTHS,
    SENSE,
    SOUND_OF,
    TOOL_FOR,
    YOUNG_OF,
)

EVERYDAY = (
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
                "How many {x} in {of}?",
                "How many {x} make {of}?",
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
    Relation(
        "who does it",
        {does: job for job, does in JOB_OF.items()},
        Phrasings(
            (
                "Who {x}?",
                "Who is it that {x}?",
                "[Which|What] person {x}?",
                "[What|How] do you call [someone|a person] who {x}?",
                "What is [someone|a person] who {x} called?",
                "Tell me who {x}.",
                "What is the job of [someone|a person] who {x}?",
                "Someone who {x} is what?",
            ),
            (
                "What is the name for a person that {x}?",
                "What do we call a man who {x}?",
                "Whose work is it: {x}?",
            ),
        ),
        "{A_y} {x}.",
    ),
    Relation(
        "which animal says",
        {sound: animal for animal, sound in SOUND_OF.items()},
        Phrasings(
            (
                "[Which|What] animal [says|goes] {x}?",
                "[Which|What] animal makes the [sound|noise] {x}?",
                "Who says {x}?",
                "What says {x}?",
                'What [animal |]says "{x}"?',
                "Tell me [which|what] animal says {x}.",
                "Name the animal that says {x}.",
            ),
            ("From which animal do I hear {x}?", "I hear {x}. What animal is it?"),
        ),
        "{A_y} says {x}.",
    ),
    Relation(
        "baby of",
        {young: animal for animal, young in YOUNG_OF.items() if young not in ("cub", "kid")},
        Phrasings(
            (
                "What is {a_x}?",
                "{A_x} is the [baby|young] of [what|which animal]?",
                "[Which|What] animal has {a_x}?",
                "[Which|What] animal does {a_x} become?",
                "What does {a_x} grow into?",
                "{A_x} is a baby what?",
                "Tell me what {a_x} is.",
            ),
            ("What animal is {a_x} the baby of?", "When {a_x} is big, what is it called?"),
        ),
        "{A_x} is a baby {y}.",
    ),
    Relation(
        "which gives",
        {"milk": "cow", "honey": "bee", "wool": "sheep", "eggs": "hen"},
        Phrasings(
            (
                "[Which|What] animal gives us {x}?",
                "Where does {x} come from?",
                "Who gives us {x}?",
                "What gives us {x}?",
                "[Which|What] animal makes {x}?",
                "From [which|what] animal do we get {x}?",
                "Where do we get {x} from?",
                "Name the animal that gives us {x}.",
            ),
            ("Which animal must I thank for {x}?", "What animal can I get {x} from?"),
        ),
        "{A_y} gives us {x}.",
    ),
    Relation(
        "use of",
        {thing: use for use, thing in TOOL_FOR.items()},
        Phrasings(
            (
                "What is {x} for?",
                "What do [you|I|we] do with {x}?",
                "What can [you|I|we] do with {x}?",
                "What do [you|I|we] use {x} for?",
                "What do [you|I|we] need {x} for?",
                "Tell me what {x} is for.",
                "What is {x} used for?",
                "What is the use of {x}?",
            ),
            ("For what purpose does one have {x}?", "Why would I need {x}?", "To do what do I take {x}?"),
        ),
        "You use {x} to {y}.",
    ),
)
