"""APOLLO: gradient steps, each channel's length chosen as AdamW would (Zhu et al. 2024, arXiv 2412.05270)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from studio.optimizers import Optimizer, Shapes
from studio.optimizers.adamw import AdamWParams
from studio.params import param


@dataclass(frozen=True)
class ApolloParams(AdamWParams):
    rank: int = param(
        64,
        "Size of the random sketch that each matrix's step lengths are judged by; 1 is APOLLO-Mini.",
        low=1,
        high=8192,
    )
    every: int = param(
        200, "Steps after which the random sketch is drawn anew.", low=1, high=1_000_000, expert=True
    )
    scale: float = param(1.0, "Length of the steps, against AdamW's.", low=0.001, high=100.0, expert=True)


def state_bytes(shapes: Shapes, itemsize: int, params: ApolloParams) -> int:
    """A matrix keeps two averages of its sketch, all else two averages of its own shape."""
    total = 0
    for shape in shapes:
        if len(shape) == 2 and min(shape) > params.rank:
            total += 2 * params.rank * max(shape)
        else:
            total += 2 * prod(shape)
    return itemsize * total


EXTENSION = Optimizer(
    id="apollo",
    title="APOLLO",
    summary="Learns nearly as AdamW does with almost no optimizer memory: meant for full fine-tuning.",
    params=ApolloParams,
    torch="studio.train.apollo:apollo",
    state_bytes=state_bytes,
    implementations=("loop",),
)
