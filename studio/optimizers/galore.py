"""GaLore: AdamW within the gradient's leading directions (Zhao et al. 2024, arXiv 2403.03507)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from studio.optimizers import Optimizer, Shapes
from studio.optimizers.adamw import AdamWParams
from studio.params import param


@dataclass(frozen=True)
class GaloreParams(AdamWParams):
    rank: int = param(
        128,
        "How many directions of each weight matrix are followed: more learn more, and cost more memory.",
        low=1,
        high=8192,
    )
    every: int = param(
        200, "Steps after which the directions are chosen anew.", low=1, high=1_000_000, expert=True
    )
    scale: float = param(
        1.0, "Length of the steps within the directions, against AdamW's.", low=0.001, high=100.0, expert=True
    )


def state_bytes(shapes: Shapes, itemsize: int, params: GaloreParams) -> int:
    """A matrix keeps its directions and two averages within them; all else two averages of its own shape."""
    total = 0
    for shape in shapes:
        if len(shape) == 2 and min(shape) > params.rank:
            total += params.rank * (min(shape) + 2 * max(shape))
        else:
            total += 2 * prod(shape)
    return itemsize * total


EXTENSION = Optimizer(
    id="galore",
    title="GaLore",
    summary="AdamW within each matrix's most important directions: full fine-tuning with the optimizer "
    "memory of a small adapter.",
    params=GaloreParams,
    torch="studio.train.galore:galore",
    state_bytes=state_bytes,
    implementations=("loop",),
)
