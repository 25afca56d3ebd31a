"""Running out of memory: telling it from bugs, and saying what was known when it happened."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from studio.errors import StudioError
from studio.memory.measured import STEP, larger_than_thought, told
from studio.memory.relief import reliefs
from studio.train.gauge import Gauge, Prediction

log = logging.getLogger("studio.train")
_MEMORY_WORDS = (
    "out of memory",  # CUDA, ROCm, MPS
    "CUBLAS_STATUS_ALLOC_FAILED",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",  # on Windows
)
_ASKED = re.compile(r"tried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)", re.IGNORECASE)
_UNITS = {"bytes": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30}


@contextmanager
def refusing_lack_of_memory(gauge: Gauge) -> Iterator[None]:
    """Turn a lack of memory into StudioError `memory_full`.

    Facts: `device`, `batch`, `seq`, `detail`; `micro_batch` rows at a time after `step` optimizer steps;
    `loaded`: whether the model itself had found room; `free_bytes` when the run began; `predicted` (None if
    the model's size is unknown) and `measured` bytes by part, what was asked for in vain counted as the
    step's; `held_bytes`, without that; `larger`: the part that took more than predicted, if one did;
    `advice`: what alone would be enough, by the estimate (see `studio.memory.relief`).
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        log.exception("out of memory")
        settings, measured = gauge.plan.settings, gauge.measured()
        parts = measured.parts | {STEP: measured.parts[STEP] + asked_bytes(error)}
        thought = told(gauge.predicted.need.parts) if gauge.predicted else None
        loaded = gauge.model is not None
        # The plan knows the device by the name that the person gave it, among all of the machine's.
        raise StudioError(
            "memory_full",
            device=settings.device or gauge.device,
            batch=settings.batch,
            seq=settings.seq,
            detail=str(error).partition("\n")[0],
            micro_batch=gauge.micro_batch,
            step=gauge.progress.step if gauge.progress else 0,
            loaded=loaded,
            free_bytes=gauge.free,
            predicted=thought,
            measured=parts,
            held_bytes=measured.peak,
            larger=larger_than_thought(thought, parts) if thought else None,
            advice=_advice(gauge.predicted, parts, measured.peak if loaded else gauge.free),
        ) from error


def _advice(predicted: Prediction | None, measured: Mapping[str, int], limit: int) -> list[dict[str, Any]]:
    if predicted is None:
        return []
    factor = max(1.0, sum(measured.values()) / predicted.need.allocated)
    found = reliefs(
        predicted.plan, predicted.facts, limit, predicted.learned, factor, predicted.card.capability
    )
    return [asdict(relief) for relief in found]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the machine itself, had no memory left; torch has a class for GPUs only."""
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in _MEMORY_WORDS)
    return isinstance(error, MemoryError)


def asked_bytes(error: BaseException) -> int:
    """What was asked for in vain, as torch's message says it; 0 if it does not."""
    found = _ASKED.search(str(error))
    return int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
