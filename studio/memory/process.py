"""The GPU that this process works on: what it is, and what the process has there beside what torch's
allocator holds, by the driver's own count."""

from __future__ import annotations

import os
from typing import Any

from studio.memory.cards import Card, context_bytes


def card_here(device: str) -> Card:
    """What an estimate is told of a device as torch calls it here: nothing of a processor or an Apple GPU, of
    an AMD GPU (whose versions are of another count) its size alone."""
    import torch

    if not device.startswith("cuda"):
        return Card()
    found = torch.cuda.get_device_properties(device)
    return Card(found.total_memory, (found.major, found.minor) if torch.version.hip is None else None)


def beside_allocator(device: str) -> tuple[int, int]:
    """(least, most) bytes on a GPU that is in use: as counted now, or what is known of the card where the
    driver does not tell (ROCm, Windows, a container that hides process ids)."""
    import pynvml
    import torch

    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    counted = process_bytes(pynvml, uuid, os.getpid())
    beside = None if counted is None else counted - torch.cuda.memory_reserved(device)
    if beside is not None and beside > 0:
        return beside, beside
    return context_bytes(device, card_here(device).capability)


def process_bytes(nvml: Any, uuid: str, pid: int) -> int | None:
    """All that a process has on one GPU; `nvml` is the module `pynvml` or its like."""
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        found = [one for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle) if one.pid == pid]
    except nvml.NVMLError:
        return None
    return found[0].usedGpuMemory if found else None
