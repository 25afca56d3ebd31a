"""Processor, memory and disk, also inside a container whose limits are below the machine's."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest

from backend.hardware import machine

GIB = 2**30


@pytest.mark.parametrize(
    ("share", "cores"),
    [("max 100000", None), ("50000 100000", 1), ("100000 100000", 1), ("100001 100000", 2), (None, None)],
)
def test_cores_are_cut_to_the_share_of_the_container(
    tmp_path: Path, share: str | None, cores: int | None
) -> None:
    if share:
        (tmp_path / "cpu.max").write_text(share + "\n")
    machine_cores = len(os.sched_getaffinity(0))
    expected = machine_cores if cores is None else min(cores, machine_cores)
    assert machine.usable_cores(tmp_path) == expected


def test_memory_is_what_the_container_leaves(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text(str(GIB))
    (tmp_path / "memory.current").write_text(str(GIB - 100 * 2**20))
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 1048576\nactive_file 7\n")
    assert machine.memory(tmp_path) == machine.Memory(GIB, 101 * 2**20)


def test_memory_without_a_limit_is_the_machine_s(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory(tmp_path).total == psutil.virtual_memory().total


def test_disk_of_a_home_that_is_not_there_yet(tmp_path: Path) -> None:
    total, free = machine.disk(tmp_path / "not" / "yet")
    assert 0 < free <= total


def test_processor_use_is_unknown_at_first_and_high_while_a_core_works() -> None:
    meter = machine.CpuMeter()
    assert meter.utilisation() is None
    end = time.monotonic() + 0.4
    while time.monotonic() < end:
        pass
    use = meter.utilisation()
    assert use is not None
    # This test kept one core busy; the kernel's own count is coarse, so half of that is enough.
    assert 0.5 / (os.cpu_count() or 1) <= use <= 1


def test_graphics_cards_are_found_by_vendor_and_class(tmp_path: Path) -> None:
    for place, (vendor, kind) in enumerate(
        [("0x10de", "0x030200"), ("0x10de", "0x040300"), ("0x1002", "0x020000"), ("0x8086", "0x030000")]
    ):
        card = tmp_path / str(place)
        card.mkdir()
        (card / "vendor").write_text(vendor + "\n")
        (card / "class").write_text(kind + "\n")
    assert machine.display_vendors(tmp_path) == {"nvidia"}


def test_the_name_of_a_process_that_is_gone_is_unknown() -> None:
    assert machine.process_name(os.getpid())
    assert machine.process_name(2**22 + 1) is None
