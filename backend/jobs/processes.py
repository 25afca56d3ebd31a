"""All platform code about processes: who one is, whether it lives, starting it detached, ending it.

A process is named by machine, boot, pid and its start time, because pids come back. Linux is tested; macOS
and Windows are written for and untested. On Linux the standard library is enough to know whether one lives:
the door asks before anything is installed.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_MACHINE_ID = Path("/etc/machine-id")


@dataclass(frozen=True)
class Identity:
    """One process, unmistakably. `started` is in the platform's own unit: only equality means something.

    `host` is what `machine_id` gives.
    """

    host: str
    boot: str
    pid: int
    started: float


def identity(pid: int | None = None) -> Identity | None:
    """Identity of a process of this machine (None: this one); None if there is no such process."""
    started = _started(pid or os.getpid())
    return None if started is None else Identity(machine_id(), boot_id(), pid or os.getpid(), started)


def own_identity() -> Identity:
    """Identity of this process."""
    own = identity()
    assert own is not None
    return own


def alive(who: Identity) -> bool | None:
    """Whether the process lives; None if that can't be known, because it is another machine's."""
    if who.host != machine_id():
        return None
    return who.boot == boot_id() and _started(who.pid) == who.started


@lru_cache(maxsize=1)
def machine_id() -> str:
    """Names this machine, where there is such an id also after its host name has changed.

    Containers mostly have none: there the host name tells them apart, and one made anew is another machine.
    """
    try:
        return _MACHINE_ID.read_text().strip() or platform.node()
    except OSError:
        return platform.node()


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Changes with every start of the machine."""
    file = _PROC / "sys/kernel/random/boot_id"
    if file.exists():
        return file.read_text().strip()
    import psutil

    # Rounded: the clock is corrected now and then, and the boot time moves with it.
    return str(round(psutil.boot_time() / 60))


def _started(pid: int) -> float | None:
    """Start time of a process that can still do something; None for a zombie or none."""
    if _PROC.joinpath("self/stat").exists():
        # psutil adds the boot time, which moves when the clock is corrected; the kernel's ticks do not.
        try:
            text = (_PROC / str(pid) / "stat").read_text()
        except OSError:
            return None
        state, *fields = text.rpartition(")")[2].split()
        return None if state in "ZXx" else float(fields[18])
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def start_detached(
    command: Sequence[str], log: Path, folder: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one and its terminal: own session, no input, output to `log`.

    Raises OSError if it can't be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            close_fds=True,
            **_detached(),
        )


def _detached() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.DETACHED_PROCESS}
    return {"start_new_session": True}


def ask_to_end(who: Identity) -> None:
    """SIGTERM to the process, if it still is the one that is meant."""
    if alive(who):
        os.kill(who.pid, signal.SIGTERM)


def end_by_force(who: Identity) -> None:
    """SIGKILL to the process and all that it started, if it still is the one that is meant."""
    if not alive(who):
        return
    if sys.platform == "win32":
        import psutil

        family = psutil.Process(who.pid).children(recursive=True)
        for process in [psutil.Process(who.pid), *family]:
            process.kill()
    elif os.getpgid(who.pid) == who.pid:
        # A worker leads its own session, so its group is its whole family and nothing else.
        os.killpg(who.pid, signal.SIGKILL)
    else:
        os.kill(who.pid, signal.SIGKILL)
