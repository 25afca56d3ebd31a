"""The best approximation of the weighted sum by a matrix of a given rank (Eckart and Young 1936)."""

from __future__ import annotations

from dataclasses import dataclass

from studio.merges import Merge, chosen_rank, rank_param


@dataclass(frozen=True)
class SvdParams:
    rank: int | None = rank_param()


EXTENSION = Merge(
    id="svd",
    title="Weighted sum, cut to a rank",
    summary="The strongest directions of the weighted sum. With one adapter it makes that adapter smaller.",
    params=SvdParams,
    torch="studio.merge.rules:weighted_sum",
    rank=chosen_rank,
)
