"""What an estimate takes from the card that it is for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from studio.memory.answering import answering_need
from studio.memory.cards import Capability, Card, context_bytes
from studio.memory.estimate import estimate
from studio.memory.need import Need
from studio.memory.process import card_here, process_bytes
from studio.models import catalogue
from studio.plan import parse_request

MIB = 2**20


def trained(capability: Capability | None, device: str = "cuda:0") -> Need:
    settings: dict[str, Any] = {"batch": 1, "seq": 64, "lr": 1e-4, "steps": 1, "precision": "bf16"}
    settings |= {"device": device, "optimizer_impl": "fused"}
    plan = parse_request("path:x", "y", "lora", set=settings)
    return estimate(plan, qwen(), 0.5, capability=capability)


def qwen() -> Any:
    entry = catalogue.find("hub:Qwen/Qwen2.5-0.5B-Instruct")
    assert entry is not None
    return entry.facts


def test_products_have_more_to_work_in_from_9_on() -> None:
    """torch documents 32 MiB a handle there (CUBLAS_WORKSPACE_CONFIG), and two threads have one each."""
    plain, hopper, blackwell = (trained(capability).parts for capability in (None, (9, 0), (12, 0)))
    assert hopper["workspace"] - plain["workspace"] == 2 * (32 * MIB - (8 * MIB + 128 * 1024))
    assert blackwell == hopper
    assert trained((8, 6)).parts == plain
    answers = [answering_need(qwen(), "bfloat16", 1, 64, "cuda:0", None, at) for at in (None, (9, 0))]
    assert answers[1].parts["workspace"] - answers[0].parts["workspace"] == 32 * MIB - (8 * MIB + 128 * 1024)


def test_a_processor_has_no_card() -> None:
    assert trained((9, 0), "cpu").parts == trained(None, "cpu").parts


@pytest.mark.parametrize("capability", [None, (7, 5), (8, 0), (8, 6), (9, 0)])
def test_what_a_process_has_lies_within_what_is_known_of_all(capability: Capability | None) -> None:
    least, most = context_bytes("cuda:0", capability)
    assert 140 * MIB <= least < most <= 560 * MIB
    need = trained(capability)
    assert need.parts["context"] == (least + most) // 2
    assert need.reserved[0] >= need.allocated + least


def test_an_a100_is_known_better_than_others() -> None:
    narrow, wide = trained((8, 0)).reserved, trained((8, 6)).reserved
    assert narrow[0] - wide[0] == 260 * MIB
    assert narrow[1] == wide[1]


def test_a_process_knows_its_card(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    h100 = SimpleNamespace(total_memory=80 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", {"cuda:0": h100}.__getitem__)
    assert card_here("cuda:0") == Card(80 * 2**30, (9, 0))
    assert card_here("cpu") == card_here("mps") == Card()
    monkeypatch.setattr(torch.version, "hip", "6.2")  # 9.0 is another generation there
    assert card_here("cuda:0") == Card(80 * 2**30)


class Driver:
    """Of one GPU with two processes; `broken` refuses."""

    class NVMLError(Exception): ...

    def __init__(self, used: int | None = 900 * MIB, broken: bool = False) -> None:
        self.used, self.broken = used, broken

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != "GPU-1":
            raise self.NVMLError
        return "handle"

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[SimpleNamespace]:
        if self.broken or handle != "handle":
            raise self.NVMLError
        other = SimpleNamespace(pid=7, usedGpuMemory=5)
        return [other, SimpleNamespace(pid=42, usedGpuMemory=self.used)]


def test_a_driver_counts_what_a_process_has() -> None:
    assert process_bytes(Driver(), "GPU-1", 42) == 900 * MIB
    assert process_bytes(Driver(), "GPU-1", 43) is None  # not seen from this container
    assert process_bytes(Driver(), "GPU-2", 42) is None
    assert process_bytes(Driver(used=None), "GPU-1", 42) is None  # Windows: the system knows, not the driver
    assert process_bytes(Driver(broken=True), "GPU-1", 42) is None
