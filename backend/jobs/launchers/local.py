"""One detached process on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from backend.hardware import worker_device
from backend.home import Home
from backend.jobs.processes import Identity, identity, start_detached
from backend.jobs.record import Job
from backend.jobs.spare import Spares

_ROOT = Path(__file__).resolve().parents[3]
_WORKER = "backend.jobs.worker"


class LocalLauncher:
    """Starts `python -m <module>` so that it survives the death of whoever started it."""

    id = "local"

    def __init__(self, module: str = _WORKER) -> None:
        self._module = module
        self._children: list[subprocess.Popen[bytes]] = []

    def launch(self, home: Home, job: Job) -> Identity:
        """See `Launcher.launch`."""
        if self._module == _WORKER and (spare := Spares(home).take(job)) is not None:
            return spare
        # Children that ended are collected here; until then a zombie counts as dead.
        self._children = [child for child in self._children if child.poll() is None]
        command = [sys.executable, "-P", "-m", self._module, "--home", str(home.root)]
        command += ["--job", job.id, "--attempt", str(job.attempt)]
        child = start_detached(command, home.log(job.id), home.root, worker_environment(job.devices))
        self._children.append(child)
        who = identity(child.pid)
        if who is None:
            raise ChildProcessError(f"the worker ended at once with exit status {child.wait()}")
        return who


def worker_environment(devices: Sequence[str] = ()) -> dict[str, str]:
    """The environment of a worker: this one's, its own device only, the checkout importable, no chatter.

    Threads that wait for each other sleep instead of spinning: on cores shared with other programs, spinning
    made a step of the starter cost six times the processor time.
    """
    paths = [str(_ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        **(worker_device(devices[0], os.environ)[0] if devices else {}),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(p for p in paths if p)),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
