"""Full fine-tuning: every weight of the language model trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from studio.errors import Problem
from studio.methods import Dimensions, Method, MethodMemory
from studio.models.weights import weights_of
from studio.params import param


@dataclass(frozen=True)
class FullParams:
    freeze_embeddings: bool = param(
        False,
        "Leaves the token table as it is; saves memory where the vocabulary is large. A head that shares the "
        "table stays too.",
        expert=True,
    )
    freeze_layers: int = param(
        0,
        "Leaves this many of the first layers as they are: the early layers read, the late ones decide.",
        low=0,
        high=1000,
        expert=True,
    )


def memory(dimensions: Dimensions, params: FullParams, settings: Any) -> MethodMemory:
    """The weights themselves train, in 32 bit unless the whole run is in 16: there is no adapter whose format
    could be chosen."""
    weights = weights_of(dimensions)
    layers = weights.layer * max(0, dimensions.layers - params.freeze_layers)
    tables = () if params.freeze_embeddings else weights.embeddings
    return MethodMemory(
        (*tables, *layers, *weights.around, *weights.head),
        2 if settings.precision == "bf16" else 4,
        frozen_layers=params.freeze_layers,
        trains_embeddings=not params.freeze_embeddings,
        trains_head=not (params.freeze_embeddings and dimensions.tied),
    )


def check(params: FullParams, dimensions: Dimensions | None) -> list[Problem]:
    """Whether a layer is left to train."""
    if dimensions is None or params.freeze_layers < dimensions.layers:
        return []
    facts = {"layers": dimensions.layers, "frozen": params.freeze_layers}
    return [Problem("freezes_everything", "method.freeze_layers", facts)]


EXTENSION = Method(
    id="full",
    title="Full fine-tuning",
    summary="Trains every weight of the model. It can learn the most and costs the most: in 32 bit about "
    "four times the model's memory, and every result is as large as the model. Take it for a small model and "
    "much data.",
    params=FullParams,
    torch="studio.train.full:FullTuner",
    memory=memory,
    quantised_base=False,
    mergeable=True,
    trains_base=True,
    rewrites_base=False,
    serving="own_copy",
    check=check,
)
