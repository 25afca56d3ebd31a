"""TIES: trim, elect a sign, merge what agrees with it (Yadav et al. 2023, arXiv 2306.01708)."""

from __future__ import annotations

from dataclasses import dataclass

from studio.merges import Merge, chosen_rank, density_param, rank_param, sign_param


@dataclass(frozen=True)
class TiesParams:
    density: float = density_param(0.2, "Share of each change's numbers that is kept, the largest first.")
    sign: str = sign_param()
    rank: int | None = rank_param()


EXTENSION = Merge(
    id="ties",
    title="TIES",
    summary="Keeps the largest numbers of each change, lets the adapters vote on the sign of each, and takes "
    "the mean of those that agree: adapters disturb each other less. A weight of 1 each gives that mean.",
    params=TiesParams,
    torch="studio.merge.rules:ties",
    rank=chosen_rank,
    averages=True,
)
