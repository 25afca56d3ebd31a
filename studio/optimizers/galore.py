"""GaLore: AdamW within the gradient's leading directions (Zhao et al. 2024, arXiv 2403.03507)."""

from __future__ import annotations

from dataclasses import dataclass

from studio.optimizers import Optimizer, Shapes
from studio.train.low_rank import (
    LowRankParams,
    averages,
    every_param,
    projected,
    rank_param,
    scale_param,
)


@dataclass(frozen=True)
class GaloreParams(LowRankParams):
    rank: int = rank_param(
        128, "How many directions of each weight matrix are followed: more learn more, and cost more memory."
    )
    every: int = every_param("Steps after which the directions are chosen anew.")
    scale: float = scale_param("Length of the steps within the directions, against AdamW's.")


def state_bytes(shapes: Shapes, itemsize: int, params: GaloreParams) -> int:
    """A matrix keeps its directions and two averages within them; all else two averages of its own shape."""
    shapes = list(shapes)
    directions = sum(params.rank * min(shape) for shape in shapes if projected(shape, params.rank))
    return itemsize * (directions + averages(shapes, params.rank))


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
