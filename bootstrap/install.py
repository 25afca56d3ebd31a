"""Making .venv and installing the project into it, so that whatever cuts it off, the next call mends it.

The stamp is written last. Until it is there, pip is run again: what is installed already costs it a second,
and what was cut off in the middle is cleared away first. One installation at a time: the lock is held by
pip as well, so a pip that outlives a killed launch is waited for.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, NoReturn

from bootstrap.checkout import WINDOWS, Checkout, base_python
from bootstrap.refusal import Refusal
from bootstrap.torch_build import find_torch
from ui.running import try_lock

NEEDED_BYTES = 3_000_000_000


_QUIET_SECONDS = 30.0


class Progress:
    """One calm line per step on standard error, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._last, self._said = "", self._start

    def say(self, text: str) -> None:
        """Print a step; the one printed last only after a while, as a sign of life."""
        now = time.monotonic()
        if text != self._last or now - self._said > _QUIET_SECONDS:
            self._last, self._said = text, now
            print(f"  [{now - self._start:3.0f} s] {text}", file=sys.stderr, flush=True)


def install(checkout: Checkout, torch: str | None, extras: Collection[str]) -> None:
    """Bring .venv to what is wanted, unless another call did so while this one waited for the lock.

    Args:
        checkout: Where.
        torch: `auto`, `cpu`, `cuda`; None: as before, `auto` at first.
        extras: Optional parts, such as `test`; those that are there stay.

    Raises:
        Refusal: with the cause, if it cannot be done.
    """
    with _installing(checkout) as lock:
        before = checkout.stamp()
        if before is not None and checkout.serves(before, torch, extras):
            return
        first = "Preparing Finetune Studio. This takes a few minutes, once."
        print("Updating the installation." if before else first, file=sys.stderr)
        progress = Progress()
        drop_unfinished(checkout.venv)
        wanted = torch or (before.torch if before else "auto")
        switched = before is not None and before.torch != wanted
        if switched or checkout.broken() or not _has_torch(checkout.venv):
            _require_room(checkout)
        _make_venv(checkout, progress)
        checkout.stamp_file.unlink(missing_ok=True)
        parts = sorted({*extras, *(before.extras if before else ())})
        build = find_torch(str(checkout.python), wanted)
        progress.say(f"torch: {build.reason}")
        if build.index or switched:
            source = ["--index-url", build.index] if build.index else []
            # A build of another kind meets the requirement too, so it has to be replaced by force.
            force = ["--force-reinstall", "--no-deps"] if switched else []
            _pip(checkout, progress, lock, [_torch_requirement(checkout), *source, *force])
        target = f"{checkout.root}[{','.join(parts)}]" if parts else str(checkout.root)
        _pip(checkout, progress, lock, ["--editable", target])
        checkout.write_stamp(checkout.wanted(wanted, parts))
        progress.say("ready")


def _has_torch(venv: Path) -> bool:
    """Whether the part that makes an installation large is there already."""
    return any(True for folder in venv.rglob("site-packages") for _ in folder.glob("torch-*.dist-info"))


def _require_room(checkout: Checkout) -> None:
    free = shutil.disk_usage(checkout.root).free
    if free < NEEDED_BYTES:
        raise Refusal(
            "no_room_to_install",
            f"The studio needs about 3 GB to install; there are {free / 1e9:.1f} GB free.",
            f"Make room on the disk of {checkout.root} and try again.",
            free=free,
            needed=NEEDED_BYTES,
        )


def _make_venv(checkout: Checkout, progress: Progress) -> None:
    """Create .venv, or anew where it is broken or was cut off before pip was in it."""
    has_pip = [str(checkout.python), "-c", "import pip._internal.cli.main"]
    if not checkout.broken() and subprocess.run(has_pip, capture_output=True, check=False).returncode == 0:
        return
    if importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise Refusal(
            "no_ensurepip",
            "This Python cannot make virtual environments: its part named ensurepip is missing.",
            f"On Debian and Ubuntu: sudo apt install python{version}-venv. Then try again.",
        )
    progress.say(f"making .venv with Python {sys.version.split()[0]}")
    with checkout.log.open("ab") as log:
        command = [base_python(), "-m", "venv", "--clear", str(checkout.venv)]
        made = subprocess.run(command, stdout=log, stderr=log, check=False)
    if made.returncode != 0:
        _fail(checkout, "Python could not make a virtual environment")


def drop_unfinished(venv: Path) -> None:
    """Clear away packages that were cut off in the middle, so that pip puts them in again.

    pip writes a package's list of files last, and sets a package that it replaces aside under a name with a
    `~`.
    """
    for folder in venv.rglob("site-packages"):
        for aside in folder.glob("~*"):
            shutil.rmtree(aside, ignore_errors=True)
        for info in folder.glob("*.dist-info"):
            if not _complete(folder, info):
                shutil.rmtree(info)


def _complete(folder: Path, info: Path) -> bool:
    try:
        with (info / "RECORD").open(encoding="utf-8", newline="") as file:
            names = [row[0] for row in csv.reader(file) if row]
    except OSError:
        return False
    return all(name.endswith(".pyc") or (folder / name).exists() for name in names)


def _torch_requirement(checkout: Checkout) -> str:
    """The line of pyproject.toml that asks for torch, such as "torch>=2.6,<2.14"."""
    project = tomllib.loads((checkout.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements: list[str] = project["dependencies"]
    return next(line for line in requirements if re.match(r"torch\b", line))


def _pip(checkout: Checkout, progress: Progress, lock: IO[str], arguments: list[str]) -> None:
    """`pip install`, its own output in the log, its progress in a few words."""
    options = ["--progress-bar", "off", "--disable-pip-version-check", "--no-input"]
    command = [str(checkout.python), "-m", "pip", "install", *options, *arguments]
    with checkout.log.open("ab") as log:
        start = log.tell()
        # With the lock in its hands, and writing to a file: if this process is killed, pip goes on to its
        # end.
        handed = () if WINDOWS else (lock.fileno(),)
        child = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, pass_fds=handed)
        try:
            while child.poll() is None:
                time.sleep(0.25)
                progress.say(describe_pip(_tail(checkout.log, start)))
        except BaseException:
            child.terminate()
            child.wait()
            raise
    if child.returncode != 0:
        _fail(checkout, "pip could not install what the studio needs", _tail(checkout.log, start))


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


def describe_pip(output: str) -> str:
    """What pip is doing, from what it has printed so far, coarse enough to change every few seconds only."""
    installing = re.findall(r"^Installing collected packages: (.*)$", output, re.MULTILINE)
    if installing:
        count = installing[-1].count(",") + 1
        return f"installing {count} package{'s' if count > 1 else ''}"
    seen = r"^\s*(?:Collecting|Requirement already satisfied:) ([\w.-]+)"
    found = len(set(re.findall(seen, output, re.MULTILINE)))
    if found < 20:
        return "looking for packages"
    # pip says what it downloads before it does: only the last line is going on now.
    now = re.search(r"^\s*Downloading (\S+?)-[\d.]\S* \(([\d.]+ [GM]B)\)\s*\Z", output, re.MULTILINE)
    loading = f", downloading {now[1].rpartition('/')[2]} ({now[2]})" if now and _is_large(now[2]) else ""
    return f"found {found - found % 20} packages so far{loading}"


def _is_large(size: str) -> bool:
    return size.endswith("GB") or float(size.split()[0]) >= 50


def _fail(checkout: Checkout, what: str, output: str = "") -> NoReturn:
    error = re.search(r"^ERROR: (.*)$", output, re.MULTILINE | re.IGNORECASE)
    cause = f": {error[1].strip()}" if error else ""
    raise Refusal(
        "install_failed",
        f"The installation stopped. {what}{cause}.",
        "Check the internet connection and the room on the disk, then call launch.py again: it goes on where "
        f"this one stopped. What pip said is in {checkout.log}.",
        log=str(checkout.log),
    )


@contextlib.contextmanager
def _installing(checkout: Checkout) -> Iterator[IO[str]]:
    """Hold the checkout's lock, waiting for whoever has it; a request to end becomes an orderly way out."""
    try:
        lock = checkout.lock.open("a")
    except OSError as error:
        raise Refusal(
            "folder_not_writable",
            f"The studio is not installed yet, and {checkout.root} cannot be written to ({error.strerror}).",
            "Copy the project into a folder of your own, or have its owner start it once.",
        ) from error
    with lock:
        if not try_lock(lock):
            print("Another start is installing; waiting for it.", file=sys.stderr)
            while not try_lock(lock):
                time.sleep(0.5)
        ended = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            yield lock
        finally:
            signal.signal(signal.SIGTERM, ended)
