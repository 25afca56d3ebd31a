"""What a run was measured at beside what was predicted, in the parts that both can tell. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from studio.memory.need import BESIDE

# From outside a step can't be taken apart: gradients, activations, logits and workspace are one part.
STEP = "step"
TOLD = ("weights", "adapter", "optimizer", STEP)
# A part is called larger than thought if it is so by more than this share of the whole prediction: what
# lives beside tensors (an allocator's slack, modules imported meanwhile) is no part's fault.
_NOTABLE = 0.05


@dataclass(frozen=True)
class Measured:
    """Bytes that a run took at its worst moment, by `TOLD`.

    `peak` is what was allocated on a GPU; on a processor what was resident above what the process held before
    the model was loaded. `reserved` is what a GPU's allocator held at most, None on a processor.
    """

    parts: dict[str, int]
    peak: int
    reserved: int | None


def told(parts: Mapping[str, int]) -> dict[str, int]:
    """The parts of a `Need` in those that a measurement can tell; a GPU's context is no tensor's, and what it
    may page out is in no counter."""
    found = dict.fromkeys(TOLD, 0)
    for name, size in parts.items():
        if name not in BESIDE:
            found[name if name in found else STEP] += size
    return found


def larger_than_thought(predicted: Mapping[str, int], measured: Mapping[str, int]) -> str | None:
    """The part of `TOLD` that went furthest beyond its prediction, None if none did notably."""
    over = {name: measured[name] - predicted[name] for name in TOLD}
    part = max(TOLD, key=lambda name: over[name])
    return part if over[part] > _NOTABLE * sum(predicted.values()) else None
