"""One checkout of the project: its .venv, and the stamp that says what was installed completely."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

WINDOWS = os.name == "nt"


@dataclass(frozen=True)
class Stamp:
    """What was installed. A change in any of these asks for an upgrade.

    `project` is the sha256 of pyproject.toml, `python` the version that .venv was made with, `torch` what
    was asked for (`auto`, `cpu`, `cuda`), `extras` the optional parts that were installed as well.
    """

    project: str
    root: str
    python: str
    torch: str
    extras: tuple[str, ...]


class Checkout:
    """Paths of a checkout and the state of its .venv."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.python = self.venv / ("Scripts/python.exe" if WINDOWS else "bin/python")
        self.stamp_file = self.venv / "complete.json"
        self.log = root / ".venv.log"
        self.lock = root / ".venv.lock"

    def stamp(self) -> Stamp | None:
        """What the last complete installation put there; None if there is none, or its Python is gone."""
        try:
            body = json.loads(self.stamp_file.read_text(encoding="utf-8"))
            stamp = Stamp(**{**body, "extras": tuple(body["extras"])})
        except (OSError, ValueError, KeyError, TypeError):  # none yet, or written by another version
            return None
        return None if self.broken() else stamp

    def wanted(self, torch: str, extras: Collection[str]) -> Stamp:
        """The stamp that an installation made now would leave."""
        project = hashlib.sha256((self.root / "pyproject.toml").read_bytes()).hexdigest()
        return Stamp(project, str(self.root), self.venv_version() or "", torch, tuple(sorted(extras)))

    def serves(self, stamp: Stamp, torch: str | None, extras: Collection[str]) -> bool:
        """Whether what is installed is what is wanted now (`torch` None: whichever is there)."""
        return set(extras) <= set(stamp.extras) and stamp == self.wanted(torch or stamp.torch, stamp.extras)

    def write_stamp(self, stamp: Stamp) -> None:
        """Mark the installation as complete: the last thing that an installation does."""
        part = self.stamp_file.with_suffix(".part")
        part.write_text(json.dumps(asdict(stamp)), encoding="utf-8")
        part.replace(self.stamp_file)

    def venv_version(self) -> str | None:
        """Version of the Python that .venv was made with, e.g. "3.11.7"; None if there is no .venv."""
        return self._venv_config().get("version")

    def broken(self) -> bool:
        """Whether .venv is missing, or the Python behind it is gone or has become another version."""
        if not self.python.exists():
            return True
        config = self._venv_config()
        version = config.get("version", "")
        if os.path.realpath(config.get("executable", "")) != os.path.realpath(base_python()):
            return not version
        running = f"{sys.version_info.major}.{sys.version_info.minor}."
        return not version.startswith(running)

    def _venv_config(self) -> dict[str, str]:
        try:
            lines = (self.venv / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
        except OSError:
            return {}
        return {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}


def base_python() -> str:
    """The Python outside of any virtual environment: the one that may make a new .venv."""
    base: str = getattr(sys, "_base_executable", "") or sys.executable
    return base
