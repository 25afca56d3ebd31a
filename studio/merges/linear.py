"""The weighted sum of what the adapters do, exactly (Ilharco et al. 2022, arXiv 2212.04089)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from studio.merges import Merge


@dataclass(frozen=True)
class LinearParams:
    """None: the weights say it all."""


def whole_rank(params: LinearParams, ranks: Sequence[int]) -> int:
    """The sum can have as many directions as all together, and often has fewer."""
    del params
    return sum(ranks)


EXTENSION = Merge(
    id="linear",
    title="Weighted sum",
    summary="Adds up what the adapters do, each times its weight, and writes it in as few directions as that "
    "takes without loss. A negative weight takes away what an adapter taught.",
    params=LinearParams,
    torch="studio.merge.rules:weighted_sum",
    rank=whole_rank,
)
