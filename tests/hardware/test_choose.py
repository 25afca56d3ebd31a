"""Where a job runs when nobody says, what a wrong wish is answered with, and what its worker then sees."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backend.api import Device, HardwareReport
from backend.hardware import choose_device, worker_device
from studio.errors import Reason, StudioError
from ui.words import Words

GPU = Device(
    key="cuda:0",
    name="H100",
    kind="cuda",
    total_bytes=80,
    used_bytes=10,
    free_bytes=70,
    utilisation=0.0,
    temperature_c=None,
    power_w=None,
    power_limit_w=None,
    driver=None,
    processes=(),
    usable=True,
)
BROKEN = replace(GPU, usable=False, problem=Reason("torch_without_cuda"))


def machine(*devices: Device) -> HardwareReport:
    return HardwareReport(devices, (), "cpu", 2, None, 1, 1, 1, 1, "/home")


def second(**changes: object) -> Device:
    return replace(GPU, key="cuda:1", name="A100", **changes)


@pytest.mark.parametrize(
    ("devices", "key", "reason"),
    [
        ((), "cpu", "device_no_gpu"),
        ((GPU,), "cuda:0", "device_only_gpu"),
        ((BROKEN,), "cpu", "device_gpu_unusable"),
        ((GPU, second(free_bytes=71)), "cuda:1", "device_most_free"),
        ((GPU, second(free_bytes=69)), "cuda:0", "device_most_free"),
        ((GPU, second()), "cuda:0", "device_most_free"),
        ((replace(GPU, utilisation=0.9), second()), "cuda:1", "device_most_free"),
        ((BROKEN, second(free_bytes=1)), "cuda:1", "device_only_gpu"),
        ((replace(GPU, key="mps", free_bytes=None),), "mps", "device_only_gpu"),
    ],
)
def test_a_job_goes_to_the_usable_gpu_with_the_most_room(
    devices: tuple[Device, ...], key: str, reason: str
) -> None:
    chosen, why = choose_device(machine(*devices))
    assert (chosen, why.code) == (key, reason)
    assert Words("en").reason(why)


@pytest.mark.parametrize("wanted", ["cpu", "cuda:0"])
def test_a_wish_is_followed(wanted: str) -> None:
    assert choose_device(machine(GPU), wanted) == (wanted, Reason("device_asked", {"device": wanted}))


@pytest.mark.parametrize("wanted", ["cuda:1", "mps", "gpu", ""])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(wanted: str) -> None:
    with pytest.raises(StudioError) as refused:
        choose_device(machine(GPU), wanted)
    assert refused.value.as_dict() == {
        "code": "device_unknown",
        "facts": {"device": wanted, "known": "cpu, cuda:0"},
    }


def test_a_gpu_that_torch_cannot_use_is_refused_when_asked_for() -> None:
    with pytest.raises(StudioError, match="device_unusable") as refused:
        choose_device(machine(BROKEN), "cuda:0")
    assert all(Words("en").error(refused.value))


@pytest.mark.parametrize(
    ("key", "inherited", "visible", "device"),
    [
        ("cpu", {}, "", "cpu"),
        ("cuda:1", {}, "1", "cuda:0"),
        ("cuda:1", {"CUDA_VISIBLE_DEVICES": "3, GPU-abc"}, "GPU-abc", "cuda:0"),
        ("mps", {}, None, "mps"),
    ],
)
def test_a_worker_sees_its_own_gpu_only(
    key: str, inherited: dict[str, str], visible: str | None, device: str
) -> None:
    environment, name = worker_device(key, inherited)
    assert (environment.get("CUDA_VISIBLE_DEVICES"), name) == (visible, device)


@pytest.mark.parametrize("person", [{}, {"CUDA_VISIBLE_DEVICES": "5,7"}])
@pytest.mark.parametrize("first", ["cpu", "cuda:0", "cuda:1"])
def test_a_worker_that_starts_the_next_one_does_not_pass_on_its_own_view(
    person: dict[str, str], first: str
) -> None:
    inherited = {**person, **worker_device(first, person)[0]}
    for key in ("cpu", "cuda:0", "cuda:1"):
        assert worker_device(key, inherited) == worker_device(key, person)


@pytest.mark.parametrize("visible", ["3", ""])
def test_a_gpu_that_is_not_shown_any_more_is_refused(visible: str) -> None:
    with pytest.raises(StudioError, match="device_unknown"):
        worker_device("cuda:1", {"CUDA_VISIBLE_DEVICES": visible})
