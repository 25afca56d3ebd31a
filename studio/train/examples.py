"""Rows -> encoded examples, before the first step, so that a row that can't be used is known at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from studio.data.render import Encoded, Renderer
from studio.data.rows import Row
from studio.errors import StudioError
from studio.objectives import Objective
from studio.train.objective import Example, learned_tokens


@dataclass(frozen=True)
class Encoding:
    """Usable examples in the order of their rows, and how many rows were left out: by code of the reason."""

    examples: list[Example]
    skipped: dict[str, int]


def encode_rows(rows: Sequence[Row], renderer: Renderer, objective: Objective, seq: int | None) -> Encoding:
    """Encode the streams that the objective reads, each cut to `seq` tokens.

    A row is left out if it lacks a stream or a label (`stream_missing`, `label_missing`), if its template
    refuses it, or if nothing of a stream is learned (`nothing_learned`).
    """
    examples: list[Example] = []
    skipped: dict[str, int] = {}
    whole = [row for row in rows if not (lack := _lack(row, objective)) or _count(skipped, lack)]
    encoded = {
        name: list(renderer.encode_many([row.streams[name] for row in whole], seq))
        for name in objective.streams
    }
    for i, row in enumerate(whole):
        streams = {name: encoded[name][i] for name in objective.streams}
        reason = next((code for e in streams.values() if (code := _refusal(e))), None)
        if reason:
            _count(skipped, reason)
            continue
        usable: dict[str, Any] = dict(streams)
        weights = {name: row.streams[name].weight for name in objective.streams}
        examples.append(Example(usable, weights, dict(row.labels)))
    return Encoding(examples, skipped)


def unweighted(examples: Sequence[Example]) -> list[Example]:
    """The same examples, every learned token counting once: what an evaluation measures."""
    return [replace(e, weights=dict.fromkeys(e.weights, 1.0)) for e in examples]


def _lack(row: Row, objective: Objective) -> str | None:
    if any(name not in row.streams for name in objective.streams):
        return "stream_missing"
    return "label_missing" if any(name not in row.labels for name in objective.labels) else None


def _refusal(encoded: Encoded | StudioError) -> str | None:
    if isinstance(encoded, StudioError):
        return encoded.code
    return None if learned_tokens(encoded) else "nothing_learned"


def _count(skipped: dict[str, int], code: str) -> bool:
    skipped[code] = skipped.get(code, 0) + 1
    return False
