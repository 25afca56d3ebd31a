"""The process that does one job: `python -m backend.jobs.worker --home H --job ID --attempt N`.

The main thread reads wishes, keeps the heartbeat, writes to the store and takes signals; the job itself runs
in a second thread and reports through a queue. At the end the worker claims and starts the next queued job.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from types import FrameType
from typing import Any

from backend.home import Home, open_home
from backend.jobs import kinds, record, states
from backend.jobs.kinds import Outcome, Work
from backend.jobs.launchers import Launcher
from backend.jobs.processes import own_identity
from backend.jobs.queue import Queue
from backend.jobs.record import Job
from backend.jobs.reporting import StoreSink, WorkerControl
from backend.store import lineage
from backend.store.database import Store, open_store, passes
from backend.store.writer import Writer
from studio.errors import StudioError

log = logging.getLogger("studio.worker")
TICK_SECONDS = 0.1
# How long a worker goes on trying to write its end into a store that is locked or full.
CONCLUDE_SECONDS = 600.0
NOT_MINE = 3  # exit status of a worker whose job somebody else has, or that was settled meanwhile


class Worker:
    """One attempt at one job."""

    def __init__(self, home: Home, store: Store, job: Job) -> None:
        self.home = home
        self.store = store
        self.job = job
        self._writer = Writer(store, job.id, job.attempt)
        self._control = WorkerControl(
            on_pause=lambda: self._later.append("pause"), on_continue=lambda: self._later.append("continue")
        )
        self._sink = StoreSink(self._writer)
        self._later: list[str] = []  # happenings that the main thread has to bring into the store
        self._wishes_read = 0
        self._stop_asked = False
        self._signals = 0
        self._outcome: Outcome | None = None
        self._error: dict[str, Any] | None = None

    def run(self) -> None:
        """Do the job and record how it ended."""
        thread = threading.Thread(target=self._work, name="job", daemon=True)
        thread.start()
        while thread.is_alive():
            self._turn()
            if self._signals > 1 or (self._signals and self._stop_asked):
                self._leave()
            self._writer.wanted.wait(TICK_SECONDS)
        self._conclude()

    def take_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - the signature of a handler
        """SIGTERM: stop at the next step boundary; when that was asked before, leave at once."""
        self._signals += 1

    def _work(self) -> None:
        """A boundary where every exception is caught: whatever a job does, its end is recorded."""
        try:
            kind = kinds.find(self.job.kind)
            self._outcome = kind.run(
                Work(self.home, self.store, self.job, self._writer, self._sink, self._control)
            )
        except kinds.Stopped:
            self._outcome = Outcome("stop")
        except StudioError as error:
            log.error("failed: %s", error)
            self._error = error.as_dict()
        except Exception:
            log.exception("a bug ended the job")
            self._error = {"code": "bug", "facts": {"log": str(self.home.log(self.job.id))}}
        finally:
            self._writer.wanted.set()

    def _turn(self) -> None:
        self._read_wishes()
        if self._signals and not self._stop_asked:
            self._control.set("stop")
        self._catch_up()
        self._writer.flush_if_due()

    def _read_wishes(self) -> None:
        rows = self.store.rows(
            "SELECT seq, wish FROM control WHERE job = ? AND attempt = ? AND seq > ? ORDER BY seq",
            self.job.id,
            self.job.attempt,
            self._wishes_read,
        )
        for seq, wish in rows:
            log.info("asked to %s", wish)
            self._wishes_read = seq
            self._stop_asked |= wish == "stop"
            self._control.set(wish)

    def _catch_up(self) -> bool:
        """Bring into the store what has happened; False if some of it is left."""
        while self._later and self._try(self._move, self._later[0]):
            self._later.pop(0)
        return not self._later

    def _move(self, happening: str, **fields: Any) -> None:
        with self.store.writing() as connection:
            if record.find(connection, self.job.id).attempt != self.job.attempt:
                return
            try:
                record.move(connection, self.job, happening, **fields)
            except StudioError:
                # A wish to stop that came in between: the job is stopping, neither paused nor running.
                if happening not in ("pause", "continue"):
                    raise

    def _try(self, write: Callable[..., None], *given: Any) -> bool:
        try:
            write(*given)
        except sqlite3.OperationalError as error:
            if not passes(error):
                raise
            log.warning("the store could not be written: %s", error)
            return False
        return True

    def _conclude(self) -> None:
        """Write what is left and how the job ended, however long the store is locked."""
        deadline = time.monotonic() + CONCLUDE_SECONDS
        while not (self._catch_up() and self._writer.flush() and self._try(self._end)):
            if time.monotonic() > deadline:
                log.error("the store stayed locked; the end of the job is not recorded")
                return
            time.sleep(TICK_SECONDS)

    def _end(self) -> None:
        with self.store.writing() as connection:
            now = record.find(connection, self.job.id)
            if now.attempt != self.job.attempt or now.state not in states.LIVE:
                return
            if self._outcome is None:
                record.move(connection, now, "fail", error=self._error, phase=None, progress=None)
                return
            self._keep(connection, now, self._outcome)
            happening = self._outcome.happening
            if happening == "again" and not self._signals:
                record.again(connection, now)
                return
            if happening in ("again", "stop"):
                # A signal from outside is nobody's wish.
                happening = "stop" if now.state == states.STOPPING else "interrupt"
            result = dict(self._outcome.result)
            record.move(connection, now, happening, result=result, phase=None, progress=None)

    def _keep(self, connection: sqlite3.Connection, job: Job, outcome: Outcome) -> None:
        for made in outcome.made:
            connection.execute(*lineage.made(job.id, made.kind, made.hash, made.path, made.body))
        if outcome.reasons:
            record.update(connection, job.id, reasons={**job.reasons, **outcome.reasons})
        if outcome.told is not None:
            record.tell(connection, job.id, *outcome.told)

    def _leave(self) -> None:
        """End the process although the job's thread still works: its last checkpoint is what stays."""
        log.warning("leaving without a checkpoint of the last steps")
        self._outcome = Outcome("stop")
        self._conclude()
        logging.shutdown()
        os._exit(1)


def main(argv: Sequence[str] | None = None, launcher: Launcher | None = None) -> int:
    """Entry of the process; 0 if the job's end was recorded, whatever it was."""
    parser = argparse.ArgumentParser(prog="python -m backend.jobs.worker")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--attempt", type=int, required=True)
    given = parser.parse_args(argv)
    home = open_home(given.home)
    handler = _start_log(home.log(given.job))
    # A worker lives: itself. So it never changes the schema.
    store = open_store(home.store, worker_lives=lambda _: True)
    try:
        return _work_at(home, store, given.job, given.attempt, launcher)
    finally:
        store.close()
        logging.getLogger().removeHandler(handler)
        handler.close()


def _work_at(home: Home, store: Store, id: str, attempt: int, launcher: Launcher | None) -> int:
    job = _register(store, id, attempt)
    if job is None:
        log.warning("attempt %d at %s is not to be made any more", attempt, id)
        return NOT_MINE
    log.info("attempt %d at %s by process %s", job.attempt, job.id, job.pid)
    worker = Worker(home, store, job)
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, worker.take_signal) if in_main else None
    try:
        worker.run()
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)
    if launcher is None:
        from backend.jobs.launchers.local import LocalLauncher

        launcher = LocalLauncher()
    Queue(home, store, launcher).advance()
    return 0


def _register(store: Store, id: str, attempt: int) -> Job | None:
    """Write this process's name into the job; None if the job is not this worker's to do."""
    own = own_identity()
    with store.writing() as connection:
        changed = connection.execute(
            "UPDATE job SET host = ?, boot = ?, pid = ?, pid_started = ?, heartbeat = ?, "
            "revision = revision + 1 WHERE id = ? AND attempt = ? AND state IN (?, ?) "
            "AND (pid IS NULL OR (pid = ? AND pid_started = ?))",
            (*astuple(own), time.time(), id, attempt, states.RUNNING, states.STOPPING, own.pid, own.started),
        ).rowcount
        return record.find(connection, id) if changed else None


def _start_log(file: Path) -> logging.Handler:
    file.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    return handler


if __name__ == "__main__":
    sys.exit(main())
