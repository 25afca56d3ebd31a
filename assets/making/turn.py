"""One exchange of the generated text, and how its answer is judged where it serves as a held-out prompt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Turn:
    """A prompt, the one right answer, the skill it trains, and the check for `benchmarks.scorers.right`."""

    skill: str
    prompt: str
    answer: str
    check: dict[str, Any] = field(default_factory=dict)


def keywords(*words: str, none: tuple[str, ...] = ()) -> dict[str, Any]:
    """Judge by words that must stand in the answer, and words that must not."""
    return {"kind": "keywords", "all": list(words), "none": list(none)}
