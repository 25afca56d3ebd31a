"""The adapters' matrices side by side: their weighted sum without any rounding."""

from __future__ import annotations

from dataclasses import dataclass

from studio.merges import Merge


@dataclass(frozen=True)
class CatParams:
    """None: the weights say it all."""


EXTENSION = Merge(
    id="cat",
    title="Side by side",
    summary="Puts the adapters' matrices beside each other. It computes the same as the weighted sum, "
    "untouched, at the sum of their ranks.",
    params=CatParams,
    torch="studio.merge.rules:weighted_sum",
    rank=lambda params, ranks: None,  # noqa: ARG005 - the signature of every merge
)
