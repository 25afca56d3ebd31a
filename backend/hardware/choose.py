"""Where a job computes when nobody says, and the environment that keeps it there. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping

from backend.api import Device, HardwareReport
from studio.errors import Reason, StudioError

# The CUDA_VISIBLE_DEVICES that the person set, kept where a worker's own is narrowed to its device.
_PERSONS = "STUDIO_CUDA_VISIBLE_DEVICES"
_ALL = "*"  # the person set none


def choose_device(report: HardwareReport, wanted: str | None = None) -> tuple[str, Reason]:
    """The device for a job, as `--device` names it, and why.

    Args:
        report: The machine now.
        wanted: `cpu`, `cuda:0`, `mps`, or None: the usable GPU with the most free memory, else the processor.

    Raises:
        StudioError: `device_unknown` if there is no such device, `device_unusable` if torch can't use it.
    """
    usable = [device for device in report.devices if device.usable]
    if wanted is not None:
        return _asked_for(report, wanted), Reason("device_asked", {"device": wanted})
    if usable:
        best = max(usable, key=_free)
        code = "device_only_gpu" if len(usable) == 1 else "device_most_free"
        return best.key, Reason(code, {"device": best.key, "name": best.name})
    if report.devices:
        return "cpu", Reason(
            "device_gpu_unusable", {"name": report.devices[0].name, "cores": report.cpu_cores}
        )
    return "cpu", Reason("device_no_gpu", {"cores": report.cpu_cores})


def _free(device: Device) -> tuple[int, float]:
    """More free memory first; of equals the one less busy, and of those the first (`max` keeps the first)."""
    free = device.free_bytes if device.free_bytes is not None else device.total_bytes or 0
    return free, -(device.utilisation or 0.0)


def _asked_for(report: HardwareReport, wanted: str) -> str:
    if wanted == "cpu":
        return wanted
    device = next((device for device in report.devices if device.key == wanted), None)
    if device is None:
        known = ["cpu", *(d.key for d in report.devices if d.usable)]
        raise StudioError("device_unknown", device=wanted, known=", ".join(known))
    if device.problem is not None:
        raise StudioError("device_unusable", device=wanted, name=device.name, problem=device.problem.code)
    return wanted


def worker_device(key: str, environ: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """What to set in the environment of a worker that is to use `key`, and what torch calls it there.

    The worker sees its own GPU only, so nothing can take memory on another one by mistake. GPUs are numbered
    by their place on the bus, as NVML does; CUDA's own default puts the fastest first.

    Args:
        key: `cpu`, `cuda:N`, `mps`.
        environ: What the worker inherits. The CUDA_VISIBLE_DEVICES that a person set decides what `cuda:N`
            means, also when it is a worker, which sees one GPU only, that starts the next one.

    Raises:
        StudioError: `device_unknown` if the person's CUDA_VISIBLE_DEVICES names no such GPU.
    """
    if key != "cpu" and not key.startswith("cuda:"):
        return {}, key
    visible = environ.get(_PERSONS, environ.get("CUDA_VISIBLE_DEVICES", _ALL))
    if key == "cpu":
        return {_PERSONS: visible, "CUDA_VISIBLE_DEVICES": ""}, "cpu"
    chosen = key.removeprefix("cuda:")
    if visible != _ALL:
        shown = [entry.strip() for entry in visible.split(",") if entry.strip()]
        if int(chosen) >= len(shown):
            known = ["cpu", *(f"cuda:{index}" for index in range(len(shown)))]
            raise StudioError("device_unknown", device=key, known=", ".join(known))
        chosen = shown[int(chosen)]
    environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": chosen}
    return {_PERSONS: visible, **environment}, "cuda:0"
