"""Launchers: where a job's worker runs. One file each; one process on this machine is what there is now."""

from __future__ import annotations

from typing import Protocol

from backend.home import Home
from backend.jobs.processes import Identity
from backend.jobs.record import Job


class Launcher(Protocol):
    """Starts the worker of a job that was claimed."""

    id: str

    def launch(self, home: Home, job: Job) -> Identity:
        """Start it and say who works.

        Raises OSError or StudioError if it can't be started.
        """
        ...
