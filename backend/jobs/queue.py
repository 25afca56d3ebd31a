"""The queue without a scheduler: whoever ends a job, or looks, settles the dead and claims the next one."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass

from backend.home import Home
from backend.jobs import record, states
from backend.jobs.launchers import Launcher
from backend.jobs.processes import alive, ask_to_end, end_by_force
from backend.jobs.record import Job
from backend.store.curves import newest
from backend.store.database import Store
from studio.errors import StudioError

# Another machine's worker writes its heartbeat twice a second; after so long without one it may be given up.
SILENT_SECONDS = 180.0

# What a new attempt starts without.
_OF_AN_ATTEMPT = ("host", "boot", "pid", "pid_started", "heartbeat", "progress")


@dataclass(frozen=True)
class StopDeadlines:
    """Seconds after the wish to stop at which a worker that still lives is asked, then forced, to end."""

    terminate: float
    kill: float


def stop_deadlines(step_seconds: float | None) -> StopDeadlines:
    """Time for the step at work, an evaluation and the checkpoint: ten steps, at least 30 s."""
    terminate = max(30.0, 10.0 * (step_seconds or 0.0))
    return StopDeadlines(terminate, terminate + max(15.0, 2.0 * (step_seconds or 0.0)))


def lives(job: Job) -> bool:
    """Whether somebody works at the job, as far as can be known: another machine's is taken to live."""
    if job.process is None:
        return time.time() - (job.started or 0.0) < states.START_SECONDS
    return alive(job.process) is not False


def silent_elsewhere(job: Job) -> bool:
    """Whether the worker is another machine's and has not been heard of for minutes.

    That alone ends no job, but a person who stops it is taken at their word: nobody else will ever say.
    """
    silent = time.time() - (job.heartbeat or job.started or 0.0) > SILENT_SECONDS
    return silent and job.process is not None and alive(job.process) is None


def any_worker_lives(connection: sqlite3.Connection) -> bool:
    """Whether a worker may be writing to the store now."""
    return any(lives(job) for job in record.live(connection))


class Queue:
    """Moves jobs on. Holds no state of its own: any number of processes may do this at once."""

    def __init__(
        self,
        home: Home,
        store: Store,
        launcher: Launcher,
        deadlines: Callable[[float | None], StopDeadlines] = stop_deadlines,
    ) -> None:
        self._home = home
        self._store = store
        self._launcher = launcher
        self._deadlines = deadlines

    def advance(self) -> None:
        """Settle the dead, press those that were asked to stop, start what can start."""
        for job in record.live(self._store.connection):
            if not lives(job):
                self._settle(job)
            elif job.state == states.STOPPING:
                self._press(job)
        while (claimed := self.claim()) is not None:
            self.launch(claimed)

    def claim(self) -> Job | None:
        """Take the oldest queued job whose devices are free; it is running from then on."""
        waits = "SELECT 1 FROM job WHERE state = ? AND deleted IS NULL LIMIT 1"
        if not self._store.value(waits, states.QUEUED):
            return None
        with self._store.writing() as connection:
            taken = {device for job in record.live(connection) for device in job.devices}
            rows = connection.execute(
                "SELECT * FROM job WHERE state = ? AND deleted IS NULL ORDER BY queued, rowid",
                (states.QUEUED,),
            )
            for job in map(Job.from_row, rows.fetchall()):
                if taken.isdisjoint(job.devices):
                    blank = dict.fromkeys(_OF_AN_ATTEMPT)
                    record.move(connection, job, "claim", **blank, phase="starting", started=time.time())
                    return record.find(connection, job.id)
        return None

    def launch(self, job: Job) -> None:
        """Start the worker of a claimed job; a job whose worker can't be started has failed."""
        try:
            who = self._launcher.launch(self._home, job)
        except OSError as error:
            return self._fail(job, StudioError("worker_not_started", detail=str(error)))
        except StudioError as error:
            return self._fail(job, error)
        with self._store.writing() as connection:
            # The worker may have been quicker and written its own name.
            connection.execute(
                "UPDATE job SET launcher = ?, host = ?, boot = ?, pid = ?, pid_started = ?, "
                "revision = revision + 1 WHERE id = ? AND attempt = ? AND pid IS NULL AND state = ?",
                (self._launcher.id, *astuple(who), job.id, job.attempt, states.RUNNING),
            )

    def _fail(self, job: Job, error: StudioError) -> None:
        with self._store.writing() as connection:
            record.move(connection, job, "fail", error=error.as_dict())

    def _settle(self, job: Job) -> None:
        with self._store.writing() as connection:
            now = _unchanged(connection, job)
            if now is None:
                return
            body = {"pid": now.pid, "attempt": now.attempt}
            record.tell(connection, now.id, "process_ended", body)
            forced = now.state == states.STOPPING and "kill" in _stages(connection, now)
            record.move(connection, now, "stop" if forced else "interrupt")

    def _press(self, job: Job) -> None:
        asked = self._store.value(
            "SELECT min(at) FROM control WHERE job = ? AND attempt = ? AND wish = 'stop'", job.id, job.attempt
        )
        if asked is None or job.process is None:
            return
        step = newest(self._store, job.id, "step_seconds")
        deadlines = self._deadlines(step[1] if step else None)
        waited = time.time() - asked
        due = "kill" if waited > deadlines.kill else "terminate" if waited > deadlines.terminate else None
        if due is None or due in _stages(self._store.connection, job):
            return
        with self._store.writing() as connection:
            if _unchanged(connection, job) is None or due in _stages(connection, job):
                return
            body = {"stage": due, "attempt": job.attempt, "waited_seconds": waited}
            record.tell(connection, job.id, "stop_stage", body)
        (end_by_force if due == "kill" else ask_to_end)(job.process)


def _unchanged(connection: sqlite3.Connection, job: Job) -> Job | None:
    """The job as it is now, if nobody else has moved it on since `job` was read."""
    now = record.find(connection, job.id)
    same = (now.state, now.attempt, now.process) == (job.state, job.attempt, job.process)
    return now if same else None


def _stages(connection: sqlite3.Connection, job: Job) -> set[str]:
    """Stages of the staged stop that this attempt has been through."""
    rows = connection.execute(
        "SELECT json_extract(body, '$.stage') FROM event WHERE job = ? AND kind = 'stop_stage' "
        "AND json_extract(body, '$.attempt') = ?",
        (job.id, job.attempt),
    )
    return {stage for (stage,) in rows}
