"""Turns a handful of written templates into the many ways in which people put the same request.

A template holds alternatives in brackets, `[What is|What's] the opposite of {word}?`, and named slots. Casing
and politeness are varied before the slots are filled, so that a word to be copied is never altered.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INNERMOST = re.compile(r"\[([^\[\]]*)\]")
ASK_FIRST = (
    "Hey, ",
    "Hi, ",
    "Hello, ",
    "Hi! ",
    "Hello! ",
    "Hey! ",
    "Please tell me: ",
    "Tell me: ",
    "Tell me, ",
    "Quick question: ",
    "I have a question: ",
    "I have a question. ",
    "Question: ",
    "So, ",
    "OK, ",
    "Okay. ",
    "And ",
    "Please, ",
    "Excuse me, ",
    "Now, ",
    "Well, ",
    "Do you know: ",
    "Answer this: ",
    "Please answer: ",
)
ASK_LAST = (
    " Thanks!",
    " Thank you.",
    " Please.",
    " Tell me.",
    " Please tell me.",
    " Thanks.",
    " Do you know?",
)
ORDER_FIRST = (
    "Please ",
    "please ",
    "Can you ",
    "Could you ",
    "Can you please ",
    "Could you please ",
    "Would you ",
    "Will you ",
    "Hey, ",
    "Hi, please ",
    "Hello! Please ",
    "Hey, can you ",
    "Hi, can you ",
    "Hello, could you ",
    "I want you to ",
    "I would like you to ",
    "I need you to ",
    "Now ",
    "OK, now ",
    "You should ",
    "Kindly ",
    "Next, ",
)
ORDER_LAST = (
    ", please.",
    " please",
    ", please",
    ". Thanks!",
    ". Thank you.",
    ", thanks",
    " for me",
    " for me, please",
)


def listed(text: str) -> tuple[str, ...]:
    """Words written in one string, divided by `|` or, where there is none, by spaces."""
    return tuple(text.split("|") if "|" in text else text.split())


ORDERS = frozenset(
    listed(
        "add answer calculate complete compute convert copy count create divide echo extract fill find get "
        "give grab list make name output pick print provide pull put read recite repeat reply respond return "
        "say show solve spell state subtract take tell translate turn type use work write"
    )
)


@dataclass(frozen=True)
class Phrasings:
    """Wordings of one request: `seen` are for the training text, `unseen` for held-out prompts only."""

    seen: tuple[str, ...]
    unseen: tuple[str, ...] = ()

    @classmethod
    def read(cls, found: dict[str, list[str]]) -> Phrasings:
        """From the two lists of a wordings file."""
        return cls(tuple(found["seen"]), tuple(found["unseen"]))


def wordings(name: str) -> Any:
    """What the file `NAME.json` beside this module holds. Its order counts: it decides what a seed draws."""
    return json.loads(Path(__file__).with_name(f"{name}.json").read_text(encoding="utf-8"))


def expand(template: str, rng: random.Random) -> str:
    """Replace every `[a|b|c]`, innermost first, by one of its alternatives."""
    while "[" in template:
        template = INNERMOST.sub(lambda found: rng.choice(found.group(1).split("|")), template)
    return template


def lower_first(text: str) -> str:
    """`Name three` -> `name three`; `I am` and a slot stay as they are."""
    if text.startswith(("I ", "I'", "{")):
        return text
    return text[:1].lower() + text[1:]


def dress(template: str, rng: random.Random) -> str:
    """Vary politeness, casing and final punctuation of an expanded template whose slots are still open."""
    first_word = template.split(" ", 1)[0].lower().strip(",.:")
    if template.endswith("?"):
        if rng.random() < 0.2:
            template = rng.choice(ASK_FIRST) + (lower_first(template) if rng.random() < 0.8 else template)
        if rng.random() < 0.07:
            template += rng.choice(ASK_LAST)
    elif first_word in ORDERS:
        if rng.random() < 0.35:
            asked = rng.choice(ORDER_FIRST)
            template = asked + lower_first(template)
            if template.endswith(".") and re.search(r"can|could|would|will", asked, re.IGNORECASE):
                template = template[:-1] + "?"
        if template.endswith(".") and rng.random() < 0.1:
            template = template[:-1] + rng.choice(ORDER_LAST)
    if rng.random() < 0.1:
        template = template.lower()
    if rng.random() < 0.13 and template[-1] in ".?!" and template[-2] != "}":
        template = template[:-1]
    elif rng.random() < 0.02 and template[-1] in "?!.":
        template += rng.choice(("?", "!", ""))
    return template


def fill(template: str, rng: random.Random, **slots: object) -> str:
    """Expand and fill a template without varying its manners (for answers and for statements)."""
    return expand(template, rng).format(**slots)


def article(noun: str) -> str:
    """`apple` -> `an apple`, `dog` -> `a dog`."""
    return ("an " if noun[:1].lower() in "aeiou" else "a ") + noun


IRREGULAR = {
    "sheep": "sheep",
    "fish": "fish",
    "deer": "deer",
    "mouse": "mice",
    "goose": "geese",
    "fly": "flies",
    "person": "people",
    "postman": "postmen",
    "fisherman": "fishermen",
}


def plural(noun: str) -> str:
    """`dog` -> `dogs`, `mouse` -> `mice`."""
    return IRREGULAR.get(noun, noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s"))
