"""One detached process on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from backend.home import Home
from backend.jobs.processes import Identity, identity, start_detached

_ROOT = Path(__file__).resolve().parents[3]


class LocalLauncher:
    """Starts `python -m <module>` so that it survives the death of whoever started it."""

    id = "local"

    def __init__(self, module: str = "backend.jobs.worker") -> None:
        self._module = module
        self._children: list[subprocess.Popen[bytes]] = []

    def launch(self, home: Home, job: str, attempt: int) -> Identity:
        """See `Launcher.launch`."""
        # Children that ended are collected here; until then a zombie counts as dead.
        self._children = [child for child in self._children if child.poll() is None]
        command = [sys.executable, "-m", self._module, "--home", str(home.root), "--job", job]
        command += ["--attempt", str(attempt)]
        child = start_detached(command, home.log(job), _ROOT, worker_environment())
        self._children.append(child)
        who = identity(child.pid)
        if who is None:
            raise ChildProcessError(f"the worker ended at once with exit status {child.wait()}")
        return who


def worker_environment() -> dict[str, str]:
    """The environment of a worker: this one's, with the checkout importable and library chatter off."""
    paths = [str(_ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(p for p in paths if p)),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
