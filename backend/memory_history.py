"""What runs were predicted to need beside what they were measured at."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict

from backend.api import MemoryPoint
from backend.store.database import Store
from studio.memory.measured import Measured, told
from studio.memory.need import Need

SHOWN = 500
_POINTS = (
    "SELECT e.job, e.source, e.predicted, e.measured, json_extract(j.plan, '$.method') AS method, "
    "json_extract(j.devices, '$[0]') AS device, json_extract(j.result, '$.card') AS card "
    "FROM estimate e JOIN job j ON j.id = e.job "
    "WHERE json_extract(e.measured, '$.parts') IS NOT NULL AND j.deleted IS NULL "
)


def stored(predicted: Need, measured: Measured) -> tuple[dict[str, object], dict[str, object]]:
    """Both as they are kept in the table `estimate`."""
    thought = {
        "peak_bytes": predicted.allocated,
        "reserved_bytes": predicted.reserved,
        "parts": predicted.parts,
        "moment": predicted.moment,
    }
    found = asdict(measured)
    return thought, {
        "peak_bytes": found["peak"],
        "reserved_bytes": found["reserved"],
        "parts": found["parts"],
    }


def history(store: Store) -> list[MemoryPoint]:
    """The newest measurements, oldest first."""
    rows = store.rows(f"{_POINTS} ORDER BY e.seq DESC LIMIT ?", SHOWN)
    return [_point(row) for row in reversed(rows)]


def of_run(store: Store, run: str) -> MemoryPoint | None:
    """The newest measurement of a run."""
    rows = store.rows(f"{_POINTS} AND e.job = ? ORDER BY e.seq DESC LIMIT 1", run)
    return _point(rows[0]) if rows else None


def _point(row: sqlite3.Row) -> MemoryPoint:
    predicted, measured = json.loads(row["predicted"]), json.loads(row["measured"])
    return MemoryPoint(
        run=row["job"],
        source=row["source"],
        method=row["method"],
        device=row["device"] or "cpu",
        card=row["card"],
        predicted_bytes=predicted["peak_bytes"],
        measured_bytes=measured["peak_bytes"],
        reserved_bytes=measured["reserved_bytes"],
        predicted_parts=told(predicted["parts"]),
        measured_parts=measured["parts"],
    )
