"""The training text: conversations of one to four exchanges over all skills, drawn by a seed.

No prompt of the held-out set occurs in it. A share of the conversations, higher in later stages of
training, carries an answer style named by a system prompt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from assets.making.copying import memory, repeat
from assets.making.knowledge import fact, opposite
from assets.making.lists import lists
from assets.making.records import as_json, extraction, statement
from assets.making.stories import story
from assets.making.styles import PLAIN, draw_style, in_style, persona
from assets.making.sums import numbers, sums
from assets.making.talk import greeting, unknown
from assets.making.turn import Turn
from assets.making.words import Words

Message = dict[str, str]
Conversation = list[Message]

# What part of the exchanges each skill gets, out of the sum of all.
MIXTURE: tuple[tuple[Callable[[Words], Turn | list[Turn]], float], ...] = (
    (extraction, 17),
    (as_json, 10),
    (repeat, 8),
    (memory, 5),
    (fact, 16),
    (sums, 18),
    (numbers, 3),
    (story, 7),
    (lists, 8),
    (opposite, 5),
    (greeting, 5),
    (statement, 2),
    (unknown, 3),
)
SKILLS = [skill for skill, _ in MIXTURE]
SHARES = [share for _, share in MIXTURE]


def normalise(prompt: str) -> str:
    """What two prompts are compared by: words and signs, without casing and spacing."""
    return " ".join(prompt.lower().split()).strip(" .?!")


def draw_turns(words: Words) -> list[Turn]:
    """One exchange, or the few that belong together."""
    drawn = words.rng.choices(SKILLS, SHARES)[0](words)
    return drawn if isinstance(drawn, list) else [drawn]


def messages_of(turns: Sequence[Turn], system: str | None = None) -> Conversation:
    """The exchanges as chat messages."""
    messages = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        messages += [{"role": "user", "content": turn.prompt}, {"role": "assistant", "content": turn.answer}]
    return messages


def conversation(words: Words, style_share: float) -> tuple[Conversation, list[Turn]]:
    """One conversation: a system prompt or none, one to four exchanges."""
    rng = words.rng
    if rng.random() < style_share:
        style, system = draw_style(words)
        turns = [
            in_style(turn, style) for _ in range(rng.choice((1, 1, 2, 2, 3))) for turn in draw_turns(words)
        ]
        return messages_of(turns, system), turns
    if rng.random() < 0.02:
        system, first = persona(words)
        turns = [first, *draw_turns(words)]
        return messages_of(turns, system), turns
    system = rng.choice(PLAIN) if rng.random() < 0.06 else None
    turns = [turn for _ in range(rng.choice((1, 1, 2, 2, 3, 4))) for turn in draw_turns(words)]
    return messages_of(turns, system), turns


def corpus(
    seed: str,
    *,
    style_share: float,
    pieces: Sequence[str] = (),
    without: frozenset[str] = frozenset(),
    wide: bool = False,
    opened: bool = False,
) -> Iterator[Conversation]:
    """Endless conversations; those with a prompt whose normal form is in `without` are left out."""
    words = Words(seed, pieces=pieces, wide=wide, opened=opened)
    while True:
        messages, turns = conversation(words, style_share)
        if not any(normalise(turn.prompt) in without for turn in turns):
            yield messages


def random_repeats(seed: str, count: int, vocabulary: range, length: int) -> list[list[int]]:
    """Rows of random tokens said twice or more: they bring the copying circuit early in training."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        period = rng.randint(4, length // 2)
        tokens = [rng.choice(vocabulary) for _ in range(period)]
        rows.append((tokens * (length // period + 1))[:length])
    return rows
