"""The machine as one report: GPUs from NVML, what torch can do with them, processor, memory, disk.

A reading costs a few milliseconds, so that a page may ask every second: what does not change is kept, and
torch is asked once, in a process of its own.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from backend.api import Device, HardwareReport
from backend.hardware import machine
from backend.hardware.nvml import GpuReading, NvmlReader, NvmlReading
from backend.hardware.torch_facts import TorchBuild, TorchProbe, installed_build
from backend.hardware.torch_probe import TorchDevice, TorchFacts
from studio.errors import Reason


class Hardware:
    """Reads this machine again and again.

    Args:
        home: The studio's home; its disk is the one that counts, and torch's answer is kept there.
        nvml: The module `pynvml` or its like.
        build: The installed torch, None if there is none.
        probe: Who asks torch itself.
        environ: The environment whose CUDA_VISIBLE_DEVICES counts.
    """

    def __init__(
        self,
        home: Path,
        nvml: Any,
        build: TorchBuild | None,
        probe: TorchProbe,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._home = home
        self._nvml = NvmlReader(nvml, machine.process_name)
        self._build = build
        self._probe = probe
        self._environ = environ
        self._cpu = machine.CpuMeter()

    def report(self, wait: bool = False) -> HardwareReport:
        """The machine now. `wait`: until torch has answered (seconds, once per installation and driver)."""
        reading = self._nvml.read()
        facts = self._ask_torch(reading, wait)
        order = visible_order(reading.gpus, self._environ.get("CUDA_VISIBLE_DEVICES"))
        devices = [self._nvidia(gpu, reading, facts, order) for gpu in reading.gpus]
        if facts is not None and (not reading.gpus or (self._build and self._build.hip)):
            devices += [_from_torch(device, facts) for device in facts.devices]
        memory = machine.memory()
        disk_total, disk_free = machine.disk(self._home)
        return HardwareReport(
            devices=tuple(devices),
            reasons=reasons(reading, devices, machine.display_vendors(), platform.system()),
            cpu_name=machine.cpu_name(),
            cpu_cores=machine.usable_cores(),
            cpu_utilisation=self._cpu.utilisation(),
            ram_total_bytes=memory.total,
            ram_available_bytes=memory.available,
            disk_total_bytes=disk_total,
            disk_free_bytes=disk_free,
            home=str(self._home),
        )

    def _ask_torch(self, reading: NvmlReading, wait: bool) -> TorchFacts | None:
        """Torch's own answer where it can add something: a build for GPUs, and a GPU to try."""
        build = self._build
        apple = platform.system() == "Darwin" and platform.machine() == "arm64"
        if build is None or not (apple or build.hip or (build.cuda and reading.gpus)):
            return None
        gpus = ",".join(gpu.uuid or str(gpu.index) for gpu in reading.gpus)
        hidden = self._environ.get("CUDA_VISIBLE_DEVICES", "*")
        return self._probe.facts(f"{build.version}|{reading.driver}|{gpus}|{hidden}", wait)

    def _nvidia(
        self, gpu: GpuReading, reading: NvmlReading, facts: TorchFacts | None, order: list[int]
    ) -> Device:
        shown = gpu.index in order
        key = f"cuda:{order.index(gpu.index)}" if shown else f"hidden:{gpu.index}"
        problem = gpu.problem
        if problem is None and not shown:
            problem = Reason("gpu_hidden", {"name": gpu.name})
        if problem is None:
            problem = torch_problem(gpu, key, reading, self._build, facts)
        return Device(
            key=key,
            name=gpu.name,
            kind="cuda",
            total_bytes=gpu.total_bytes,
            used_bytes=gpu.used_bytes,
            free_bytes=gpu.free_bytes,
            utilisation=gpu.utilisation,
            temperature_c=gpu.temperature_c,
            power_w=gpu.power_w,
            power_limit_w=gpu.power_limit_w,
            driver=reading.driver,
            processes=gpu.processes,
            usable=problem is None,
            problem=problem,
            capability=gpu.capability,
        )


@cache
def _hardware(home: Path) -> Hardware:
    import pynvml

    return Hardware(home, pynvml, installed_build(), TorchProbe(home))


def report(home: Path, wait: bool = False) -> HardwareReport:
    """This machine now, for a studio with this home. See `Hardware.report`."""
    return _hardware(home).report(wait)


def visible_order(gpus: tuple[GpuReading, ...], visible: str | None) -> list[int]:
    """PCI indices in the order in which CUDA numbers them.

    `visible` is the value of CUDA_VISIBLE_DEVICES, None where it is not set. CUDA reads
    the list up to the first entry that it does not know.
    """
    if visible is None:
        return [gpu.index for gpu in gpus]
    order: list[int] = []
    for entry in (part.strip() for part in visible.split(",")):
        match = [
            gpu.index
            for gpu in gpus
            if entry == str(gpu.index) or (entry.startswith("GPU-") and (gpu.uuid or "").startswith(entry))
        ]
        if len(match) != 1 or match[0] in order:
            break
        order += match
    return order


def torch_problem(
    gpu: GpuReading, key: str, reading: NvmlReading, build: TorchBuild | None, facts: TorchFacts | None
) -> Reason | None:
    """Why the installed torch can't compute on this GPU; None if it can, or nothing speaks against it yet."""
    if build is None:
        return Reason("torch_missing", {"name": gpu.name})
    if build.cuda is None:
        return Reason("torch_without_cuda", {"name": gpu.name, "torch": build.version})
    # Within a major version any driver runs any CUDA program; a newer major version needs a newer driver.
    if reading.cuda is not None and reading.cuda[0] < int(build.cuda.partition(".")[0]):
        needs = {"name": gpu.name, "driver": reading.driver or "?", "needs": build.cuda}
        return Reason("driver_too_old", {**needs, "offers": f"{reading.cuda[0]}.{reading.cuda[1]}"})
    if facts is None:
        return None
    if facts.error is not None:
        return Reason("torch_failed", {"name": gpu.name, "error": facts.error})
    tried = next((device for device in facts.devices if device.key == key), None)
    if tried is None:
        return Reason("torch_does_not_list", {"name": gpu.name, "torch": facts.version})
    if tried.error is not None:
        return Reason("gpu_not_supported", {"name": gpu.name, "torch": facts.version, "error": tried.error})
    return None


def reasons(
    reading: NvmlReading, devices: list[Device], vendors: frozenset[str], system: str
) -> tuple[Reason, ...]:
    """What is missing on this machine, most important first; empty where every GPU can be used."""
    found: list[Reason] = []
    for reason in reading.reasons:
        if reason.code != "no_driver":
            found.append(reason)
        elif "nvidia" in vendors:
            found.append(Reason("nvidia_without_driver"))
    found += [device.problem for device in devices if device.problem is not None]
    if "amd" in vendors and not any(device.kind == "rocm" for device in devices):
        found.append(Reason("amd_unused"))
    if not devices and not found:
        found.append(Reason("no_gpu_apple" if system == "Darwin" else "no_gpu"))
    return tuple(reason for place, reason in enumerate(found) if reason not in found[:place])


def _from_torch(device: TorchDevice, facts: TorchFacts) -> Device:
    """A device that only torch knows of: AMD under ROCm, Apple's GPU. NVML has no readings for it."""
    problem = None
    if device.error is not None:
        problem = Reason(
            "gpu_not_supported", {"name": device.name, "torch": facts.version, "error": device.error}
        )
    return Device(
        key=device.key,
        name=device.name,
        kind="mps" if device.key == "mps" else "rocm",
        total_bytes=device.total_bytes,
        used_bytes=None,
        free_bytes=None,
        utilisation=None,
        temperature_c=None,
        power_w=None,
        power_limit_w=None,
        driver=None,
        processes=(),
        usable=problem is None,
        problem=problem,
    )
