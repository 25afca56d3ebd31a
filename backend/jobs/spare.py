"""A spare worker: a process with its imports done that waits ten minutes for the next start.

torch, transformers and peft take several seconds to import; whoever looks at a plan is likely to start it.
A spare is `<home>/cache/spare/<pid>.json`; taking it is a rename, so that only one taker gets it, and the job
that it shall do follows as `<pid>.order`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from backend.home import Home, open_home
from backend.jobs.processes import Identity, alive, ask_to_end, identity, own_identity, start_detached
from backend.jobs.record import Job

WAIT_SECONDS = 600.0
# A spare holds about half a gigabyte; where less than this is free, memory is worth more than seconds.
LEAST_FREE_BYTES = 2 * 2**30
_POLL_SECONDS = 0.05
_ROOT = Path(__file__).resolve().parents[2]
_IMPORTS = ("studio.train.run", "backend.jobs.kinds.train")


@dataclass(frozen=True)
class Spare:
    """A process that waits. `device`: it sees that one only; `sources`: the state of the code it imported."""

    process: Identity
    device: str
    sources: float
    file: Path

    @property
    def memory_bytes(self) -> int:
        """What it holds now; 0 if it ended this moment."""
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.NoSuchProcess:
            return 0


class Spares:
    """The spares of one home, at most one of them of use."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._folder = home.cache / "spare"
        self._children: list[subprocess.Popen[bytes]] = []

    def waiting(self) -> list[Spare]:
        """Spares that live; what dead ones left is removed."""
        return list(self._living())

    def start(self, device: str, environment: Mapping[str, str]) -> None:
        """See to it that one waits for a job on `device`; nothing happens where memory is short."""
        spares = self.waiting()
        if any(self._fits(spare, device) for spare in spares):
            return
        self.end()
        if psutil.virtual_memory().available < LEAST_FREE_BYTES:
            return
        self._folder.mkdir(exist_ok=True)
        command = [sys.executable, "-P", "-m", "backend.jobs.spare", "--home", str(self._home.root)]
        child = start_detached(command, self._home.logs / "spare.log", self._home.root, environment)
        self._children = [c for c in (*self._children, child) if c.poll() is None]
        process = identity(child.pid)
        if process is not None:
            body = {"process": asdict(process), "device": device, "sources": _sources()}
            _write(self._folder / f"{child.pid}.json", body)

    def take(self, job: Job) -> Identity | None:
        """Give the job to a spare; None if there is none for it."""
        for spare in self.waiting():
            if job.devices != (spare.device,) or not self._fits(spare, spare.device):
                continue
            if _claim(spare) and alive(spare.process):
                _write(spare.file.with_suffix(".order"), {"job": job.id, "attempt": job.attempt})
                return spare.process
        return None

    def end(self) -> None:
        """End those that nobody took."""
        for spare in self.waiting():
            if _claim(spare):
                ask_to_end(spare.process)
                spare.file.with_suffix(".taken").unlink(missing_ok=True)

    def _fits(self, spare: Spare, device: str) -> bool:
        return spare.device == device and spare.sources == _sources()

    def _living(self) -> Iterator[Spare]:
        for file in sorted(self._folder.glob("*.json")):
            try:
                body = json.loads(file.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue  # taken this moment
            process = Identity(**body["process"])
            if alive(process) is False:
                file.unlink(missing_ok=True)
            else:
                yield Spare(process, body["device"], body["sources"], file)


def _claim(spare: Spare) -> bool:
    """Take it out of the waiting ones, for a job or for its end; False if somebody else was quicker."""
    try:
        spare.file.rename(spare.file.with_suffix(".taken"))
    except FileNotFoundError:
        return False
    return True


def _sources() -> float:
    """Changes when the studio's code does: a spare must never run what was replaced under it."""
    files = (file for part in ("studio", "backend") for file in (_ROOT / part).rglob("*.py"))
    return max(file.stat().st_mtime for file in files)


def _write(file: Path, body: object) -> None:
    part = file.with_suffix(".part")
    part.write_text(json.dumps(body), encoding="utf-8")
    part.replace(file)


def main() -> int:
    """Import, wait for an order, then be the worker of that job."""
    parser = argparse.ArgumentParser(prog="python -m backend.jobs.spare")
    parser.add_argument("--home", type=Path, required=True)
    home = open_home(parser.parse_args().home)
    for module in _IMPORTS:
        importlib.import_module(module)
    order = _wait_for_order(home.cache / "spare" / f"{own_identity().pid}.json")
    if order is None:
        return 0
    from backend.jobs import worker

    with home.log(order["job"]).open("ab") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    return worker.main(["--home", str(home.root), "--job", order["job"], "--attempt", str(order["attempt"])])


def _wait_for_order(file: Path) -> dict[str, str] | None:
    order, taken = file.with_suffix(".order"), file.with_suffix(".taken")
    deadline = time.monotonic() + WAIT_SECONDS
    while not order.exists():
        if time.monotonic() > deadline:
            try:
                file.unlink()
            except FileNotFoundError:
                if not taken.exists():
                    return None
                deadline += 10  # taken this very moment: the order follows
                continue
            return None
        time.sleep(_POLL_SECONDS)
    body: dict[str, str] = json.loads(order.read_text(encoding="utf-8"))
    order.unlink()
    taken.unlink(missing_ok=True)
    return body


if __name__ == "__main__":
    sys.exit(main())
