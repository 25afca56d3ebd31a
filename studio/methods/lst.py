"""LST: a narrow network beside the frozen model learns, and the model itself is only read (Sung et al. 2022,
arXiv 2206.06522; output rule and downsamplers after QST, Zhang et al. 2024, arXiv 2401.07159)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from studio.errors import Problem, Reason
from studio.methods import Dimensions, Method, MethodMemory, added_itemsize
from studio.params import param
from studio.train.side.shape import automatic_reduction, side_shape


@dataclass(frozen=True)
class LstParams:
    reduction: int | None = param(
        None,
        "How many times narrower than the model the side network is: higher is lighter, and learns less.",
        low=1,
        high=1024,
    )
    downsampler: str = param(
        "adapter",
        "How a layer's output is made narrow for the side network. The two poolings keep nothing of the "
        "model for the backward pass, so they need the least memory; adapter learns best for its size.",
        choices=("adapter", "linear", "max", "average"),
        expert=True,
    )
    down_rank: int = param(
        16, "Inner width of the downsampler adapter.", title="Downsampler rank", low=1, high=1024, expert=True
    )
    tap_bits: str = param(
        "8",
        "Bits in which a layer's output is kept for the backward pass of its downsampler: 8 halves most of "
        "what a step keeps, and only the gradient is rounded.",
        choices=("8", "16"),
        expert=True,
    )
    skip_every: int = param(
        0,
        "Leaves out the side block of every k-th layer (4: the first, fifth, ninth ...), for less memory and "
        "time; 0 leaves out none.",
        low=2,
        high=1000,
        off=0,
        expert=True,
    )
    pointers: int = param(
        4,
        "Heads that point at a token read before and raise it, so that names and numbers are copied whole; 0 "
        "for none, as in the papers. They cost the square of a row's length in arithmetic, not in memory.",
        low=0,
        high=16,
        expert=True,
    )
    init: str = param(
        "random",
        "What the side network starts from: pruned takes the parts of the model's own weights that matter "
        "most for these rows, which costs some backward passes through the model before the run.",
        title="Initialisation",
        choices=("random", "pruned"),
        expert=True,
    )
    output: str = param(
        "mix",
        "What the model's head reads: mix adds the side network to the model, and starts exactly as the "
        "model; side is LST's own rule, the side network alone, and starts from nothing.",
        choices=("mix", "side"),
        expert=True,
    )


def memory(dimensions: Dimensions, params: LstParams, settings: Any) -> MethodMemory:
    """The side network: per tapped layer a downsampler and a block, and one matrix back to full width."""
    shape = side_shape(dimensions.hidden, dimensions.layers, params)
    mixed = params.output == "mix"
    trainable = shape.trainable(dimensions.hidden, mixed=mixed)
    return MethodMemory(trainable, added_itemsize(settings), side=shape, side_mixed=mixed)


def choose(params: LstParams, dimensions: Dimensions) -> tuple[LstParams, dict[str, Reason]]:
    """The reduction, where it was left open."""
    if params.reduction is not None:
        return params, {}
    reduction = automatic_reduction(dimensions.hidden)
    width = side_shape(dimensions.hidden, dimensions.layers, params).width
    code = "reduction_usual" if reduction == automatic_reduction(1 << 20) else "reduction_narrow"
    facts = {"reduction": reduction, "hidden": dimensions.hidden, "width": width}
    return replace(params, reduction=reduction), {"reduction": Reason(code, facts)}


def check(params: LstParams, dimensions: Dimensions | None) -> list[Problem]:
    """Whether a layer is left to read."""
    if dimensions is None or side_shape(dimensions.hidden, dimensions.layers, params).taps:
        return []
    return [Problem("side_without_layers", "method.skip_every", {"skip_every": params.skip_every})]


EXTENSION = Method(
    id="lst",
    title="Ladder side-tuning (LST)",
    summary="Trains a narrow network beside the model, which is only read: with no way back through the "
    "model a step takes about half of LoRA's time and keeps far less. The result stays beside the model and "
    "cannot be merged into it. Take it where LoRA is too slow, or its steps do not fit.",
    params=LstParams,
    torch="studio.train.side.tuner:SideTuner",
    memory=memory,
    quantised_base=True,
    mergeable=False,
    trains_base=False,
    rewrites_base=False,
    serving="switched",
    choose=choose,
    check=check,
    backward_through_base=False,
)
