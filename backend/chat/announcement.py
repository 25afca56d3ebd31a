"""How an engine says that it is there: `<home>/chat/<name>.json`, readable by its owner only.

So does the worker of a run that can be asked while it trains; in place of a base it names the run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from backend.jobs.processes import Identity, alive, own_identity


@dataclass(frozen=True)
class Announcement:
    """A running engine: where it listens, what opens it, which base it holds (or `run:ID`), which process it
    is."""

    url: str
    token: str
    pid: int
    started: float  # seconds since the epoch
    base: str
    process: Identity


def announcement_file(home: Path, base: str) -> Path:
    """Where the engine of this base announces itself."""
    return home / "chat" / f"{engine_name(base)}.json"


def log_file(home: Path, base: str) -> Path:
    """Where the engine of this base writes its log."""
    return home / "logs" / f"chat-{engine_name(base)}.log"


def engine_name(base: str) -> str:
    """A file name for a base: readable, and different for different bases."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", base).strip("-.")[-40:]
    return f"{readable}-{hashlib.sha256(base.encode()).hexdigest()[:8]}"


def read_announcement(home: Path, base: str) -> Announcement | None:
    """The running engine of this base, None if there is none (a file left by a dead one counts as none)."""
    try:
        body = json.loads(announcement_file(home, base).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    found = Announcement(**{**body, "process": Identity(**body["process"])})
    return found if alive(found.process) else None


def announce(home: Path, base: str, url: str, token: str, started: float) -> Announcement | None:
    """Announce this process; None if a living engine of the same base is there already."""
    file = announcement_file(home, base)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Announcement(url, token, os.getpid(), started, base, own_identity())
    draft = file.with_suffix(f".{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as out:
        json.dump(asdict(made), out, indent=2)
    try:
        while read_announcement(home, base) is None:
            file.unlink(missing_ok=True)
            try:
                # A link, unlike a rename, fails if another engine was quicker.
                os.link(draft, file)
            except FileExistsError:
                continue
            return made
        return None
    finally:
        draft.unlink()


def withdraw(home: Path, base: str) -> None:
    """Remove this process's announcement, and no other's."""
    found = read_announcement(home, base)
    if found is not None and found.process == own_identity():
        announcement_file(home, base).unlink(missing_ok=True)
