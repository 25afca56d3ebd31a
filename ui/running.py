"""The studio that is open on a home: how a second start finds it, and how it is recorded.

`<home>/screen.json` is there while a screen runs: `{"url", "pid", "started"}`. It holds the token that lets
a browser in, so nobody else may read it. Standard library only: the door asks before anything is installed.
"""

from __future__ import annotations

import html
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

FILE = "screen.json"
DOORWAY = "open.html"
LOCK = "screen.lock"
_CLOCK_SLACK = 2.0  # seconds by which the clock may have been corrected since the screen started


@dataclass(frozen=True)
class Screen:
    """A running screen. `url` carries the token; `started` is in seconds since the epoch."""

    url: str
    pid: int
    started: float


def record(home: Path, url: str) -> Screen:
    """Write down that this process is the screen of `home`, readable by its owner only."""
    screen = Screen(url, os.getpid(), time.time())
    write_private(home / FILE, json.dumps(asdict(screen)))
    return screen


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    part.replace(path)


def forget(home: Path) -> None:
    """Remove the record and the page that leads to the screen, if they are this process's own."""
    screen = _read(home)
    if screen is not None and screen.pid == os.getpid():
        for name in (FILE, DOORWAY):
            (home / name).unlink(missing_ok=True)


def claim(home: Path) -> IO[str] | None:
    """Become the one screen of `home` until this process ends or closes what it got; None if another one is.

    Two starts at the same moment would both find no record; the lock lets one of them through.
    """
    lock = (home / LOCK).open("a")
    if not try_lock(lock):
        lock.close()
        return None
    return lock


def try_lock(lock: IO[str]) -> bool:
    """Lock this open file for this process alone until it is closed; False if another one has the lock."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(lock.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def other(home: Path, seconds: float = 60.0) -> Screen | None:
    """The screen that holds the claim on `home`, once it answers; None if it does not within this time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        screen = find(home)
        if screen is not None and answers(screen, seconds=1.0):
            return screen
        time.sleep(0.2)
    return None


def find(home: Path) -> Screen | None:
    """The screen whose process lives on this home, answering or not; None if there is none."""
    screen = _read(home)
    return screen if screen is not None and _lives(screen) else None


def answers(screen: Screen, seconds: float = 10.0) -> bool:
    """Whether the screen answers on its port within this time; a starting one is given the chance."""
    import http.client
    from urllib.parse import urlsplit

    address = urlsplit(screen.url)
    deadline = time.monotonic() + seconds
    while True:
        asking = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=seconds)
        try:
            asking.request("HEAD", "/")
            asking.getresponse()
            return True
        except (OSError, http.client.HTTPException):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)
        finally:
            asking.close()


def open_browser(home: Path, url: str) -> bool:
    """Open the page in the person's browser; False where there is no desktop to open one on (over SSH).

    The browser is given a private file that leads on to `url`: every user of the machine can see what a
    program was started with, and the address holds the token.
    """
    import webbrowser

    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False
    write_private(home / DOORWAY, f'<meta http-equiv="refresh" content="0; url={html.escape(url)}">\n')
    return webbrowser.open((home / DOORWAY).as_uri())


def _read(home: Path) -> Screen | None:
    try:
        body = json.loads((home / FILE).read_text(encoding="utf-8"))
        return Screen(str(body["url"]), int(body["pid"]), float(body["started"]))
    except (OSError, ValueError, KeyError, TypeError):  # not there, or cut off by a crash
        return None


def _lives(screen: Screen) -> bool:
    if os.name == "nt":
        # Signal 0 would end the process there; whether it answers decides alone.
        return answers(screen, seconds=1.0)
    try:
        os.kill(screen.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    began = _began(screen.pid)
    # A process that began after the record was written only has the same number.
    return began is None or began <= screen.started + _CLOCK_SLACK


def _began(pid: int) -> float | None:
    """When a process began, seconds since the epoch; None where the system keeps no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
    except OSError:
        return None
    if fields[0] in "ZX":
        return float("inf")  # ended, only not yet taken note of by its parent
    return int(boot.split()[1]) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
