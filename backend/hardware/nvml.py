"""What NVIDIA's management library says about the GPUs of this machine.

Any call of the library may fail at any time: no driver, a driver that was replaced under a running program, a
GPU that fell off the bus, a reading that this model does not offer. One failed reading costs that reading,
never the others; whatever the library refused is named in the result. The library comes in as an argument
(the module `pynvml` of the package nvidia-ml-py), so that every failure can be acted out.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backend.api import GpuProcess
from studio.errors import Reason

RETRY_SECONDS = 30.0
_NOT_AVAILABLE = 2**32 - 1  # what a 32 bit reading holds when the driver has no value for it
_LOST = ("NVMLError_GpuIsLost", "NVMLError_ResetRequired", "NVMLError_GpuNotFound")
_STALE = ("NVMLError_Uninitialized", "NVMLError_DriverNotLoaded", "NVMLError_LibRmVersionMismatch")
_VITAL = ("nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex")  # without these there is nothing to read
_DRIVER_REASONS = {
    "NVMLError_LibraryNotFound": "no_driver",
    "NVMLError_DriverNotLoaded": "driver_not_loaded",
    "NVMLError_LibRmVersionMismatch": "driver_mismatch",
    "NVMLError_NoPermission": "driver_no_permission",
}


@dataclass(frozen=True)
class GpuReading:
    """One NVIDIA GPU in PCI order. None: the driver has no such value. Memory in bytes, power in watts."""

    index: int
    name: str
    uuid: str | None
    capability: tuple[int, int] | None  # compute capability, e.g. (9, 0)
    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    utilisation: float | None
    temperature_c: float | None
    power_w: float | None
    power_limit_w: float | None
    mig_parts: int | None  # how many parts a GPU in MIG mode is split into; None: not in MIG mode
    processes: tuple[GpuProcess, ...]
    problem: Reason | None


@dataclass(frozen=True)
class NvmlReading:
    """All GPUs at one moment. `cuda` is the newest CUDA version that the driver can run."""

    gpus: tuple[GpuReading, ...]
    driver: str | None
    cuda: tuple[int, int] | None
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class _Static:
    """What does not change while the driver stays loaded."""

    handle: Any
    name: str
    uuid: str | None
    capability: tuple[int, int] | None
    power_limit_w: float | None
    mig_parts: int | None


class NvmlReader:
    """Reads all GPUs, keeping what does not change between two readings.

    Args:
        nvml: The module `pynvml`, or one that behaves like it.
        process_name: Gives the name of a process by its id, None if it can't be known.
        clock: Seconds; a library that refused to start is asked again only every `RETRY_SECONDS`.
    """

    def __init__(
        self,
        nvml: Any,
        process_name: Callable[[int], str | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nvml = nvml
        self._process_name = process_name
        self._clock = clock
        self._static: dict[int, _Static] = {}
        self._started = False
        self._refused: tuple[float, Reason] | None = None
        self._driver: str | None = None
        self._cuda: tuple[int, int] | None = None

    def read(self) -> NvmlReading:
        """The GPUs now. Never raises: what failed is in `reasons` and in each GPU's `problem`."""
        refusal = self._start()
        if refusal is not None:
            return NvmlReading((), None, None, (refusal,))
        failures: list[tuple[str, Exception]] = []
        count = self._ask(failures, "nvmlDeviceGetCount")
        if count is None:
            self._forget_if_stale(failures)
            return NvmlReading((), self._driver, self._cuda, (_driver_reason(*failures[0]),))
        gpus, reasons = [], []
        for index in range(count):
            gpu, found = self._read_gpu(index)
            gpus.append(gpu)
            reasons += found
        if count == 0:
            reasons.append(Reason("driver_without_gpu", {"driver": self._driver or "?"}))
        return NvmlReading(tuple(gpus), self._driver, self._cuda, tuple(reasons))

    def _start(self) -> Reason | None:
        """Load the library and ask it for the driver, once; the reason if it refuses."""
        if self._started:
            return None
        if self._refused is not None and self._clock() - self._refused[0] < RETRY_SECONDS:
            return self._refused[1]
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            reason = _driver_reason("nvmlInit", error)
            self._refused = (self._clock(), reason)
            return reason
        self._started, self._refused = True, None
        ignored: list[tuple[str, Exception]] = []
        self._driver = self._ask(ignored, "nvmlSystemGetDriverVersion")
        cuda = self._ask(ignored, "nvmlSystemGetCudaDriverVersion")
        self._cuda = None if cuda is None else (cuda // 1000, cuda % 1000 // 10)
        return None

    def _ask(self, failures: list[tuple[str, Exception]], call: str, *arguments: Any) -> Any:
        """One call of the library; None where it has no answer, its failure noted unless "not offered"."""
        try:
            return getattr(self._nvml, call)(*arguments)
        except self._nvml.NVMLError as error:
            if call in _VITAL or type(error).__name__ != "NVMLError_NotSupported":
                failures.append((call, error))
            return None

    def _read_gpu(self, index: int) -> tuple[GpuReading, list[Reason]]:
        failures: list[tuple[str, Exception]] = []
        static = self._static.get(index) or self._read_static(index, failures)
        if static is None:
            self._forget_if_stale(failures)
            silent = _gpu_problem(f"GPU {index}", failures)
            return _unreadable(index, silent), []
        ask, handle, nvml = self._ask, static.handle, self._nvml
        memory_handle = handle
        if static.mig_parts:
            # The whole GPU's memory is nobody's in MIG mode: CUDA sees the first part only.
            memory_handle = ask(failures, "nvmlDeviceGetMigDeviceHandleByIndex", handle, 0) or handle
        memory = ask(failures, "nvmlDeviceGetMemoryInfo", memory_handle)
        rates = ask(failures, "nvmlDeviceGetUtilizationRates", handle)
        temperature = ask(failures, "nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU)
        power = _known(ask(failures, "nvmlDeviceGetPowerUsage", handle))
        processes = self._read_processes(failures, handle)
        problem = _gpu_problem(static.name, failures)
        reasons = [] if problem else _reading_reasons(static.name, failures)
        if static.mig_parts is not None:
            reasons.append(Reason("gpu_mig", {"name": static.name, "parts": static.mig_parts}))
        self._forget_if_stale(failures)
        reading = GpuReading(
            index=index,
            name=static.name,
            uuid=static.uuid,
            capability=static.capability,
            total_bytes=None if memory is None else int(memory.total),
            used_bytes=None if memory is None else int(memory.used),
            free_bytes=None if memory is None else int(memory.free),
            utilisation=None if rates is None or _known(rates.gpu) is None else rates.gpu / 100,
            temperature_c=_float(_known(temperature)),
            power_w=None if power is None else power / 1000,
            power_limit_w=static.power_limit_w,
            mig_parts=static.mig_parts,
            processes=processes,
            problem=problem,
        )
        return reading, reasons

    def _read_static(self, index: int, failures: list[tuple[str, Exception]]) -> _Static | None:
        """Handle and unchanging facts of one GPU; kept only if nothing failed: a hiccup must not stick."""
        ask = self._ask
        handle = ask(failures, "nvmlDeviceGetHandleByIndex", index)
        if handle is None:
            return None
        name = ask(failures, "nvmlDeviceGetName", handle)
        capability = ask(failures, "nvmlDeviceGetCudaComputeCapability", handle)
        limit = _known(ask(failures, "nvmlDeviceGetEnforcedPowerLimit", handle))
        static = _Static(
            handle=handle,
            name=name or f"GPU {index}",
            uuid=ask(failures, "nvmlDeviceGetUUID", handle),
            capability=None if capability is None else (int(capability[0]), int(capability[1])),
            power_limit_w=None if limit is None else limit / 1000,
            mig_parts=self._count_mig_parts(failures, handle),
        )
        if not failures:
            self._static[index] = static
        return static

    def _count_mig_parts(self, failures: list[tuple[str, Exception]], handle: Any) -> int | None:
        """How many parts exist on a GPU in MIG mode; None where the mode is off or unknown to this GPU."""
        mode = self._ask(failures, "nvmlDeviceGetMigMode", handle)
        if mode is None or mode[0] != self._nvml.NVML_DEVICE_MIG_ENABLE:
            return None
        places = self._ask(failures, "nvmlDeviceGetMaxMigDeviceCount", handle) or 0
        absent: list[tuple[str, Exception]] = []  # an empty place answers "not found", which is no failure
        parts = (self._ask(absent, "nvmlDeviceGetMigDeviceHandleByIndex", handle, i) for i in range(places))
        return sum(part is not None for part in parts)

    def _read_processes(self, failures: list[tuple[str, Exception]], handle: Any) -> tuple[GpuProcess, ...]:
        """Programs that hold memory of this GPU, largest first, each listed once."""
        compute = self._ask(failures, "nvmlDeviceGetComputeRunningProcesses", handle) or ()
        graphics = self._ask(failures, "nvmlDeviceGetGraphicsRunningProcesses", handle) or ()
        used = {int(p.pid): p.usedGpuMemory for p in (*graphics, *compute)}
        found = [GpuProcess(pid, self._process_name(pid), memory) for pid, memory in used.items()]
        return tuple(sorted(found, key=lambda p: -(p.used_bytes or 0)))

    def _forget_if_stale(self, failures: list[tuple[str, Exception]]) -> None:
        """After the driver went away the library must be started anew and all handles fetched again."""
        if any(type(error).__name__ in _STALE for _, error in failures):
            self._started = False
            self._static.clear()


def _known(value: Any) -> Any:
    return None if value is None or value >= _NOT_AVAILABLE else value


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _driver_reason(call: str, error: Exception) -> Reason:
    code = _DRIVER_REASONS.get(type(error).__name__)
    return Reason(code) if code else Reason("driver_failed", {"call": call, "error": str(error)})


def _gpu_problem(name: str, failures: list[tuple[str, Exception]]) -> Reason | None:
    """Why this GPU can't be used at all, if one of the failures means that."""
    for call, error in failures:
        kind = type(error).__name__
        if kind in _LOST:
            return Reason("gpu_lost", {"name": name, "error": str(error)})
        if kind in _STALE:
            return _driver_reason(call, error)
        if call == "nvmlDeviceGetHandleByIndex":
            return Reason("gpu_silent", {"name": name, "error": str(error)})
    return None


def _reading_reasons(name: str, failures: list[tuple[str, Exception]]) -> list[Reason]:
    if not failures:
        return []
    calls = ", ".join(sorted({call.removeprefix("nvmlDeviceGet") for call, _ in failures}))
    return [Reason("gpu_reading_failed", {"name": name, "readings": calls, "error": str(failures[0][1])})]


def _unreadable(index: int, problem: Reason | None) -> GpuReading:
    return GpuReading(
        index=index,
        name=f"GPU {index}",
        uuid=None,
        capability=None,
        total_bytes=None,
        used_bytes=None,
        free_bytes=None,
        utilisation=None,
        temperature_c=None,
        power_w=None,
        power_limit_w=None,
        mig_parts=None,
        processes=(),
        problem=problem,
    )
