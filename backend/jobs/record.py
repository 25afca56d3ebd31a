"""The row of a job: reading it, adding one, and the one function that changes its state."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.jobs import states
from backend.jobs.processes import Identity
from backend.store.database import Store
from backend.store.plain import to_json
from studio.errors import StudioError

_JSON = frozenset({"plan", "reasons", "hashes", "devices", "result", "error"})


@dataclass(frozen=True)
class Job:
    """One row of `job`; JSON columns are read."""

    id: str
    kind: str
    parent: str | None
    plan: dict[str, Any]
    plan_version: int
    reasons: dict[str, Any]
    hashes: dict[str, str]
    state: str
    attempt: int
    launcher: str | None
    host: str | None
    boot: str | None
    pid: int | None
    pid_started: float | None
    devices: tuple[str, ...]
    phase: str | None
    progress: float | None
    steps_planned: int | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created: float
    queued: float | None
    started: float | None
    ended: float | None
    heartbeat: float | None
    deleted: float | None
    revision: int

    @property
    def process(self) -> Identity | None:
        """Who works at it; None before the worker is known."""
        if self.host is None or self.boot is None or self.pid is None or self.pid_started is None:
            return None
        return Identity(self.host, self.boot, self.pid, self.pid_started)

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Job:
        values = dict(row)
        for name in _JSON:
            values[name] = None if values[name] is None else json.loads(values[name])
        values["devices"] = tuple(values["devices"])
        values["reasons"] = values["reasons"] or {}
        values["hashes"] = values["hashes"] or {}
        return cls(**values)


def find(connection: sqlite3.Connection, id: str) -> Job:
    """The job; `StudioError("run_missing")` (run) if there is none, or none any more."""
    row = connection.execute("SELECT * FROM job WHERE id = ? AND deleted IS NULL", (id,)).fetchone()
    if row is None:
        raise StudioError("run_missing", run=id)
    return Job.from_row(row)


def live(connection: sqlite3.Connection) -> list[Job]:
    """All jobs at which a process works, or should."""
    marks = ",".join("?" * len(states.LIVE))
    rows = connection.execute(f"SELECT * FROM job WHERE state IN ({marks})", states.LIVE).fetchall()
    return [Job.from_row(row) for row in rows]


def every(store: Store, kind: str | None = None) -> list[Job]:
    """Jobs of one kind (None: of all), newest first."""
    rows = store.rows(
        "SELECT * FROM job WHERE deleted IS NULL AND kind = coalesce(?, kind) "
        "ORDER BY created DESC, rowid DESC",
        kind,
    )
    return [Job.from_row(row) for row in rows]


def new_id(connection: sqlite3.Connection, stem: str, folders: Iterable[str] = ()) -> str:
    """`<stem>-<n>`, with n above that of every job there ever was: a deleted job leaves its row behind.

    `folders` are names that are taken as well: a folder can be there without a row, out of another store.
    """
    start = f"{stem}-"
    rows = connection.execute("SELECT id FROM job WHERE id GLOB ?", (f"{start}[0-9]*",)).fetchall()
    taken = [*(id for (id,) in rows), *(name for name in folders if name.startswith(start))]
    numbers = [int(tail) for name in taken if (tail := name.removeprefix(start)).isdecimal()]
    return f"{stem}-{max(numbers, default=0) + 1}"


def add(
    connection: sqlite3.Connection,
    id: str,
    kind: str,
    plan: Mapping[str, Any],
    *,
    plan_version: int = 1,
    devices: tuple[str, ...] = (),
    state: str = states.QUEUED,
    **fields: Any,
) -> None:
    """Write a new job, queued, with its first event."""
    now = time.time()
    row = {
        "kind": kind,
        "plan": plan,
        "plan_version": plan_version,
        "devices": list(devices),
        "attempt": 1,
        "created": now,
        "queued": now,
        **fields,
    }
    names = ", ".join(row)
    connection.execute(
        f"INSERT INTO job (id, state, {names}) VALUES (?, ?, {', '.join('?' * len(row))})",
        (id, state, *_values(row)),
    )
    tell(connection, id, "state", {"state": state})


def update(connection: sqlite3.Connection, id: str, **fields: Any) -> None:
    """Set columns and count the change, so that live views notice it."""
    sets = ", ".join([*(f"{name} = ?" for name in fields), "revision = revision + 1"])
    connection.execute(f"UPDATE job SET {sets} WHERE id = ?", (*_values(fields), id))


def move(connection: sqlite3.Connection, job: Job, happening: str, **fields: Any) -> str:
    """Let something happen to a job, inside the caller's transaction; gives the state after.

    Raises `StudioError("job_state")` if its state, as it is in the store now, does not allow that.
    """
    state: str = connection.execute("SELECT state FROM job WHERE id = ?", (job.id,)).fetchone()[0]
    following = states.after(happening, state)
    if following in states.ENDED:
        fields["ended"] = time.time()
    update(connection, job.id, state=following, **fields)
    tell(connection, job.id, "state", {"state": following, "because": happening})
    return following


def requeue(connection: sqlite3.Connection, job: Job) -> None:
    """Queue a stopped, failed or interrupted job again, as its next attempt."""
    move(
        connection,
        job,
        "resume",
        attempt=job.attempt + 1,
        queued=time.time(),
        error=None,
        result=None,
        ended=None,
    )


def again(connection: sqlite3.Connection, job: Job) -> None:
    """Let another attempt follow, in the job's old place in the queue; of a job that was asked to stop it is
    the one that somebody resumes."""
    following = {} if job.state == states.STOPPING else {"attempt": job.attempt + 1}
    move(connection, job, "again", phase=None, progress=None, **following)


def tell(connection: sqlite3.Connection, id: str, kind: str, body: Mapping[str, Any]) -> None:
    """Add an event."""
    connection.execute(
        "INSERT INTO event (job, at, kind, body) VALUES (?, ?, ?, ?)",
        (id, time.time(), kind, to_json(body)),
    )


def wish(connection: sqlite3.Connection, job: Job, what: str) -> None:
    """Ask the worker for something: `pause`, `continue` or `stop`."""
    connection.execute(
        "INSERT INTO control (job, attempt, wish, at) VALUES (?, ?, ?, ?)",
        (job.id, job.attempt, what, time.time()),
    )


def _values(fields: Mapping[str, Any]) -> list[Any]:
    return [
        to_json(value) if name in _JSON and value is not None else value for name, value in fields.items()
    ]
