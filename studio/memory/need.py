"""What memory a run needs: the one result of estimate, trace and probe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from studio.errors import Reason

Source = Literal["estimate", "trace", "probe"]
PARTS = (
    "weights",
    "adapter",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "cache",
    "workspace",
    "context",
)
# What torch gives a cuBLAS handle to work in, on the first product of a thread, and never takes back: two of
# 4 MiB and eight of 16 KiB (":4096:2:16:8", ATen/cuda/CublasHandlePool.cpp). 32 MiB on compute capability 9.0.
_BLAS_WORKSPACE = 2 * 4096 * 1024 + 8 * 16 * 1024


@dataclass(frozen=True)
class Need:
    """Bytes by part at the worst moment of a step.

    `moment` is the phase of the step that it falls in. `reserved` is what the process as a whole takes from
    the device, as an interval: an allocator holds more than lives. `reasons` explain choices that were made
    on the way, by name.
    """

    source: Source
    parts: dict[str, int]
    moment: str
    reserved: tuple[int, int]
    reasons: dict[str, Reason] = field(default_factory=dict)

    @property
    def allocated(self) -> int:
        """Bytes of tensors at the worst moment."""
        return sum(size for name, size in self.parts.items() if name != "context")


def blas_workspace(device: str | None, handles: int) -> int:
    """Bytes of torch's counters that belong to cuBLAS; a handle belongs to a thread."""
    return handles * _BLAS_WORKSPACE if (device or "cpu").startswith("cuda") else 0
