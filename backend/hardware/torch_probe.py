"""What the installed torch can compute on, found out by trying it.

Importing torch costs seconds and starting CUDA costs memory for as long as the process lives, so the screen
does neither: it runs this module as a short-lived program, `python -m backend.hardware.torch_probe`, which
prints one JSON document, a `TorchFacts`.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TorchDevice:
    """One device that torch lists. `error`: what a small sum on it ended with, None if it worked."""

    key: str
    name: str
    total_bytes: int | None
    error: str | None


@dataclass(frozen=True)
class TorchFacts:
    """`cuda` and `hip` are the versions that torch was built for, None for a build without."""

    version: str
    cuda: str | None
    hip: str | None
    devices: tuple[TorchDevice, ...]
    error: str | None  # why torch could not start CUDA although it was built for it

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> TorchFacts:
        """Inverse of `dataclasses.asdict`, for a body that came through JSON."""
        devices = tuple(TorchDevice(**device) for device in body["devices"])
        return cls(**{**body, "devices": devices})


def probe() -> TorchFacts:
    """Import torch and try every accelerator it lists."""
    import torch

    devices: list[TorchDevice] = []
    error = None
    if torch.version.cuda or torch.version.hip:
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
            devices += [_try_cuda(torch, index) for index in range(torch.cuda.device_count())]
        except (RuntimeError, AssertionError) as failure:
            error = _first_line(failure)
    if torch.backends.mps.is_available():
        devices.append(_try(torch, "mps", "Apple GPU", torch.mps.recommended_max_memory()))
    return TorchFacts(str(torch.__version__), torch.version.cuda, torch.version.hip, tuple(devices), error)


def _try_cuda(torch: Any, index: int) -> TorchDevice:
    properties = torch.cuda.get_device_properties(index)
    return _try(torch, f"cuda:{index}", str(properties.name), int(properties.total_memory))


def _try(torch: Any, key: str, name: str, total: int) -> TorchDevice:
    """Run one kernel: a GPU can be listed and still be too old or too new for the kernels of this build."""
    try:
        answer = (torch.ones(8, device=key) * 2).sum().item()
    except RuntimeError as failure:
        return TorchDevice(key, name, total, _first_line(failure))
    return TorchDevice(key, name, total, None if answer == 16 else f"a sum gave {answer} in place of 16")


def _first_line(failure: BaseException) -> str:
    return (str(failure).strip() or type(failure).__name__).splitlines()[0]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dataclasses.asdict(probe())) + "\n")
