"""APOLLO: gradient steps, each channel's length chosen as AdamW would (Zhu et al. 2024, arXiv 2412.05270)."""

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
class ApolloParams(LowRankParams):
    rank: int = rank_param(
        64, "Size of the random sketch that each matrix's step lengths are judged by; 1 is APOLLO-Mini."
    )
    every: int = every_param("Steps after which the random sketch is drawn anew.")
    scale: float = scale_param("Length of the steps, against AdamW's.")


def state_bytes(shapes: Shapes, itemsize: int, params: ApolloParams) -> int:
    """A matrix keeps two averages of its sketch, all else two averages of its own shape."""
    return itemsize * averages(shapes, params.rank)


def loop_scratch(shape: Shape, itemsize: int, params: ApolloParams) -> tuple[int, int]:
    """Of a matrix (m, n) with m <= n: beside its sketch (rank, n) and the step there, a step of its own size,
    before and after it is shortened; its length is taken in 32 bit."""
    if not projected(shape, params.rank):
        return averaged_scratch(shape, itemsize)
    m, n = sorted(shape)
    sketch, size = params.rank * n * itemsize, m * n * itemsize
    whole = max(2 * size, size + (4 * m * n if itemsize == 2 else 0))
    return max(8 * params.rank * m, 4 * sketch, 2 * sketch + whole), size


EXTENSION = Optimizer(
    id="apollo",
    title="APOLLO",
    summary="Learns nearly as AdamW does with almost no optimizer memory: meant for full fine-tuning.",
    params=ApolloParams,
    torch="studio.train.apollo:apollo",
    state_bytes=state_bytes,
    loop_scratch=loop_scratch,
    implementations=("loop",),
)
