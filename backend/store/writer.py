"""The batching writer of a worker: rows are queued by any thread and written by one, every half second.

While the store is locked, full or out of reach the queue is kept and grows; nothing is lost but time.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from backend.store.database import Store, passes
from backend.store.lineage import Statement
from backend.store.plain import number_and_kind, to_json

INTERVAL_SECONDS = 0.5
_METRIC = "INSERT INTO metric (job, attempt, step, name, value, kind, at) VALUES (?, ?, ?, ?, ?, ?, ?)"
_EVENT = "INSERT INTO event (job, at, kind, body) VALUES (?, ?, ?, ?)"
_PHASE = "UPDATE job SET phase = ?, progress = ?, revision = revision + 1 WHERE id = ? AND attempt = ?"
_HASHES = (
    "UPDATE job SET hashes = json_patch(coalesce(hashes, '{}'), ?), revision = revision + 1 "
    "WHERE id = ? AND attempt = ?"
)
_HEARTBEAT = "UPDATE job SET heartbeat = ? WHERE id = ? AND attempt = ?"


class Writer:
    """Rows of one attempt at one job."""

    def __init__(self, store: Store, job: str, attempt: int, interval: float = INTERVAL_SECONDS) -> None:
        self._store = store
        self._job = job
        self._attempt = attempt
        self._interval = interval
        self._queue: list[Statement] = []
        self._phase: tuple[str, float | None] | None = None
        self._lock = threading.Lock()
        self._flushed = threading.Condition(self._lock)
        self._added = 0
        self._written = 0
        self._last = 0.0
        self.wanted = threading.Event()  # set: somebody waits for a flush

    def metric(self, step: int, name: str, value: float) -> None:
        """Queue one number of a step."""
        number, kind = number_and_kind(float(value))
        self._add(_METRIC, (self._job, self._attempt, step, name, number, kind, time.time()))

    def event(self, kind: str, body: Mapping[str, Any]) -> None:
        """Queue one event."""
        self._add(_EVENT, (self._job, time.time(), kind, to_json(body)))

    def statements(self, statements: Iterable[Statement]) -> None:
        """Queue what is neither metric nor event."""
        for sql, values in statements:
            self._add(sql, values)

    def hashes(self, hashes: Mapping[str, str]) -> None:
        """Queue identities of what the job is made of; others that it has stay."""
        self._add(_HASHES, (to_json(hashes), self._job, self._attempt))

    def phase(self, name: str, progress: float | None) -> None:
        """What the job is doing now; of several between two flushes only the last is written."""
        with self._lock:
            self._phase = (name, progress)

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        with self._lock:
            return len(self._queue)

    def flush_if_due(self) -> None:
        """Write what waits, and the heartbeat, if that is wanted or the last time is the interval ago."""
        if self.wanted.is_set() or time.monotonic() - self._last >= self._interval:
            self.flush()

    def flush(self) -> bool:
        """Write everything in one transaction; False if the store could not be written now."""
        self.wanted.clear()
        with self._lock:
            batch, phase = list(self._queue), self._phase
        try:
            with self._store.writing() as connection:
                for sql, values in batch:
                    connection.execute(sql, values)
                if phase is not None:
                    connection.execute(_PHASE, (*phase, self._job, self._attempt))
                connection.execute(_HEARTBEAT, (time.time(), self._job, self._attempt))
        except sqlite3.OperationalError as error:
            if not passes(error):
                raise
            return False
        finally:
            self._last = time.monotonic()
        with self._flushed:
            del self._queue[: len(batch)]
            if self._phase == phase:
                self._phase = None
            self._written += len(batch)
            self._flushed.notify_all()
        return True

    def wait_written(self, seconds: float) -> bool:
        """Block another thread until all it has queued so far is in the store, at most `seconds`."""
        with self._flushed:
            target = self._added
            self.wanted.set()
            return self._flushed.wait_for(lambda: self._written >= target, timeout=seconds)

    def _add(self, sql: str, values: tuple[Any, ...]) -> None:
        with self._lock:
            self._queue.append((sql, values))
            self._added += 1
