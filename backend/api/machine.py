"""The machine: its accelerators, what is free on them."""

from __future__ import annotations

from dataclasses import dataclass

from studio.errors import Reason


@dataclass(frozen=True)
class GpuProcess:
    pid: int
    name: str | None
    used_bytes: int | None


@dataclass(frozen=True)
class Device:
    """One accelerator. `key` is what `--device` takes. Not `usable`: `problem` says why."""

    key: str
    name: str
    kind: str  # cuda | rocm | mps
    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    utilisation: float | None  # 0..1
    temperature_c: float | None
    power_w: float | None
    power_limit_w: float | None
    driver: str | None
    processes: tuple[GpuProcess, ...]
    usable: bool
    problem: Reason | None = None
    capability: tuple[int, int] | None = None  # of an NVIDIA GPU, as its driver tells


@dataclass(frozen=True)
class HardwareReport:
    """The machine now.

    `reasons` say what is missing and what to do (i18n `hardware.<code>.message` and `.remedy`).
    """

    devices: tuple[Device, ...]
    reasons: tuple[Reason, ...]
    cpu_name: str
    cpu_cores: int  # cores this process may use
    cpu_utilisation: float | None  # 0..1
    ram_total_bytes: int
    ram_available_bytes: int
    disk_total_bytes: int
    disk_free_bytes: int
    home: str


@dataclass(frozen=True)
class Room:
    """The memory of one device, and whether the plan fits there. `device` is what `--device` takes."""

    device: str
    name: str
    total_bytes: int | None
    free_bytes: int | None
    processes: tuple[GpuProcess, ...]
    fits: str | None
