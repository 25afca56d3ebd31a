"""Model Breadcrumbs: neither the largest nor the smallest numbers (Davari and Belilovsky 2023, arXiv
2312.06795)."""

from __future__ import annotations

from dataclasses import dataclass

from studio.merges import Merge, chosen_rank, density_param, rank_param
from studio.params import param


@dataclass(frozen=True)
class BreadcrumbsParams:
    density: float = density_param(
        0.9, "Share of each change's numbers that is kept: the largest after those left out as outliers."
    )
    outliers: float = param(
        0.01, "Share of each change's numbers that is dropped for being the largest.", low=0.0, high=0.99
    )
    rank: int | None = rank_param()


EXTENSION = Merge(
    id="breadcrumbs",
    title="Model Breadcrumbs",
    summary="Drops the very largest and the smallest numbers of each change and adds up what is between, "
    "each adapter times its weight.",
    params=BreadcrumbsParams,
    torch="studio.merge.rules:breadcrumbs",
    rank=chosen_rank,
)
