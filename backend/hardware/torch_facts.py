"""What is known of the installed torch without importing it in this process.

Two sources, from quick to sure: the file `torch/version.py`, which names the versions it was built for, and
the answer of `backend.hardware.torch_probe`, which runs once per torch, driver and set of GPUs and is kept in
the home.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from backend.hardware.torch_probe import TorchFacts

PROBE_FILE = "torch-probe.json"
_PROBE_SECONDS = 120


@dataclass(frozen=True)
class TorchBuild:
    """`cuda` and `hip` as "major.minor", None for a build without."""

    version: str
    cuda: str | None
    hip: str | None


@cache
def installed_build() -> TorchBuild | None:
    """The torch that `import torch` would take, read from its version file; None if there is none."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    return parse_build((Path(spec.origin).parent / "version.py").read_text())


def parse_build(source: str) -> TorchBuild | None:
    """The build named by the text of a `torch/version.py`."""

    def value(name: str) -> str | None:
        found = re.search(rf"^{name}\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", source, re.MULTILINE)
        return found.group(1) if found else None

    version = value("__version__")
    return TorchBuild(version, value("cuda"), value("hip")) if version else None


class TorchProbe:
    """The probe's answer, kept in `<home>/torch-probe.json` under what it depends on.

    Args:
        home: The studio's home.
        command: The program to run; a test puts its own in.
    """

    def __init__(self, home: Path, command: tuple[str, ...] | None = None) -> None:
        self._file = home / PROBE_FILE
        self._command = command or (sys.executable, "-P", "-m", "backend.hardware.torch_probe")
        self._lock = threading.Lock()
        self._known: dict[str, TorchFacts] = {}
        self._running: threading.Thread | None = None

    def facts(self, key: str, wait: bool) -> TorchFacts | None:
        """The answer for `key` (torch version, driver, GPUs); None while the probe still runs."""
        with self._lock:
            if key not in self._known:
                kept = self._read(key)
                if kept is not None:
                    self._known[key] = kept
            if key in self._known:
                return self._known[key]
            if self._running is None:
                self._running = threading.Thread(target=self._run, args=(key,), daemon=True)
                self._running.start()
            running = self._running
        if not wait:
            return None
        running.join()
        return self._known.get(key)

    def _read(self, key: str) -> TorchFacts | None:
        try:
            body: dict[str, Any] = json.loads(self._file.read_text())
        except (OSError, ValueError):  # not there yet, or cut off: asked again
            return None
        return TorchFacts.from_dict(body["facts"]) if body.get("key") == key else None

    def _run(self, key: str) -> None:
        facts = run_probe(self._command)
        with self._lock:
            self._known[key] = facts
            self._running = None
        if facts.version:
            self._keep(key, facts)

    def _keep(self, key: str, facts: TorchFacts) -> None:
        body = json.dumps({"key": key, "facts": dataclasses.asdict(facts)})
        self._file.parent.mkdir(parents=True, exist_ok=True)
        part = self._file.with_name(f"{PROBE_FILE}.{os.getpid()}")
        part.write_text(body)
        part.replace(self._file)


def run_probe(command: tuple[str, ...]) -> TorchFacts:
    """Run the probe program. One that crashes or hangs gives facts with no version, but an error."""
    environment = {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROBE_SECONDS, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return TorchFacts("", None, None, (), f"no answer from torch within {_PROBE_SECONDS} s")
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return TorchFacts(
            "", None, None, (), said[-1] if said else f"torch ended with code {done.returncode}"
        )
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):  # ended in good order, but in the middle of its sentence
        return TorchFacts("", None, None, (), "torch gave no answer")
    return TorchFacts.from_dict(answer)
