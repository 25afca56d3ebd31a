"""Reading curves: a cursor per curve, the newest attempt per step, never a row read twice."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from backend.store.database import Store
from backend.store.decimate import Point, decimate


@dataclass
class _Curve:
    cursor: int = 0
    by_step: dict[int, tuple[int, float | None]] = field(default_factory=dict)  # step -> (attempt, value)


class CurveReader:
    """The curves that this process has looked at, kept up to date by reading only what is new."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._curves: dict[tuple[str, str], _Curve] = {}
        self._lock = threading.Lock()

    def points(self, run: str, name: str, limit: int) -> list[Point]:
        """`(step, value)` in order of steps, at most `limit`; value None for NaN and infinity."""
        with self._lock:
            curve = self._curves.setdefault((run, name), _Curve())
            self._catch_up(curve, run, name)
            ordered: list[Point] = [(step, value) for step, (_, value) in sorted(curve.by_step.items())]
        return decimate(ordered, limit)

    def forget(self, run: str) -> None:
        """Drop what is kept of a deleted run."""
        with self._lock:
            self._curves = {key: curve for key, curve in self._curves.items() if key[0] != run}

    def _catch_up(self, curve: _Curve, run: str, name: str) -> None:
        rows = self._store.connection.execute(
            "SELECT seq, attempt, step, value FROM metric "
            "WHERE job = ? AND name = ? AND seq > ? ORDER BY seq",
            (run, name, curve.cursor),
        )
        for seq, attempt, step, value in rows:
            if step not in curve.by_step or attempt >= curve.by_step[step][0]:
                curve.by_step[step] = (attempt, value)
            curve.cursor = seq


def newest(store: Store, run: str, name: str) -> tuple[int, float | None] | None:
    """(step, value) of the metric written last."""
    row = store.connection.execute(
        "SELECT step, value FROM metric WHERE job = ? AND name = ? ORDER BY seq DESC LIMIT 1", (run, name)
    ).fetchone()
    return None if row is None else (row["step"], row["value"])


def lowest(store: Store, run: str, name: str) -> tuple[int, float] | None:
    """(step, value) where the metric was lowest, the first of equals; NaN and infinity do not count."""
    row = store.connection.execute(
        "SELECT step, value FROM metric WHERE job = ? AND name = ? AND value IS NOT NULL "
        "ORDER BY value, step LIMIT 1",
        (run, name),
    ).fetchone()
    return None if row is None else (row["step"], row["value"])


def version(store: Store) -> int:
    """Grows with every metric, event and change of a job; a heartbeat does not move it."""
    total: int = store.value(
        "SELECT (SELECT coalesce(sum(seq), 0) FROM sqlite_sequence WHERE name IN ('metric', 'event'))"
        " + (SELECT coalesce(sum(revision), 0) FROM job)"
    )
    return total
