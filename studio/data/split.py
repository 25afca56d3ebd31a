"""Which rows are held out of the training to measure it: decided by content, so the same rows on every
machine."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from studio.data.rows import Row
from studio.errors import Reason

FRACTION = 0.1
FEWEST_HELDOUT = 8
FEWEST_ROWS = 40


@dataclass(frozen=True)
class Split:
    """`heldout` empty: there is no evaluation loss, and `reason` says why."""

    train: list[Row]
    heldout: list[Row]
    reason: Reason


def split_heldout(rows: Sequence[Row], own_heldout: Sequence[Row] | None = None) -> Split:
    """The part that the dataset brings; else the rows whose prompt's hash falls in the lowest 10%, topped up
    in hash order to 8; under 40 rows none.

    Rows with the same prompt stay on the same side. A prompt that more than a tenth of the rows share is
    never held out, since that would take most of what there is to learn."""
    rows = list(rows)
    if own_heldout:
        return Split(rows, list(own_heldout), Reason("heldout_own", {"rows": len(own_heldout)}))
    if len(rows) < FEWEST_ROWS:
        return Split(rows, [], Reason("heldout_too_few_rows", {"rows": len(rows), "needed": FEWEST_ROWS}))
    groups: dict[float, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        groups[_prompt_position(row)].append(place)
    chosen: set[int] = set()
    for position in sorted(groups):
        if position >= FRACTION and len(chosen) >= FEWEST_HELDOUT:
            break
        if len(groups[position]) <= FRACTION * len(rows):
            chosen.update(groups[position])
    if not chosen:
        return Split(rows, [], Reason("heldout_prompts_alike", {"rows": len(rows), "prompts": len(groups)}))
    train = [row for place, row in enumerate(rows) if place not in chosen]
    heldout = [row for place, row in enumerate(rows) if place in chosen]
    return Split(train, heldout, Reason("heldout_split", {"rows": len(heldout), "of": len(rows)}))


def _prompt_position(row: Row) -> float:
    """Where the hash of the row's prompt (of the whole text where there is no prompt) falls in 0..1."""
    stream = next(iter(row.streams.values()))
    key = row.prompt_key or "\n".join(message.text for message in stream.messages)
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
