"""What a process has on a device beside its tensors, by the card's compute capability. No torch."""

from __future__ import annotations

from dataclasses import dataclass

Capability = tuple[int, int]  # of an NVIDIA GPU, e.g. (9, 0)

MIB = 2**20


@dataclass(frozen=True)
class Card:
    """What an estimate takes from a GPU, as far as it is known: all bytes that it has, and what it can do."""

    capacity: int | None = None
    capability: Capability | None = None


# Driver, kernels and libraries of a process that has torch on a GPU, as far as readings are known: 141 MiB on
# a T4 (7.5; FitCheck), 400 to 560 on an A100 (8.0; nvidia-smi less what the allocator held, published runs).
# Of a single reading there is no upper end, of other cards no reading: theirs are the ends of all.
_ANY_GPU = (140 * MIB, 560 * MIB)
_GPUS: dict[Capability, tuple[int, int]] = {(8, 0): (400 * MIB, 560 * MIB)}
_OTHERS = (500 * MIB, 900 * MIB)  # a processor, an Apple GPU: what the programs themselves hold
# What torch gives a cuBLAS handle to work in, on the first product of a thread, and never takes back: two of
# 4 MiB and eight of 16 KiB (":4096:2:16:8", ATen/cuda/CublasHandlePool.cpp), from 9.0 on 32 MiB.
_BLAS = 2 * 4096 * 1024 + 8 * 16 * 1024
_BLAS_FROM_9 = 32 * MIB


def context_bytes(device: str, capability: Capability | None = None) -> tuple[int, int]:
    """(least, most) bytes of a process beside its tensors on a device as torch names it."""
    if device.partition(":")[0] != "cuda":
        return _OTHERS
    return _ANY_GPU if capability is None else _GPUS.get(capability, _ANY_GPU)


def blas_workspace(device: str | None, handles: int, capability: Capability | None = None) -> int:
    """Bytes of torch's counters that belong to cuBLAS; a handle belongs to a thread. Where the card is not
    known, those of most."""
    if not (device or "cpu").startswith("cuda"):
        return 0
    return handles * (_BLAS_FROM_9 if capability is not None and capability >= (9, 0) else _BLAS)
