"""What a result is asked to see whether it computes what it should: rows of the runs that went into it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from backend.inputs import HELDOUT, ROWS
from studio.data.rows import Message, Stream, read_rows
from studio.export.descent import Learned
from studio.merge import PROMPTS

GREETING = Message.of("user", "Hello!")


def rows_of_each(learned: Sequence[Learned]) -> dict[str, list[Stream]]:
    """By the runs' names, as many rows of each as of the others, and `PROMPTS` in all; a row of several is
    given once, and runs without rows are left out."""
    known = {each.name: streams for each in learned if (streams := _known(each.run))}
    found: dict[str, list[Stream]] = {}
    taken: list[Stream] = []
    for layer in zip_longest(*known.values()):
        for name, stream in zip(known, layer, strict=True):
            if stream in taken:
                found.setdefault(name, [])
            elif stream is not None and len(taken) < PROMPTS:
                taken.append(stream)
                found.setdefault(name, []).append(stream)
    return found


def _known(run: Path | None) -> list[Stream]:
    """The first held-out rows of a run, else rows that it learned from; none where it keeps none."""
    for name in (HELDOUT, ROWS):
        rows = read_rows(run / name) if run and (run / name).is_file() else []
        if rows:
            return [next(iter(row.streams.values())) for row in rows[: 2 * PROMPTS]]
    return []
