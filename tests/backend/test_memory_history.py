"""Measured beside predicted: what a machine's runs say of its predictions."""

from __future__ import annotations

import pytest

from backend.api import Calibration, MemoryPoint
from backend.memory_history import RECENT, calibrations


def point(method: str, device: str, predicted: int, measured: int) -> MemoryPoint:
    parts = dict.fromkeys(("weights", "adapter", "optimizer", "step"), 0)
    return MemoryPoint("r", "estimate", method, device, predicted, measured, None, parts, parts)


def test_methods_and_devices_are_kept_apart() -> None:
    points = [
        point("lora", "cpu", 100, 110),
        point("lora", "cpu", 100, 130),
        point("lora", "cpu", 1000, 1120),
        point("qlora", "cpu", 100, 95),
        point("lora", "cuda:0", 100, 101),
    ]
    assert calibrations(points) == [
        Calibration("cpu", "lora", 1.12, 3),
        Calibration("cpu", "qlora", 0.95, 1),
        Calibration("cuda:0", "lora", 1.01, 1),
    ]
    assert calibrations([]) == []


def test_what_was_measured_long_ago_counts_no_more() -> None:
    old = [point("lora", "cpu", 100, 300)] * 50
    new = [point("lora", "cpu", 100, 105)] * RECENT
    (found,) = calibrations([*old, *new])
    assert (found.factor, found.runs) == (pytest.approx(1.05), RECENT)
