"""DARE's random dropping, then TIES's election and mean (arXiv 2311.03099 and 2306.01708)."""

from __future__ import annotations

from dataclasses import dataclass

from studio.merges import Merge, chosen_rank, density_param, rank_param, seed_param, sign_param


@dataclass(frozen=True)
class DareTiesParams:
    density: float = density_param(
        0.5, "Share of each change's numbers that is kept, drawn at random; the kept ones grow to make up."
    )
    sign: str = sign_param()
    seed: int = seed_param()
    rank: int | None = rank_param()


EXTENSION = Merge(
    id="dare_ties",
    title="DARE with TIES",
    summary="Drops numbers of each change at random, lets the adapters vote on the sign of each number, and "
    "takes the mean of those that agree.",
    params=DareTiesParams,
    torch="studio.merge.rules:dare_ties",
    rank=chosen_rank,
    averages=True,
)
