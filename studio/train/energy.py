"""The energy of the device that a run trains on, from the counters of its driver or of the processor.

Both count the whole device: what other programs do there meanwhile is in it. NVIDIA's GPUs count since Volta,
but not in MIG mode. A processor under Linux (RAPL) counts its packages, without memory and mainboard; on many
systems only root may read that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

_POWERCAP = Path("/sys/class/powercap")
_MOST_WATTS = 1000  # of one counter: no faster does it go round
_64_BIT = 2**64


@dataclass
class EnergyMeter:
    """What a device takes between `start` and `joules`.

    `read` gives its counters in microjoules, None where they can't be read; each goes round at its `rounds`.
    """

    read: Callable[[], list[int] | None]
    rounds: list[int]
    now: Callable[[], float] = time.monotonic
    _began: float = field(default=0.0)
    _before: list[int] | None = field(default=None)

    def start(self) -> None:
        self._began, self._before = self.now(), self.read()

    def joules(self) -> float | None:
        """Since `start`; None where it is not known, or a counter may have gone round more than once."""
        if self._before is None or (values := self.read()) is None:
            return None
        if (self.now() - self._began) * _MOST_WATTS * 1e6 > min(self.rounds):
            return None
        went = zip(values, self._before, self.rounds, strict=True)
        return sum((value - before) % whole for value, before, whole in went) / 1e6


def energy_meter(device: str) -> EnergyMeter:
    """The meter of a device as torch calls it here."""
    if device.startswith("cuda"):
        import pynvml

        # A worker sees its own GPU only, as the first one: NVML sees all of them.
        return gpu_meter(pynvml, f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    return processor_meter(_POWERCAP) if device == "cpu" else no_meter()


def no_meter() -> EnergyMeter:
    """Of a device that does not tell."""
    return EnergyMeter(lambda: None, [])


def gpu_meter(nvml: Any, uuid: str) -> EnergyMeter:
    """Of one GPU; `nvml` is the module `pynvml` or its like."""
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
    except nvml.NVMLError:  # no NVIDIA driver (ROCm), or it does not know this GPU
        return no_meter()

    def read() -> list[int] | None:
        try:
            return [1000 * int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))]
        except nvml.NVMLError:  # not offered by this GPU, or the GPU is lost
            return None

    return EnergyMeter(read, [_64_BIT])


def processor_meter(folder: Path, now: Callable[[], float] = time.monotonic) -> EnergyMeter:
    """Of all processor packages together; `folder` is the kernel's list of zones."""
    try:
        zones = [zone for zone in sorted(folder.glob("intel-rapl:*")) if _is_package(zone)]
        rounds = [_number(zone / "max_energy_range_uj") for zone in zones]
    except OSError:
        return no_meter()

    def read() -> list[int] | None:
        try:
            return [_number(zone / "energy_uj") for zone in zones]
        except OSError:  # readable by root only
            return None

    return EnergyMeter(read, rounds, now) if zones else no_meter()


def _is_package(zone: Path) -> bool:
    """Not a part of one (cores, memory), nor of the whole mainboard: nothing is counted twice."""
    return (zone / "name").read_text().startswith("package")


def _number(file: Path) -> int:
    return int(file.read_text())
