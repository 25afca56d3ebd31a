"""A job as the screen and the command line see it: its row in the list, its details, its curves."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend import dependents, epochs, library, memory_history
from backend.api import RunDetail, RunSummary, Series
from backend.chat import runs
from backend.home import Home
from backend.jobs import record, states
from backend.jobs.record import Job
from backend.store.curves import CurveReader, lowest, newest
from backend.store.database import Store
from studio.errors import Reason, StudioError
from studio.names import parse

# A heartbeat comes every half second; the store may be locked for ten.
ANSWERING_SECONDS = 5.0
EVENTS_SHOWN = 200


def summary(store: Store, job: Job) -> RunSummary:
    """The row of the list; numbers are as last recorded."""
    numbers = {name: newest(store, job.id, name) for name in _NUMBERS}
    live = job.state in states.LIVE
    best = lowest(store, job.id, "eval_loss")
    result = job.result or {}
    steps = numbers["loss"][0] if numbers["loss"] else 0

    def last(name: str) -> float | None:
        pair = numbers[name]
        return pair[1] if pair else None

    peak = last("memory_bytes")
    return RunSummary(
        run=job.id,
        kind=job.kind,
        state=job.state,
        model=job.plan.get("model"),
        dataset=job.plan.get("dataset"),
        method=job.plan.get("method"),
        steps=max(steps, result.get("steps") or 0),
        steps_planned=job.steps_planned,
        loss=last("loss"),
        eval_loss=last("eval_loss"),
        best_eval_loss=best[1] if best else None,
        adapter=result.get("adapter"),
        peak_memory_bytes=result.get("peak_memory_bytes") or (int(peak) if peak is not None else None),
        tokens_per_second=last("tokens_per_second"),
        seconds_left=last("seconds_left") if job.state == states.RUNNING else None,
        created=job.created,
        started=job.started,
        ended=job.ended,
        error=job.error,
        answering=not live or (job.heartbeat or 0.0) > time.time() - ANSWERING_SECONDS,
        phase=job.phase if live else None,
        progress=job.progress if live else None,
        attempt=job.attempt,
        size_bytes=result.get("size_bytes") or (int(total) if (total := last("total_bytes")) else None),
    )


_NUMBERS = ("loss", "eval_loss", "memory_bytes", "tokens_per_second", "seconds_left", "total_bytes")


def detail(store: Store, home: Home, job: Job) -> RunDetail:
    """Everything about one job except its curves and its log."""
    folder = home.run(job.id)
    # Only what has ended can be deleted, and so has to say who would miss it.
    held = library.of_job(home, store, job) if job.state in states.ENDED else None
    return RunDetail(
        summary=summary(store, job),
        plan=job.plan,
        reasons={key: Reason(code, facts) for key, (code, facts) in job.reasons.items()},
        folder=str(folder),
        log=str(home.log(job.id)),
        checkpoints=tuple(sorted(runs.checkpoints(folder))),
        best_step=_best_step(folder),
        hashes=job.hashes,
        events=events(store, job.id),
        memory=memory_history.of_run(store, job.id),
        spent=epochs.spent_of(job.result),
        holding=held,
        base_of=_base_of(store, job),
    )


def _base_of(store: Store, job: Job) -> tuple[str, ...]:
    name = str(job.plan.get("model", ""))
    if not name.startswith("merge:"):
        return ()
    try:
        return dependents.made_of(record.find(store.connection, parse(name).value))
    except StudioError:  # it was deleted
        return ()


def events(store: Store, id: str) -> tuple[dict[str, Any], ...]:
    """The newest events, newest last."""
    rows = store.rows(
        "SELECT seq, at, kind, body FROM event WHERE job = ? ORDER BY seq DESC LIMIT ?", id, EVENTS_SHOWN
    )
    return tuple({**dict(row), "body": json.loads(row["body"])} for row in reversed(rows))


def series(reader: CurveReader, ids: Sequence[str], names: Sequence[str], max_points: int) -> list[Series]:
    """One series per run and name, in that order; empty ones too."""
    out = []
    for run in ids:
        for name in names:
            points = reader.points(run, name, max_points)
            out.append(Series(run, name, tuple(s for s, _ in points), tuple(v for _, v in points)))
    return out


def log_tail(log: Path, max_bytes: int) -> str:
    """The end of a log, from the start of a line; empty before there is one."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - max_bytes))
            text = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return text if size <= max_bytes else text.partition("\n")[2]


def _best_step(folder: Path) -> int | None:
    file = folder / "best.json"
    return int(json.loads(file.read_text())["step"]) if file.exists() else None
