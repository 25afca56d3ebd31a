"""What a machine's runs say of its predictions."""

from __future__ import annotations

import pytest

from backend.api import Calibration, MemoryPoint
from backend.calibration import ALIKE, RECENT, calibration, calibrations


def point(method: str, device: str, predicted: int, measured: float, card: str | None = None) -> MemoryPoint:
    parts = dict.fromkeys(("weights", "adapter", "optimizer", "step"), 0)
    return MemoryPoint("r", "estimate", method, device, card, predicted, measured, None, parts, parts)


def test_methods_devices_and_cards_are_kept_apart() -> None:
    points = [
        point("lora", "cpu", 100, 110),
        point("lora", "cpu", 100, 130),
        point("lora", "cpu", 390, 436.8),
        point("qlora", "cpu", 100, 95),
        point("lora", "cuda:0", 100, 101, "NVIDIA L4"),
        point("lora", "cuda:0", 100, 105, "NVIDIA H100 80GB HBM3"),
    ]
    assert calibrations(points) == [
        Calibration("cpu", None, "lora", 1.12, 3),
        Calibration("cpu", None, "qlora", 0.95, 1),
        Calibration("cuda:0", "NVIDIA H100 80GB HBM3", "lora", 1.05, 1),
        Calibration("cuda:0", "NVIDIA L4", "lora", 1.01, 1),
    ]
    assert calibrations([]) == []


def test_what_was_measured_long_ago_counts_no_more() -> None:
    old = [point("lora", "cpu", 100, 300)] * 50
    new = [point("lora", "cpu", 100, 105)] * RECENT
    (found,) = calibrations([*old, *new])
    assert (found.factor, found.runs) == (pytest.approx(1.05), RECENT)


def test_a_model_of_another_size_says_nothing() -> None:
    points = [
        point("lora", "cpu", 100, 150),
        point("lora", "cpu", 1000, 1100),
        point("lora", "cpu", 1001, 1201.2),
    ]
    assert calibration(points, "cpu", None, "lora", 100 * ALIKE) == Calibration(
        "cpu", None, "lora", pytest.approx(1.2), 3
    )
    assert calibration(points, "cpu", None, "lora", 1000) == Calibration(
        "cpu", None, "lora", pytest.approx(1.15), 2
    )
    assert calibration(points, "cpu", None, "lora", 100 * ALIKE + 1) == calibration(
        points, "cpu", None, "lora", 1000
    )
    assert calibration(points, "cpu", None, "lora", 10_000) is None
    assert calibration(points, "cuda:0", None, "lora", 100) is None
    # On the list of the machine: those like the newest run.
    assert calibrations(points) == [Calibration("cpu", None, "lora", pytest.approx(1.15), 2)]
