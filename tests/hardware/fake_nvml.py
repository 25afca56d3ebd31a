"""A machine with any number of NVIDIA GPUs, as `pynvml` would show it, and any failure of any call."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pynvml

GIB = 2**30
CALLS = (
    "nvmlInit",
    "nvmlSystemGetDriverVersion",
    "nvmlSystemGetCudaDriverVersion",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetName",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetCudaComputeCapability",
    "nvmlDeviceGetEnforcedPowerLimit",
    "nvmlDeviceGetMigMode",
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetUtilizationRates",
    "nvmlDeviceGetTemperature",
    "nvmlDeviceGetPowerUsage",
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetGraphicsRunningProcesses",
)
ERRORS = tuple(
    error
    for name in sorted(vars(pynvml))
    if name.startswith("NVMLError_") and isinstance(error := getattr(pynvml, name), type)
)


class FakeNvml:
    """Behaves like `pynvml` on a machine with `count` GPUs of 80 GiB; GPU i has i + 1 GiB in use.

    `fail` maps the name of a call to the error it raises; `only` limits that to one GPU. `mig` is the
    number of parts each GPU is split into.
    """

    NVMLError = pynvml.NVMLError
    NVML_TEMPERATURE_GPU = pynvml.NVML_TEMPERATURE_GPU
    NVML_DEVICE_MIG_ENABLE = pynvml.NVML_DEVICE_MIG_ENABLE

    def __init__(
        self, count: int, *, driver: str = "580.65.06", cuda: int = 13000, mig: int | None = None
    ) -> None:
        self.count = count
        self.driver = driver
        self.cuda = cuda
        self.mig = mig
        self.fail: dict[str, pynvml.NVMLError] = {}
        self.only: int | None = None
        self.millijoules = 0
        self.asked: list[str] = []

    def __getattr__(self, call: str) -> Callable[..., Any]:
        answer = getattr(FakeNvml, f"_{call}", None)
        if answer is None:
            raise AttributeError(call)

        def ask(*arguments: Any) -> Any:
            self.asked.append(call)
            gpu = arguments[0] if arguments else None
            if call in self.fail and (self.only is None or gpu is None or gpu == self.only):
                raise self.fail[call]
            return answer(self, *arguments)

        return ask

    def _nvmlInit(self) -> None:
        pass

    def _nvmlSystemGetDriverVersion(self) -> str:
        return self.driver

    def _nvmlSystemGetCudaDriverVersion(self) -> int:
        return self.cuda

    def _nvmlDeviceGetCount(self) -> int:
        return self.count

    def _nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def _nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        if (index := int(uuid.removeprefix("GPU-"))) >= self.count:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return index

    def _nvmlDeviceGetTotalEnergyConsumption(self, gpu: int) -> int:
        return self.millijoules + 1000 * gpu

    def _nvmlDeviceGetName(self, gpu: int) -> str:
        return f"NVIDIA H100 number {gpu}"

    def _nvmlDeviceGetUUID(self, gpu: int) -> str:
        return f"GPU-{gpu:08d}"

    def _nvmlDeviceGetCudaComputeCapability(self, _gpu: int) -> tuple[int, int]:
        return (9, 0)

    def _nvmlDeviceGetEnforcedPowerLimit(self, _gpu: int) -> int:
        return 700_000

    def _nvmlDeviceGetMigMode(self, _gpu: int) -> list[int]:
        if self.mig is None:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return [pynvml.NVML_DEVICE_MIG_ENABLE, pynvml.NVML_DEVICE_MIG_ENABLE]

    def _nvmlDeviceGetMaxMigDeviceCount(self, _gpu: int) -> int:
        return 7

    def _nvmlDeviceGetMigDeviceHandleByIndex(self, gpu: int, place: int) -> str:
        if self.mig is None or place >= self.mig:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return f"part {place} of {gpu}"

    def _nvmlDeviceGetMemoryInfo(self, gpu: int | str) -> SimpleNamespace:
        if isinstance(gpu, str):
            return SimpleNamespace(total=10 * GIB, used=1 * GIB, free=9 * GIB)
        return SimpleNamespace(total=80 * GIB, used=(gpu + 1) * GIB, free=(79 - gpu) * GIB)

    def _nvmlDeviceGetUtilizationRates(self, _gpu: int) -> SimpleNamespace:
        return SimpleNamespace(gpu=25, memory=10)

    def _nvmlDeviceGetTemperature(self, gpu: int, _sensor: int) -> int:
        return 40 + gpu

    def _nvmlDeviceGetPowerUsage(self, _gpu: int) -> int:
        return 123_500

    def _nvmlDeviceGetComputeRunningProcesses(self, _gpu: int) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(pid=100, usedGpuMemory=1 * GIB),
            SimpleNamespace(pid=101, usedGpuMemory=None),
            SimpleNamespace(pid=102, usedGpuMemory=3 * GIB),
        ]

    def _nvmlDeviceGetGraphicsRunningProcesses(self, _gpu: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=100, usedGpuMemory=1 * GIB)]
