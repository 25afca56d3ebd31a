"""The weighted sum of the largest numbers of each change."""

from __future__ import annotations

from dataclasses import dataclass

from studio.merges import Merge, chosen_rank, density_param, rank_param


@dataclass(frozen=True)
class MagnitudeParams:
    density: float = density_param(0.5, "Share of each change's numbers that is kept, the largest first.")
    rank: int | None = rank_param()


EXTENSION = Merge(
    id="magnitude_prune",
    title="Magnitude pruning",
    summary="Keeps the largest numbers of each change and adds them up, each adapter times its weight.",
    params=MagnitudeParams,
    torch="studio.merge.rules:magnitude_prune",
    rank=chosen_rank,
)
