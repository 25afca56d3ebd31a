"""In which number format the chat engine holds a base, and why. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from studio.errors import Reason
from studio.models.folder import weight_files

Precision = Literal["float32", "bfloat16", "float16"]
_SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}

SMALL_BYTES = 256 * 2**20
"""Up to this size in 32 bit a model answers about as fast as in 16 bit (benchmarks/precision in LOG.md)."""

_ONE_THREAD_BYTES = 32 * 2**20


def stored_precision(folder: Path) -> Precision:
    """The format that a model's config.json names for its weights; 32 bit where it names none or another."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    named = config.get("dtype") or config.get("torch_dtype") or config.get("text_config", {}).get("dtype")
    return named if named in _SIZES else "float32"


def weights_bytes(folder: Path) -> int:
    """Size of a model's safetensors files."""
    names = [file.name for file in folder.iterdir()]
    return sum((folder / name).stat().st_size for name in weight_files(names))


def choose_precision(
    stored: Precision, stored_bytes: int, device: str, native_bf16: bool, free_bytes: int
) -> tuple[Precision, Reason]:
    """The format to answer in.

    32 bit where it costs little: there rows can share a forward pass without changing each other's tokens. 16
    bit where it is twice as fast (a GPU, a processor that multiplies bf16 itself) or where 32 bit would not
    fit.

    Args:
        stored: What the weights are stored in.
        stored_bytes: Their size as stored.
        device: As torch names it.
        native_bf16: Whether the device multiplies bf16 in hardware.
        free_bytes: Free memory there.
    """
    in_32_bit = stored_bytes * 4 // _SIZES[stored]
    facts = {"bytes": in_32_bit, "stored": stored}
    if stored == "float32":
        return "float32", Reason("precision_as_stored", facts)
    if in_32_bit <= SMALL_BYTES:
        return "float32", Reason("precision_small_model", facts)
    half: Precision = stored if device != "cpu" else "bfloat16"
    if native_bf16:
        return half, Reason("precision_faster", {**facts, "device": device})
    if in_32_bit > free_bytes // 2:
        return half, Reason("precision_fits", {**facts, "free": free_bytes})
    return "float32", Reason("precision_no_fast_bf16", {**facts, "device": device})


def processor_threads(weights: int, cores: int) -> int:
    """Threads for answering with `weights` bytes of weights on the processor.

    A small model's layers take less time than it takes several threads to meet, above all when a training run
    wants the same cores: one thread is as fast there when the machine is idle, and several times faster when
    it is not.
    """
    return 1 if weights <= _ONE_THREAD_BYTES else cores
