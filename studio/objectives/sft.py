"""Supervised fine-tuning: the model learns to write the answers of the dataset."""

from __future__ import annotations

from dataclasses import dataclass

from studio.objectives import Objective


@dataclass(frozen=True)
class SftParams:
    """Nothing to set: which tokens are learned stands in the data."""


EXTENSION = Objective(
    id="sft",
    title="Learn from examples",
    summary="The model learns to write the answers that stand in the dataset.",
    params=SftParams,
    torch="studio.train.sft:SftLoss",
    streams=("text",),
)
