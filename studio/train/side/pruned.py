"""A side network made of the backbone's own weights: rows and columns that matter most by Fisher information
(LST, Sung et al. 2022, arXiv 2206.06522, section 3.3).

The importance of a weight is the sum of its squared gradients over some batches, that of a row or column the
sum over it. One choice of hidden channels serves the whole side network; queries, keys and values of a layer
share theirs, chosen by the product of their importances, and so do the matrices of an MLP. Where a family's
MLP has no gate, up and down come from it and the block's gate keeps its usual start. Biases are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from studio.errors import StudioError
from studio.models.anatomy import Anatomy
from studio.train.side.blocks import Block
from studio.train.side.network import SideNetwork
from studio.train.side.sources import Source
from studio.train.tuner import Batch, TunerContext

BATCHES = 64
_WRITE = ("o_proj", "down_proj")  # into the hidden channels; all others read from them


@dataclass
class Importance:
    """Sums of squared gradients of a matrix (out, in): over each row (out,) and each column (in,)."""

    rows: Tensor
    columns: Tensor


def prune_into(network: SideNetwork, context: TunerContext) -> None:
    """Overwrite the blocks of `network` with parts of the backbone's layers.

    Raises StudioError `side_init_unknown` (missing) where the layers' matrices are not known,
    `side_init_narrow` where they are narrower than the side network.
    """
    anatomy = context.anatomy
    sources = [Source.of(layer, anatomy.config) for layer in anatomy.layers]
    found = fisher(
        anatomy, [source.modules for source in sources], context.calibration_batches(BATCHES), context.loss
    )
    channels = _best(sum(_channels(of_layer) for of_layer in found), network.shape.width)
    for block, at in zip(network.blocks, network.shape.taps, strict=True):
        _fill(cast(Block, block), sources[at], found[at], channels)


def fisher(
    anatomy: Anatomy,
    parts: Sequence[Mapping[str, nn.Module]],
    batches: Iterable[Batch],
    loss: Callable[[Batch], Tensor],
) -> list[dict[str, Importance]]:
    """Importances by layer and name, from the gradients that a backward pass through the frozen backbone
    would give its matrices; also where they are held in 4 bit."""
    found: list[dict[str, Importance]] = [{} for _ in parts]
    with ExitStack() as hooks:
        for importances, named in zip(found, parts, strict=True):
            for name, module in named.items():
                handle = module.register_forward_hook(partial(_watch, importances, name))
                hooks.callback(handle.remove)
        handle = anatomy.embeddings.register_forward_hook(_with_gradient)
        hooks.callback(handle.remove)
        for batch in batches:
            with torch.enable_grad():
                loss(batch).backward()  # type: ignore[no-untyped-call]
    return found


def _with_gradient(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    """Nothing of a frozen model asks for gradients; from its embeddings on they are wanted."""
    del module, args
    return output.detach().requires_grad_()


def _watch(found: dict[str, Importance], name: str, module: nn.Module, args: Any, output: Tensor) -> None:
    del module
    inputs = args[0].detach()

    def add(gradient: Tensor) -> None:
        squared = (gradient.flatten(0, -2).float().T @ inputs.flatten(0, -2).float()).square()
        one = Importance(squared.sum(1), squared.sum(0))
        before = found.setdefault(name, Importance(torch.zeros_like(one.rows), torch.zeros_like(one.columns)))
        found[name] = Importance(before.rows + one.rows, before.columns + one.columns)

    output.register_hook(add)  # type: ignore[no-untyped-call]


def _channels(found: dict[str, Importance]) -> Any:
    """Importance of each hidden channel in one layer (H,)."""
    return sum(one.rows if name in _WRITE else one.columns for name, one in found.items())


def _best(importance: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest, in their order."""
    if count > importance.numel():
        raise StudioError("side_init_narrow", wanted=count, found=importance.numel())
    return importance.topk(count).indices.sort().values


def _fill(block: Block, source: Source, found: dict[str, Importance], channels: Tensor) -> None:
    weight = source.weights()
    rows = source.apart({role: importance.rows for role, importance in found.items()})
    shared = rows["q_proj"].double() * rows["k_proj"].double() * rows["v_proj"].double()
    entries = _best(shared, block.attention.query.out_features)
    inner = rows["up_proj"] + found["down_proj"].columns
    if gated := "gate_proj" in rows:
        inner = inner + rows["gate_proj"]
    units = _best(inner, block.mlp.gate.out_features)
    for mine, theirs in (
        (block.attention.query, weight["q_proj"][entries][:, channels]),
        (block.attention.key, weight["k_proj"][entries][:, channels]),
        (block.attention.value, weight["v_proj"][entries][:, channels]),
        (block.attention.out, weight["o_proj"][channels][:, entries]),
        *([(block.mlp.gate, weight["gate_proj"][units][:, channels])] if gated else []),
        (block.mlp.up, weight["up_proj"][units][:, channels]),
        (block.mlp.out, weight["down_proj"][channels][:, units]),
    ):
        mine.weight.data.copy_(theirs)
    for norm, scale in zip((block.attention_norm, block.mlp_norm), source.norms(), strict=True):
        if scale is not None:
            norm.weight.data.copy_(scale[channels])
