"""DARE: drop numbers at random and rescale the rest (Yu et al. 2023, arXiv 2311.03099), then add up."""

from __future__ import annotations

from dataclasses import dataclass

from studio.merges import Merge, chosen_rank, density_param, rank_param, seed_param


@dataclass(frozen=True)
class DareParams:
    density: float = density_param(
        0.5, "Share of each change's numbers that is kept, drawn at random; the kept ones grow to make up."
    )
    seed: int = seed_param()
    rank: int | None = rank_param()


EXTENSION = Merge(
    id="dare_linear",
    title="DARE",
    summary="Drops numbers of each change at random, lets the rest make up for them, and adds up, each "
    "adapter times its weight.",
    params=DareParams,
    torch="studio.merge.rules:dare_linear",
    rank=chosen_rank,
)
