"""Launchers for tests: one that only notes what it was asked, one that works in the calling thread."""

from __future__ import annotations

from backend.home import Home
from backend.jobs import worker
from backend.jobs.processes import Identity, own_identity
from backend.jobs.record import Job
from studio.errors import StudioError


class Notes:
    """Starts nothing, and says that this process works at the job."""

    id = "notes"

    def __init__(self, who: Identity | None = None, error: OSError | StudioError | None = None) -> None:
        self.launched: list[tuple[str, int]] = []
        self._who = who or own_identity()
        self._error = error

    def launch(self, home: Home, job: Job) -> Identity:  # noqa: ARG002 - the protocol's signature
        if self._error is not None:
            raise self._error
        self.launched.append((job.id, job.attempt))
        return self._who


class HereAndNow:
    """Runs the worker's main in this thread, to its end."""

    id = "here"

    def launch(self, home: Home, job: Job) -> Identity:
        assert work(home, job) == 0
        return own_identity()


def work(home: Home, job: Job) -> int:
    """Exit status of the worker for this job."""
    given = ["--home", str(home.root), "--job", job.id, "--attempt", str(job.attempt)]
    return worker.main(given, HereAndNow())
