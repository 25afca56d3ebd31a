"""Whether something runs on a home that an upgrade would pull the floor from under."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

from backend.jobs.processes import Identity, alive
from backend.jobs.states import LIVE, START_SECONDS
from ui import running


def busy(home: Path) -> str | None:
    """What runs there, in words; None if nothing does."""
    if running.find(home) is not None:
        return "the studio is open"
    store = home / "studio.db"
    if not store.exists():
        return None
    address = f"{store.as_uri()}?mode=ro"
    question = (
        f"SELECT started, host, boot, pid, pid_started FROM job WHERE state IN ({', '.join('?' * len(LIVE))})"
    )
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=5)) as database:
            live = sum(_lives(*job) for job in database.execute(question, LIVE))
    except sqlite3.OperationalError as error:
        # A store without its tables has no jobs; one that cannot be read now may have.
        return None if "no such table" in str(error) else f"its store cannot be read now ({error})"
    if not live:
        return None
    return "a run is under way" if live == 1 else f"{live} runs are under way"


def _lives(started: float, host: str, boot: str, pid: int | None, pid_started: float) -> bool:
    """Whether somebody may work at a job: after a power cut it is called running and its process is gone."""
    if pid is None:
        return time.time() - started < START_SECONDS
    try:
        return alive(Identity(host, boot, pid, pid_started)) is not False
    except ImportError:
        return True  # outside of Linux only psutil could tell, and it may not be installed yet
