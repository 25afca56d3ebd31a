"""Models to start from, data to learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studio.errors import Reason


@dataclass(frozen=True)
class ModelInfo:
    """A model that a run can start from. Unknown facts are None."""

    name: str  # grammar of DESIGN 3: starter, path:DIR, hub:ORG/NAME
    title: str
    summary: str
    parameters: int | None
    size_bytes: int | None
    licence: str | None
    context: int | None  # longest sequence in tokens
    architecture: str | None
    on_disk: bool
    gated: bool
    fits: str | None  # yes | tight | no | None (unknown): one row of 512 tokens at a time
    needed_bytes: int | None  # for that
    with_method: str | None = None  # short title of the method that this takes; None: the usual
    reason: Reason | None = None


@dataclass(frozen=True)
class SampleInfo:
    name: str
    title: str
    summary: str
    goal: str  # style | facts | format
    rows: int
    heldout_rows: int


@dataclass(frozen=True)
class CheckReport:
    """`problems`: dicts {row, column, code, facts, skipped}; words under `problem.<code>.message` and `.fix`.

    Without `row` it is about the file as a whole; `skipped`: the row is left out. Of one code only the first
    are in `problems`; `problem_counts` counts all of them, by code.
    """

    dataset: str
    format: str
    reason: Reason
    rows: int
    heldout_rows: int | None
    problems: tuple[dict[str, Any], ...]
    problem_counts: Mapping[str, int]
    tokens: (
        Mapping[str, Any] | None
    )  # needs a model: total, learned, min, median, p95, max, truncated, histogram


@dataclass(frozen=True)
class PreviewRow:
    """One row as the model will read it: pieces of text, each learned or not, in order."""

    row: int
    pieces: tuple[tuple[str, bool], ...]
    tokens: int
    learned: int
