"""The energy of a device, from folders and a driver that say what was put there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest

from studio.train.energy import EnergyMeter, energy_meter, gpu_meter, processor_meter
from tests.hardware.fake_nvml import FakeNvml

ROUND = 262_143_328_850


def zones(folder: Path, **microjoules: int) -> Path:
    """As the kernel lists them: packages, their parts and the mainboard side by side."""
    for number, (name, energy) in enumerate(microjoules.items()):
        zone = folder / f"intel-rapl:{number}"
        zone.mkdir(parents=True, exist_ok=True)
        (zone / "name").write_text(f"{name.replace('_', '-')}\n")
        (zone / "energy_uj").write_text(f"{energy}\n")
        (zone / "max_energy_range_uj").write_text(f"{ROUND}\n")
    return folder


def timed(folder: Path, seconds: float) -> tuple[EnergyMeter, Callable[[], None]]:
    """A meter, and what lets `seconds` pass for it."""
    clock = [0.0]

    def later() -> None:
        clock[0] += seconds

    return processor_meter(folder, lambda: clock[0]), later


def test_packages_are_summed_and_their_parts_counted_once(tmp_path: Path) -> None:
    before = {"package_0": 5_000_000, "core": 1_000_000, "package_1": 7_000_000, "psys": 9_000_000}
    meter, later = timed(zones(tmp_path, **before), 10)
    meter.start()
    later()
    zones(tmp_path, package_0=8_500_000, core=3_000_000, package_1=7_250_000, psys=99_000_000)
    assert meter.joules() == 3.75


def test_a_counter_may_go_round_once(tmp_path: Path) -> None:
    meter, later = timed(zones(tmp_path, package_0=ROUND - 2_000_000), 10)
    meter.start()
    later()
    zones(tmp_path, package_0=1_500_000)
    assert meter.joules() == 3.5


def test_after_so_long_that_it_may_have_gone_round_twice_nothing_is_told(tmp_path: Path) -> None:
    meter, later = timed(zones(tmp_path, package_0=0), 300)  # 262 kJ take 262 s at 1 kW
    meter.start()
    later()
    assert meter.joules() is None
    meter.start()
    assert meter.joules() == 0


def test_what_only_root_may_read_is_not_told(tmp_path: Path) -> None:
    meter, _ = timed(zones(tmp_path, package_0=0), 1)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()  # root, too, is refused
    meter.start()
    assert meter.joules() is None
    nothing = processor_meter(tmp_path / "gone")
    nothing.start()
    assert nothing.joules() is None


def test_a_gpu_is_found_by_its_id_and_counts_millijoules() -> None:
    nvml = FakeNvml(2)
    meter = gpu_meter(nvml, "GPU-00000001")
    nvml.millijoules = 10_000
    meter.start()
    nvml.millijoules = 12_500
    assert meter.joules() == 2.5


@pytest.mark.parametrize(
    "call", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetTotalEnergyConsumption"]
)
def test_a_driver_that_refuses_costs_the_reading_only(call: str) -> None:
    nvml = FakeNvml(1)
    nvml.fail[call] = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    meter = gpu_meter(nvml, "GPU-00000000")
    meter.start()
    assert meter.joules() is None


def test_apples_gpu_has_no_meter() -> None:
    meter = energy_meter("mps")
    meter.start()
    assert meter.joules() is None
