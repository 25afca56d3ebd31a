from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend.api import Device, HardwareReport
from backend.chat.base import place

_GIB = 2**30
_GPU = Device("cuda:0", "GPU", "cuda", 24 * _GIB, 0, 0, 0.0, None, None, None, None, (), usable=True)
_MACHINE = HardwareReport((), (), "CPU", 8, 0.0, 64 * _GIB, 32 * _GIB, _GIB, _GIB, str(Path("home")))


@pytest.mark.parametrize(
    ("free", "wanted", "expected"),
    [
        (None, None, ("cpu", "device_no_gpu")),
        (20, None, ("cuda:0", "device_only_gpu")),
        (2, None, ("cpu", "chat_gpu_full")),
        (2, "cuda:0", ("cuda:0", "device_asked")),
        (20, "cpu", ("cpu", "device_asked")),
    ],
)
def test_chat_goes_to_the_gpu_only_if_it_has_room(
    free: int | None, wanted: str | None, expected: tuple[str, str]
) -> None:
    gpus = () if free is None else (replace(_GPU, free_bytes=free * _GIB),)
    key, reason = place(replace(_MACHINE, devices=gpus), wanted, 8 * _GIB)
    assert (key, reason.code) == expected
