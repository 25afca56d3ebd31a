"""The held-out prompts: withheld words and pairs in known phrasings, and phrasings never used in training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from assets.making.copying import memory, repeat
from assets.making.corpus import Conversation, messages_of, normalise
from assets.making.knowledge import fact, opposite
from assets.making.lists import lists
from assets.making.records import as_json, extraction
from assets.making.stories import story
from assets.making.styles import draw_style, in_style
from assets.making.sums import numbers, sums
from assets.making.talk import greeting, unknown
from assets.making.turn import Turn
from assets.making.words import Words


@dataclass(frozen=True)
class Case:
    """A held-out prompt with what came before it, the right answer, and how to judge another."""

    skill: str
    phrasing: str
    messages: Conversation
    reference: str
    check: dict[str, Any]


def instruction(words: Words) -> tuple[str, Turn]:
    """An exchange in a random answer style, after the system prompt that asks for it."""
    style, system = draw_style(words)
    while style.replaced:
        style, system = draw_style(words)
    turn = words.rng.choice((fact, opposite, sums))(words)
    return system, in_style(turn, style)


SKILLS: tuple[tuple[Callable[[Words], Turn | list[Turn]], int, int], ...] = (
    # skill, cases in known phrasings, cases in new ones
    (greeting, 0, 50),
    (fact, 0, 100),
    (opposite, 0, 50),
    (sums, 50, 50),
    (numbers, 0, 30),
    (lists, 20, 40),
    (story, 20, 20),
    (repeat, 30, 30),
    (memory, 20, 20),
    (extraction, 50, 50),
    (as_json, 30, 30),
    (unknown, 0, 30),
)


def cases() -> Iterator[Case]:
    """All held-out cases, the same at every call."""
    seen: set[str] = set()
    for skill, known, new in SKILLS:
        for phrasing, count in (("known", known), ("new", new)):
            words = Words(f"held-out {skill.__name__} {phrasing}", heldout=True, unseen=phrasing == "new")
            made = 0
            while made < count:
                drawn = skill(words)
                turns = drawn if isinstance(drawn, list) else [drawn]
                key = normalise(json.dumps([turn.prompt for turn in turns]))
                if key in seen:
                    continue
                seen.add(key)
                made += 1
                yield case(turns, phrasing)
    words = Words("held-out instructions", heldout=True)
    for _ in range(40):
        system, turn = instruction(words)
        yield case([turn], "known", system)


def case(turns: list[Turn], phrasing: str, system: str | None = None) -> Case:
    """The last exchange of `turns` as a case."""
    last = turns[-1]
    return Case(last.skill, phrasing, messages_of(turns, system)[:-1], last.answer, last.check)


def prompts() -> frozenset[str]:
    """The held-out prompts in normal form: what the training text must not contain.

    A prompt that only makes sense after others ("What is my name?") is held out by the words before it.
    """
    return frozenset(normalise(made.messages[-1]["content"]) for made in cases() if len(made.messages) == 1)
