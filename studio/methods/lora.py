"""LoRA: a trained low-rank product beside each frozen weight matrix (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from studio.methods import Dimensions, Method, MethodMemory, trained_itemsize
from studio.params import param


@dataclass(frozen=True)
class LoraParams:
    rank: int = param(
        8, "Size of the trained matrices: higher can learn more, and costs more memory.", low=1, high=4096
    )
    alpha: float = param(
        16.0,
        "Strength of what was learned: it is scaled by alpha / rank.",
        low=0.001,
        high=65536,
        expert=True,
    )
    dropout: float = param(
        0.05,
        "Share of the inputs left out at random while training; helps against learning by heart.",
        low=0.0,
        high=0.95,
        expert=True,
    )
    targets: tuple[str, ...] = param(
        ("auto",),
        "The weight matrices that get an adapter, by name; auto means every linear layer of the decoder.",
        title="Target layers",
        expert=True,
    )


def linears(d: Dimensions) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of the linear layers of one gated decoder layer, by their usual names."""
    query, keyed = d.heads * d.head_dim, d.kv_heads * d.head_dim
    return {
        "q_proj": (d.hidden, query),
        "k_proj": (d.hidden, keyed),
        "v_proj": (d.hidden, keyed),
        "o_proj": (query, d.hidden),
        "gate_proj": (d.hidden, d.intermediate),
        "up_proj": (d.hidden, d.intermediate),
        "down_proj": (d.intermediate, d.hidden),
    }


def memory(dimensions: Dimensions, params: LoraParams, settings: Any) -> MethodMemory:
    """Two matrices of `rank` per adapted linear layer."""
    wanted = None if params.targets == ("auto",) else set(params.targets)
    layer = [
        shape
        for name, (inputs, outputs) in linears(dimensions).items()
        if wanted is None or name in wanted
        for shape in ((params.rank, inputs), (outputs, params.rank))
    ]
    terms = MethodMemory(tuple(layer * dimensions.layers), 0)
    return MethodMemory(terms.trainable, terms.trainable_params * trained_itemsize(settings))


EXTENSION = Method(
    id="lora",
    title="LoRA",
    summary="Trains small matrices beside the frozen weights: quick, light, and easy to take off again.",
    params=LoraParams,
    torch="studio.train.lora:LoraTuner",
    memory=memory,
    quantised_base=True,
    mergeable=True,
    trains_base=False,
    rewrites_base=False,
    serving="batched",
)
