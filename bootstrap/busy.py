"""Whether something runs on a home that an upgrade would pull the floor from under."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from ui import running

_LIVE = ("running", "paused", "stopping")


def busy(home: Path) -> str | None:
    """What runs there, in words; None if nothing does."""
    if running.find(home) is not None:
        return "the studio is open"
    store = home / "studio.db"
    if not store.exists():
        return None
    address = f"{store.as_uri()}?mode=ro"
    question = f"SELECT count(*) FROM job WHERE state IN ({', '.join('?' * len(_LIVE))})"
    try:
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=5)) as database:
            (live,) = database.execute(question, _LIVE).fetchone()
    except sqlite3.OperationalError as error:
        # A store without its tables has no jobs; one that cannot be read now may have.
        return None if "no such table" in str(error) else f"its store cannot be read now ({error})"
    if not live:
        return None
    return "a run is under way" if live == 1 else f"{live} runs are under way"
