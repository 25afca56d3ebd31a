"""NVIDIA's library acted out: machines with 0, 1, 2 and 8 GPUs, and every error of every call."""

from __future__ import annotations

import pynvml
import pytest

from backend.hardware.nvml import RETRY_SECONDS, NvmlReader
from tests.hardware.fake_nvml import CALLS, ERRORS, GIB, FakeNvml

NAMES = {100: "python", 101: None, 102: "blender"}


def reader(nvml: FakeNvml, clock: list[float] | None = None) -> NvmlReader:
    return NvmlReader(nvml, NAMES.get, (lambda: clock[0]) if clock else (lambda: 0.0))


def error(code: int) -> pynvml.NVMLError:
    return pynvml.NVMLError(code)


def test_the_fake_has_no_call_that_the_library_lacks() -> None:
    acted = [name[1:] for name in vars(FakeNvml) if name.startswith("_nvml")]
    assert len(acted) >= len(CALLS)
    assert [name for name in acted if not callable(getattr(pynvml, name, None))] == []


@pytest.mark.parametrize("count", [0, 1, 2, 8])
def test_every_gpu_is_read_with_its_own_values(count: int) -> None:
    reading = reader(FakeNvml(count)).read()
    assert [gpu.index for gpu in reading.gpus] == list(range(count))
    assert [gpu.used_bytes for gpu in reading.gpus] == [(i + 1) * GIB for i in range(count)]
    assert [gpu.temperature_c for gpu in reading.gpus] == [40.0 + i for i in range(count)]
    assert reading.driver == "580.65.06"
    assert reading.cuda == (13, 0)
    assert [reason.code for reason in reading.reasons] == ([] if count else ["driver_without_gpu"])


def test_units_are_bytes_shares_watts_and_processes_come_once_largest_first() -> None:
    (gpu,) = reader(FakeNvml(1)).read().gpus
    assert (gpu.total_bytes, gpu.free_bytes) == (80 * GIB, 79 * GIB)
    assert (gpu.utilisation, gpu.power_w, gpu.power_limit_w) == (0.25, 123.5, 700.0)
    assert gpu.capability == (9, 0)
    listed = [(p.pid, p.name, p.used_bytes) for p in gpu.processes]
    assert listed == [(102, "blender", 3 * GIB), (100, "python", 1 * GIB), (101, None, None)]


@pytest.mark.parametrize("failure", ERRORS, ids=lambda error: error.__name__)
@pytest.mark.parametrize("call", CALLS)
def test_any_failure_of_any_call_is_said_and_costs_no_more_than_it_must(
    call: str, failure: type[pynvml.NVMLError]
) -> None:
    nvml = FakeNvml(2)
    nvml.fail[call] = failure()
    nvml.only = 1
    reading = reader(nvml).read()
    codes = {reason.code for reason in reading.reasons} | {
        gpu.problem.code for gpu in reading.gpus if gpu.problem is not None
    }
    if call in ("nvmlInit", "nvmlDeviceGetCount"):
        assert reading.gpus == ()
        assert len(codes) == 1
        return
    assert len(reading.gpus) == 2
    if call.startswith("nvmlSystem"):
        assert (reading.driver is None) == (call == "nvmlSystemGetDriverVersion")
        assert codes == set()
        return
    healthy, struck = reading.gpus
    assert healthy.problem is None
    assert healthy.total_bytes == 80 * GIB
    if call == "nvmlDeviceGetHandleByIndex":
        assert struck.problem is not None
        return
    assert (struck.total_bytes is None) == (call == "nvmlDeviceGetMemoryInfo")
    assert (struck.temperature_c is None) == (call == "nvmlDeviceGetTemperature")
    not_offered = failure.__name__ == "NVMLError_NotSupported"
    assert len(codes) == (0 if not_offered else 1)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "no_driver"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "driver_not_loaded"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "driver_mismatch"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "driver_no_permission"),
        (pynvml.NVML_ERROR_UNKNOWN, "driver_failed"),
    ],
)
def test_a_driver_that_does_not_start_has_its_own_reason(code: int, reason: str) -> None:
    nvml = FakeNvml(1)
    nvml.fail["nvmlInit"] = error(code)
    assert [found.code for found in reader(nvml).read().reasons] == [reason]


def test_a_gpu_off_the_bus_is_named_and_leaves_the_other_usable() -> None:
    nvml = FakeNvml(2)
    nvml.fail["nvmlDeviceGetMemoryInfo"] = error(pynvml.NVML_ERROR_GPU_IS_LOST)
    nvml.only = 1
    first, second = reader(nvml).read().gpus
    assert first.problem is None
    assert second.problem is not None
    assert second.problem.code == "gpu_lost"
    assert second.problem.facts["name"] == "NVIDIA H100 number 1"


def test_a_failed_reading_is_named_and_the_others_stay() -> None:
    nvml = FakeNvml(1)
    nvml.fail["nvmlDeviceGetPowerUsage"] = error(pynvml.NVML_ERROR_TIMEOUT)
    nvml.fail["nvmlDeviceGetTemperature"] = error(pynvml.NVML_ERROR_UNKNOWN)
    reading = reader(nvml).read()
    (gpu,) = reading.gpus
    assert (gpu.power_w, gpu.temperature_c, gpu.utilisation) == (None, None, 0.25)
    (reason,) = reading.reasons
    assert reason.code == "gpu_reading_failed"
    assert reason.facts["readings"] == "PowerUsage, Temperature"


def test_what_does_not_change_is_asked_once_and_a_hiccup_does_not_stick() -> None:
    nvml = FakeNvml(2)
    nvml.fail["nvmlDeviceGetName"] = error(pynvml.NVML_ERROR_TIMEOUT)
    nvml.only = 1
    polled = reader(nvml)
    assert [gpu.name for gpu in polled.read().gpus] == ["NVIDIA H100 number 0", "GPU 1"]
    nvml.fail.clear()
    assert [gpu.name for gpu in polled.read().gpus] == ["NVIDIA H100 number 0", "NVIDIA H100 number 1"]
    nvml.asked.clear()
    polled.read()
    assert nvml.asked.count("nvmlInit") == 0
    assert nvml.asked.count("nvmlDeviceGetName") == 0
    assert nvml.asked.count("nvmlDeviceGetMemoryInfo") == 2


def test_a_driver_replaced_under_the_program_is_started_anew() -> None:
    nvml = FakeNvml(1)
    polled = reader(nvml)
    polled.read()
    nvml.fail["nvmlDeviceGetMemoryInfo"] = error(pynvml.NVML_ERROR_UNINITIALIZED)
    (gpu,) = polled.read().gpus
    assert gpu.problem is not None
    nvml.fail.clear()
    nvml.asked.clear()
    (gpu,) = polled.read().gpus
    assert gpu.problem is None
    assert nvml.asked[0] == "nvmlInit"


def test_a_driver_that_refused_is_not_asked_at_every_reading() -> None:
    nvml, clock = FakeNvml(1), [0.0]
    nvml.fail["nvmlInit"] = error(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    polled = reader(nvml, clock)
    for _ in range(5):
        assert [reason.code for reason in polled.read().reasons] == ["no_driver"]
    assert nvml.asked == ["nvmlInit"]
    nvml.fail.clear()
    clock[0] = RETRY_SECONDS
    assert len(polled.read().gpus) == 1


def test_a_gpu_split_into_parts_shows_the_memory_of_the_part_that_cuda_sees() -> None:
    reading = reader(FakeNvml(1, mig=2)).read()
    (gpu,) = reading.gpus
    assert (gpu.mig_parts, gpu.total_bytes) == (2, 10 * GIB)
    assert [(r.code, r.facts["parts"]) for r in reading.reasons] == [("gpu_mig", 2)]


def test_a_reading_that_the_driver_marks_as_missing_is_none() -> None:
    (gpu,) = NvmlReader(_NoPower(1), NAMES.get).read().gpus
    assert gpu.power_w is None
    assert gpu.temperature_c == 40.0


class _NoPower(FakeNvml):
    def __getattr__(self, call: str):  # type: ignore[no-untyped-def]
        if call == "nvmlDeviceGetPowerUsage":
            return lambda _gpu: 2**32 - 1
        return super().__getattr__(call)
