"""Processor, memory and disk of this machine, as far as this process may use them.

Inside a container the machine's own figures mislead: the limits of its control group are what training runs
into, so the smaller figure counts.
"""

from __future__ import annotations

import math
import os
import platform
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Memory:
    """RAM in bytes; `available` can be taken without swapping."""

    total: int
    available: int


@cache
def cpu_name() -> str:
    """The processor's own name, e.g. "AMD EPYC 7763"; the architecture where the system does not tell."""
    system = platform.system()
    if system == "Linux":
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    if system == "Darwin":
        ask = ["sysctl", "-n", "machdep.cpu.brand_string"]
        asked = subprocess.run(ask, capture_output=True, text=True, check=False)
        if asked.returncode == 0 and asked.stdout.strip():
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


@cache
def usable_cores(cgroup: Path = _CGROUP) -> int:
    """Cores this process may use: its affinity, cut to the share of its control group (rounded up)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = _read(cgroup / "cpu.max")
    if share:
        quota, _, period = share.partition(" ")
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period or 100_000)))
    return max(cores, 1)


def memory(cgroup: Path = _CGROUP) -> Memory:
    """RAM of the machine, or what the control group leaves of it if that is less."""
    machine = psutil.virtual_memory()
    limit = _read(cgroup / "memory.max")
    if not limit or limit == "max" or int(limit) >= machine.total:
        return Memory(machine.total, machine.available)
    # Pages of files that are no longer read count as used, yet the kernel drops them on demand.
    droppable = _field(_read(cgroup / "memory.stat") or "", "inactive_file")
    left = int(limit) - int(_read(cgroup / "memory.current") or 0) + droppable
    return Memory(int(limit), max(0, min(left, machine.available)))


class CpuMeter:
    """Share of all cores in use between two readings, whoever asks and from whichever thread."""

    SHORTEST = 0.25  # seconds; the kernel counts in hundredths, so a shorter span is mostly rounding

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = time.monotonic()
        self._busy, self._all = _cpu_seconds()
        self._last: float | None = None

    def utilisation(self) -> float | None:
        """0..1 since the last reading; None until `SHORTEST` seconds have passed since the start."""
        with self._lock:
            now = time.monotonic()
            if now - self._at >= self.SHORTEST:
                busy, everything = _cpu_seconds()
                if everything > self._all:
                    self._last = min(max((busy - self._busy) / (everything - self._all), 0.0), 1.0)
                self._at, self._busy, self._all = now, busy, everything
            return self._last


def _cpu_seconds() -> tuple[float, float]:
    """Seconds that the cores were busy and seconds in all, since the machine started, summed over cores."""
    times = psutil.cpu_times()._asdict()
    # Linux counts guest time inside user time already.
    everything = sum(seconds for kind, seconds in times.items() if not kind.startswith("guest"))
    return everything - times["idle"] - times.get("iowait", 0.0), everything


def disk(folder: Path) -> tuple[int, int]:
    """Total and free bytes of the disk that holds `folder`, which need not exist yet."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    return usage.total, usage.free


def process_name(pid: int) -> str | None:
    """Name of a process; None if it ended, is another user's secret, or lives outside this container."""
    try:
        name: str = psutil.Process(pid).name()
    except psutil.Error:
        return None
    return name


def display_vendors(devices: Path = Path("/sys/bus/pci/devices")) -> frozenset[str]:
    """PCI vendors (`nvidia`, `amd`) of the GPUs that are plugged in, driver or not. Linux only."""
    found = set()
    for card in devices.glob("*"):
        vendor = _VENDORS.get(_read(card / "vendor") or "")
        # 0x03....: display controllers; 0x12....: processing accelerators (cards without a display).
        if vendor and (_read(card / "class") or "")[:4] in ("0x03", "0x12"):
            found.add(vendor)
    return frozenset(found)


_VENDORS = {"0x10de": "nvidia", "0x1002": "amd"}


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None


def _field(text: str, name: str) -> int:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0
