"""Reading curves: a cursor per run, the newest attempt per step, never a row read twice."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from backend.store.database import Store
from backend.store.decimate import Point, decimate


@dataclass
class _Curves:
    cursor: int = 0
    # name -> step -> (attempt, value)
    by_name: dict[str, dict[int, tuple[int, float | None]]] = field(default_factory=dict)


class CurveReader:
    """All curves that this process has looked at, kept up to date by reading only what is new."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._runs: dict[str, _Curves] = {}
        self._lock = threading.Lock()

    def points(self, run: str, name: str, limit: int) -> list[Point]:
        """`(step, value)` in order of steps, at most `limit`; value None for NaN and infinity."""
        with self._lock:
            curves = self._catch_up(run)
            by_step = curves.by_name.get(name, {})
            ordered: list[Point] = [(step, by_step[step][1]) for step in sorted(by_step)]
        return decimate(ordered, limit)

    def forget(self, run: str) -> None:
        """Drop what is kept of a deleted run."""
        with self._lock:
            self._runs.pop(run, None)

    def _catch_up(self, run: str) -> _Curves:
        curves = self._runs.setdefault(run, _Curves())
        rows = self._store.connection.execute(
            "SELECT seq, attempt, step, name, value FROM metric WHERE job = ? AND seq > ? ORDER BY seq",
            (run, curves.cursor),
        )
        for seq, attempt, step, name, value in rows:
            by_step = curves.by_name.setdefault(name, {})
            if step not in by_step or attempt >= by_step[step][0]:
                by_step[step] = (attempt, value)
            curves.cursor = seq
        return curves


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
