"""The whole report: which GPUs torch can use and why not, and what a machine without a GPU says."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pynvml
import pytest

from backend.api import HardwareReport
from backend.hardware import Hardware, machine, report
from backend.hardware.nvml import GpuReading, NvmlReading
from backend.hardware.report import reasons, visible_order
from backend.hardware.torch_facts import TorchBuild, TorchProbe, parse_build, run_probe
from studio.errors import Reason
from tests.hardware.fake_nvml import ERRORS, GIB, FakeNvml
from ui.words import Words

CUDA_BUILD = TorchBuild("2.13.0", "13.0", None)
CPU_BUILD = TorchBuild("2.13.0+cpu", None, None)
DEVICE = {"key": "cuda:0", "name": "NVIDIA H100", "total_bytes": 80 * GIB, "error": None}
FACTS = {"version": "2.13.0", "cuda": "13.0", "hip": None, "devices": [DEVICE], "error": None}


def program(text: str) -> tuple[str, ...]:
    """A command that runs this Python text in place of the real probe."""
    return (sys.executable, "-c", textwrap.dedent(text))


def printing(facts: Mapping[str, object]) -> tuple[str, ...]:
    return program(f"print({json.dumps(facts)!r})")


def read(
    home: Path,
    nvml: FakeNvml,
    build: TorchBuild | None = CUDA_BUILD,
    probe: tuple[str, ...] = printing(FACTS),
    environ: Mapping[str, str] | None = None,
) -> HardwareReport:
    return Hardware(home, nvml, build, TorchProbe(home, probe), environ or {}).report(wait=True)


def codes(found: HardwareReport) -> list[str]:
    """The codes of what is missing, each of which must have its words and the facts that these want."""
    words = Words("en")
    for reason in found.reasons:
        for part in ("message", "remedy"):
            assert words.text(f"hardware.{reason.code}.{part}", **reason.facts)
    return [reason.code for reason in found.reasons]


def no_driver() -> FakeNvml:
    nvml = FakeNvml(0)
    nvml.fail["nvmlInit"] = pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    return nvml


def test_a_gpu_that_torch_can_use_is_usable_and_nothing_is_missing(home: Path) -> None:
    found = read(home, FakeNvml(1))
    (device,) = found.devices
    assert (device.key, device.kind, device.usable, device.problem) == ("cuda:0", "cuda", True, None)
    assert (device.total_bytes, device.driver, found.reasons) == (80 * GIB, "580.65.06", ())


def test_without_driver_and_gpu_the_report_says_so_and_has_the_rest(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "display_vendors", frozenset)
    found = read(home, no_driver(), CPU_BUILD)
    assert (found.devices, codes(found)) == ((), ["no_gpu"])
    assert 0 < found.ram_available_bytes <= found.ram_total_bytes
    assert 0 < found.disk_free_bytes <= found.disk_total_bytes
    assert found.cpu_cores >= 1
    assert found.cpu_name
    assert found.home == str(home)


@pytest.mark.parametrize(
    ("build", "nvml", "probe", "problem"),
    [
        (CPU_BUILD, FakeNvml(1), printing(FACTS), "torch_without_cuda"),
        (None, FakeNvml(1), printing(FACTS), "torch_missing"),
        (CUDA_BUILD, FakeNvml(1, driver="535.1", cuda=12020), printing(FACTS), "driver_too_old"),
        (CUDA_BUILD, FakeNvml(1), printing({**FACTS, "devices": []}), "torch_does_not_list"),
        (
            CUDA_BUILD,
            FakeNvml(1),
            printing({**FACTS, "devices": [{**DEVICE, "error": "no kernel image"}]}),
            "gpu_not_supported",
        ),
        (CUDA_BUILD, FakeNvml(1), printing({**FACTS, "devices": [], "error": "no CUDA"}), "torch_failed"),
        (CUDA_BUILD, FakeNvml(1), program("import os; os.abort()"), "torch_failed"),
        (CUDA_BUILD, FakeNvml(1), program("raise SystemExit('broken torch')"), "torch_failed"),
    ],
)
def test_a_gpu_that_the_installed_torch_cannot_use_is_said_so(
    home: Path, build: TorchBuild | None, nvml: FakeNvml, probe: tuple[str, ...], problem: str
) -> None:
    found = read(home, nvml, build, probe)
    (device,) = found.devices
    assert device.problem is not None
    assert (device.usable, device.problem.code) == (False, problem)
    assert problem in codes(found)


def test_every_failure_of_the_driver_has_its_words(home: Path) -> None:
    for call in ("nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetPowerUsage"):
        for error in ERRORS:
            nvml = FakeNvml(1, mig=2)
            nvml.fail[call] = error()
            assert codes(read(home, nvml))


def test_each_reason_is_said_once(home: Path) -> None:
    nvml = FakeNvml(1)
    nvml.fail["nvmlDeviceGetMemoryInfo"] = pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
    assert codes(read(home, nvml)) == ["gpu_lost"]


def test_hidden_gpus_are_shown_as_hidden_and_the_others_are_numbered_as_cuda_does(home: Path) -> None:
    found = read(home, FakeNvml(3), environ={"CUDA_VISIBLE_DEVICES": "2,0"})
    assert [(d.name[-1], d.key) for d in found.devices] == [
        ("0", "cuda:1"),
        ("1", "hidden:1"),
        ("2", "cuda:0"),
    ]
    assert found.devices[1].problem == Reason("gpu_hidden", {"name": "NVIDIA H100 number 1"})


@pytest.mark.parametrize(
    ("visible", "order"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("1", [1]),
        ("2, 0", [2, 0]),
        ("GPU-00000001", [1]),
        ("0,9,1", [0]),
        ("-1", []),
        ("GPU-0", []),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(visible: str | None, order: list[int]) -> None:
    gpus = tuple(gpu_reading(index) for index in range(3))
    assert visible_order(gpus, visible) == order


def gpu_reading(index: int) -> GpuReading:
    empty = dict.fromkeys(GpuReading.__dataclass_fields__)
    return GpuReading(**{**empty, "index": index, "name": "G", "uuid": f"GPU-{index:08d}", "processes": ()})


@pytest.mark.parametrize(
    ("nvml_reason", "vendors", "system", "expected"),
    [
        ("no_driver", frozenset(), "Linux", ["no_gpu"]),
        ("no_driver", frozenset(), "Darwin", ["no_gpu_apple"]),
        ("no_driver", frozenset({"nvidia"}), "Linux", ["nvidia_without_driver"]),
        ("no_driver", frozenset({"amd"}), "Linux", ["amd_unused"]),
        ("driver_mismatch", frozenset({"nvidia"}), "Linux", ["driver_mismatch"]),
    ],
)
def test_what_is_missing_is_named(
    nvml_reason: str, vendors: frozenset[str], system: str, expected: list[str]
) -> None:
    reading = NvmlReading((), None, None, (Reason(nvml_reason),))
    assert [reason.code for reason in reasons(reading, [], vendors, system)] == expected


def test_amd_and_apple_gpus_come_from_torch(home: Path) -> None:
    amd = {**FACTS, "cuda": None, "hip": "6.4", "devices": [{**DEVICE, "name": "AMD Instinct MI300X"}]}
    (device,) = read(home, no_driver(), TorchBuild("2.13.0+rocm", None, "6.4"), printing(amd)).devices
    assert (device.key, device.kind, device.name) == ("cuda:0", "rocm", "AMD Instinct MI300X")
    assert (device.usable, device.free_bytes) == (True, None)


def test_torch_is_asked_once_per_torch_driver_and_gpus(home: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    probe = program(f"open({str(calls)!r}, 'a').write('x'); print({json.dumps(FACTS)!r})")
    for _ in range(2):  # the second one is a studio started later
        assert read(home, FakeNvml(1), probe=probe).devices[0].usable
    assert calls.read_text() == "x"
    read(home, FakeNvml(1, driver="590.1"), probe=probe)
    assert calls.read_text() == "xx"


def test_a_cut_off_answer_in_the_home_is_asked_for_again(home: Path) -> None:
    home.mkdir()
    (home / "torch-probe.json").write_text('{"key": ')
    assert read(home, FakeNvml(1)).devices[0].usable


def test_before_torch_has_answered_the_page_does_not_wait(home: Path) -> None:
    slow = TorchProbe(home, program("import time; time.sleep(60)"))
    (device,) = Hardware(home, FakeNvml(1), CUDA_BUILD, slow, {}).report().devices
    assert device.usable


def test_a_probe_ended_in_mid_sentence_is_an_error_and_not_a_crash() -> None:
    for said in ("", "print('{')"):
        facts = run_probe(program(said))
        assert not facts.version
        assert facts.error


def test_the_version_file_tells_the_build() -> None:
    text = "__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"
    assert parse_build(text) == TorchBuild("2.13.0+cu130", "13.0", None)
    assert parse_build("nothing here") is None


@pytest.mark.worker
def test_the_real_probe_agrees_with_the_version_file_of_the_installed_torch() -> None:
    from backend.hardware.torch_facts import installed_build

    facts = run_probe((sys.executable, "-m", "backend.hardware.torch_probe"))
    build = installed_build()
    assert build is not None
    assert (facts.version, facts.cuda, facts.hip) == (build.version, build.cuda, build.hip)


@pytest.mark.worker
def test_reading_this_machine_imports_no_torch(home: Path) -> None:
    program = "import sys, pathlib; from backend.hardware import report; "
    program += f"report(pathlib.Path({str(home)!r})); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.gpu
def test_the_gpu_of_this_machine_is_usable(home: Path) -> None:
    assert any(device.usable for device in report(home, wait=True).devices)
