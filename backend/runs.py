"""What can be done with a job: look, pause, resume, stop, delete, wait."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from backend import run_views
from backend.api import RunDetail, RunSummary
from backend.home import Home
from backend.inputs import base_hash, folder_if_on_disk, frozen_hashes
from backend.jobs import record, states
from backend.jobs.queue import Queue, silent_elsewhere
from backend.jobs.record import Job
from backend.store.curves import CurveReader, version
from backend.store.database import Store, passes
from studio.errors import StudioError

# Looking settles the dead; views that ask several times a second share one look.
LOOK_SECONDS = 0.5


class Runs:
    """The jobs of one home."""

    def __init__(self, home: Home, store: Store, queue: Queue) -> None:
        self._home = home
        self._store = store
        self._queue = queue
        self.curves = CurveReader(store)
        self._looked = 0.0
        self._looking = threading.Lock()

    def look(self, force: bool = False) -> None:
        """Settle the dead, press the stopping, start what can start; twice a second unless `force`."""
        with self._looking:
            if not force and time.monotonic() - self._looked < LOOK_SECONDS:
                return
            try:
                self._queue.advance()
            except sqlite3.OperationalError as error:
                # Another program holds the store: reading goes on, the next look settles.
                if not passes(error):
                    raise
            self._looked = time.monotonic()

    def claimed(self, job: str) -> str:
        """A job that was just queued, by its id: started at once if its device is free."""
        self.look(force=True)
        return job

    def version(self) -> int:
        self.look()
        return version(self._store)

    def summaries(self, kind: str) -> list[RunSummary]:
        """Newest first; `all` for every kind."""
        self.look()
        jobs = record.every(self._store, None if kind == "all" else kind)
        return [run_views.summary(self._store, job) for job in jobs]

    def summary(self, run: str) -> RunSummary:
        self.look()
        return run_views.summary(self._store, self.job(run))

    def detail(self, run: str) -> RunDetail:
        self.look()
        return run_views.detail(self._store, self._home, self.job(run))

    def job(self, run: str) -> Job:
        """The job; a `run:` before the id is allowed."""
        return record.find(self._store.connection, run.removeprefix("run:"))

    def any_live(self) -> bool:
        """Whether a worker is at work on a device, or should be; a model that is being served holds none."""
        return any(job.devices for job in record.live(self._store.connection))

    def pause(self, run: str) -> RunSummary:
        """Ask a running job to wait at its next step boundary."""
        with self._changing(run) as (connection, job):
            states.after("pause", job.state)
            _ask(connection, job, "pause")
        return self.summary(run)

    def stop(self, run: str) -> RunSummary:
        """Ask a job to save and end; one that is stopping stays so.

        One that is queued ends at once, and so does one whose worker nobody here can reach any more.
        """
        with self._changing(run) as (connection, job):
            if job.state != states.STOPPING:
                record.move(connection, job, "ask_stop")
                _ask(connection, job, "stop")
            if job.state in states.LIVE and silent_elsewhere(job):
                record.move(connection, job, "stop")
        return self.summary(run)

    def resume(self, run: str) -> RunSummary:
        """Let a paused job go on, or queue an ended one again on the same rows and the same base.

        Raises `StudioError`: `run_done`, `job_state`, `rows_changed`, `base_changed`, `rows_missing`.
        """
        self.look(force=True)
        job = self.job(run)
        if job.state == states.DONE:
            raise StudioError("run_done", run=job.id)
        if job.state in states.RESUMABLE and job.hashes:
            self._refuse_other_inputs(job)
        with self._changing(run) as (connection, job):
            pausing = job.state == states.RUNNING and _pause_asked(connection, job)
            if job.state == states.PAUSED or pausing:
                _ask(connection, job, "continue")
            else:
                record.requeue(connection, job)
        self.look(force=True)
        return self.summary(run)

    def delete(self, run: str) -> None:
        """Remove a job that nobody works at, with its folder. Its id never comes back. Who depends on it is
        the business of `backend.library_changes.delete`.

        Raises `StudioError("run_live")` for one that is running, paused or stopping.
        """
        with self._changing(run) as (connection, job):
            if job.state in states.LIVE:
                raise StudioError("run_live", run=job.id, state=job.state)
            for table in ("metric", "event", "control", "estimate"):
                connection.execute(f"DELETE FROM {table} WHERE job = ?", (job.id,))
            record.update(connection, job.id, deleted=time.time())
        self.curves.forget(job.id)
        folder = self._home.run(job.id)
        if folder.exists():
            # Renamed first: what can't be removed at once is out of the way, and never half a run.
            folder.rename(self._home.runs / f".deleted-{uuid.uuid4().hex}")
        for doomed in self._home.runs.glob(".deleted-*"):
            shutil.rmtree(doomed, ignore_errors=True)

    def wait(self, run: str, poll_seconds: float) -> Iterator[RunSummary]:
        """The summary whenever it changed, until the job has ended or waits, paused."""
        shown: RunSummary | None = None
        while True:
            now = self.summary(run)
            if now != shown:
                yield now
                shown = now
            if now.state in (*states.ENDED, states.PAUSED):
                return
            time.sleep(poll_seconds)

    @contextmanager
    def _changing(self, run: str) -> Iterator[tuple[sqlite3.Connection, Job]]:
        """The job inside a writing transaction, after the dead were settled."""
        self.look(force=True)
        with self._store.asked() as connection:
            yield connection, record.find(connection, run.removeprefix("run:"))

    def _refuse_other_inputs(self, job: Job) -> None:
        folder = self._home.run(job.id)
        found = frozen_hashes(folder)
        if any(job.hashes.get(key, value) != value for key, value in found.items()):
            raise StudioError("rows_changed", run=job.id, path=str(folder))
        if base := job.hashes.get("base"):
            model = str(job.plan["model"])
            where = folder_if_on_disk(model, self._home.runs)
            # One of the hub that is not in its cache any more is fetched and looked at by the worker.
            if where is not None and base_hash(where, self._home) != base:
                raise StudioError("base_changed", run=job.id, model=model, path=str(where))


def _ask(connection: sqlite3.Connection, job: Job, wish: str) -> None:
    record.wish(connection, job, wish)
    record.tell(connection, job.id, "asked", {"wish": wish})


def _pause_asked(connection: sqlite3.Connection, job: Job) -> bool:
    """Whether the last wish of a running job is a pause that has not come yet."""
    row = connection.execute(
        "SELECT wish FROM control WHERE job = ? AND attempt = ? ORDER BY seq DESC LIMIT 1",
        (job.id, job.attempt),
    ).fetchone()
    return row is not None and row["wish"] == "pause"
