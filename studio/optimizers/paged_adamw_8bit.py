"""AdamW in 8 bit whose memory a GPU may move out to the computer's own (Dettmers et al. 2023, arXiv
2305.14314)."""

from __future__ import annotations

from math import prod

from studio.optimizers import Optimizer, Shapes
from studio.optimizers.adamw import AdamWParams
from studio.optimizers.adamw_8bit import state_bytes

PAGED_FROM = 100_000  # numbers of a tensor from which its averages are paged; scales never are


def paged_bytes(shapes: Shapes, itemsize: int, params: AdamWParams) -> int:  # noqa: ARG001
    """Two averages of a byte a number."""
    return sum(2 * size for shape in shapes if (size := prod(shape)) >= PAGED_FROM)


EXTENSION = Optimizer(
    id="paged_adamw_8bit",
    title="AdamW, 8 bit, paged",
    summary="AdamW in 8 bit that gives way to the computer's memory when the GPU's runs short; without a GPU "
    "the same as AdamW, 8 bit.",
    params=AdamWParams,
    torch="studio.train.optim:paged_adamw_8bit",
    state_bytes=state_bytes,
    loop_scratch=lambda *_: (0, 0),  # one kernel, in place
    implementations=("loop",),
    package="bitsandbytes",
    paged_bytes=paged_bytes,
)
