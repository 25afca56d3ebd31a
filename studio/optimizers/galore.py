"""GaLore: AdamW within the gradient's leading directions (Zhao et al. 2024, arXiv 2403.03507)."""

from __future__ import annotations

from dataclasses import dataclass

from studio.optimizers import Optimizer, Shape, Shapes
from studio.train.low_rank import (
    LowRankParams,
    averaged_scratch,
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


def loop_scratch(shape: Shape, itemsize: int, params: GaloreParams) -> tuple[int, int]:
    """Of a matrix (m, n) with m <= n: its small square (m, m) and all directions of that, in 32 bit, when
    they are chosen anew; else a step of its own size, before and after it is scaled."""
    if not projected(shape, params.rank):
        return averaged_scratch(shape, itemsize)
    m, n = sorted(shape)
    inner, size = params.rank * n * itemsize, m * n * itemsize
    chosen = 8 * m * m + (4 * m * n if itemsize == 2 else 0)
    return max(chosen, 4 * inner, inner + 2 * size), size


EXTENSION = Optimizer(
    id="galore",
    title="GaLore",
    summary="AdamW within each matrix's most important directions: full fine-tuning with the optimizer "
    "memory of a small adapter.",
    params=GaloreParams,
    torch="studio.train.galore:galore",
    state_bytes=state_bytes,
    loop_scratch=loop_scratch,
    implementations=("loop",),
)
