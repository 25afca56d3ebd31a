"""APOLLO: gradient steps, each channel's length chosen as AdamW would (Zhu et al. 2024, arXiv 2412.05270)."""

from __future__ import annotations

from dataclasses import dataclass

from studio.optimizers import Optimizer, Shapes
from studio.train.low_rank import LowRankParams, averages, every_param, rank_param, scale_param


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


EXTENSION = Optimizer(
    id="apollo",
    title="APOLLO",
    summary="Learns nearly as AdamW does with almost no optimizer memory: meant for full fine-tuning.",
    params=ApolloParams,
    torch="studio.train.apollo:apollo",
    state_bytes=state_bytes,
    implementations=("loop",),
)
