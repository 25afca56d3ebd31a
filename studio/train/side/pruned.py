"""A side network made of the backbone's own weights: rows and columns that matter most by Fisher information
(LST, Sung et al. 2022, arXiv 2206.06522, section 3.3).

The importance of a weight is the sum of its squared gradients over some batches, that of a row or column the
sum over it. One choice of hidden channels serves the whole side network; queries, keys and values of a layer
share theirs, chosen by the product of their importances, and so do the three matrices of an MLP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
from studio.train.tuner import Batch, TunerContext

BATCHES = 64
_READ = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")  # from the hidden channels
_WRITE = ("o_proj", "down_proj")  # back into them
_ATTENTION_NORMS = ("input_layernorm",)
_MLP_NORMS = ("pre_feedforward_layernorm", "post_attention_layernorm")


@dataclass
class Importance:
    """Sums of squared gradients of a matrix (out, in): over each row (out,) and each column (in,)."""

    rows: Tensor
    columns: Tensor


def prune_into(network: SideNetwork, context: TunerContext) -> None:
    """Overwrite the blocks of `network` with parts of the backbone's layers.

    Raises StudioError `side_init_unknown` (missing) where the layers have no separate matrices by the usual
    names, `side_init_narrow` where they are narrower than the side network.
    """
    anatomy = context.anatomy
    parts = [_parts(layer) for layer in anatomy.layers]
    found = fisher(anatomy, parts, context.calibration_batches(BATCHES), context.loss)
    channels = _best(sum(_channels(of_layer) for of_layer in found), network.shape.width)
    for block, at in zip(network.blocks, network.shape.taps, strict=True):
        _fill(cast(Block, block), anatomy.layers[at], parts[at], found[at], channels, anatomy.config)


def fisher(
    anatomy: Anatomy,
    parts: list[dict[str, nn.Module]],
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


def _parts(layer: nn.Module) -> dict[str, nn.Module]:
    wanted = {*_READ, *_WRITE}
    named = {name.rpartition(".")[2]: module for name, module in layer.named_modules()}
    if missing := sorted(wanted - named.keys()):
        raise StudioError("side_init_unknown", layer=type(layer).__name__, missing=missing)
    return {name: named[name] for name in sorted(wanted)}


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
    return sum(found[name].columns for name in _READ) + sum(found[name].rows for name in _WRITE)


def _best(importance: Tensor, count: int) -> Tensor:
    """Indices of the `count` largest, in their order."""
    if count > importance.numel():
        raise StudioError("side_init_narrow", wanted=count, found=importance.numel())
    return importance.topk(count).indices.sort().values


def _fill(
    block: Block,
    layer: nn.Module,
    parts: dict[str, nn.Module],
    found: dict[str, Importance],
    channels: Tensor,
    config: Any,
) -> None:
    weight = {name: _dense(module) for name, module in parts.items()}
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads

    def per_query(rows: Tensor) -> Tensor:
        """Rows of a key or value matrix, those of a head repeated for each query head that shares it."""
        split = rows.view(-1, head_dim, *rows.shape[1:])
        return split.repeat_interleave(heads // split.shape[0], 0).flatten(0, 1)

    shared = found["q_proj"].rows.double()
    for name in ("k_proj", "v_proj"):
        shared = shared * per_query(found[name].rows).double()
    entries = _best(shared, block.attention.query.out_features)
    inner = found["gate_proj"].rows + found["up_proj"].rows + found["down_proj"].columns
    units = _best(inner, block.mlp.gate.out_features)
    for mine, theirs in (
        (block.attention.query, weight["q_proj"][entries][:, channels]),
        (block.attention.key, per_query(weight["k_proj"])[entries][:, channels]),
        (block.attention.value, per_query(weight["v_proj"])[entries][:, channels]),
        (block.attention.out, weight["o_proj"][channels][:, entries]),
        (block.mlp.gate, weight["gate_proj"][units][:, channels]),
        (block.mlp.up, weight["up_proj"][units][:, channels]),
        (block.mlp.out, weight["down_proj"][channels][:, units]),
    ):
        mine.weight.data.copy_(theirs)
    for norm, names in ((block.attention_norm, _ATTENTION_NORMS), (block.mlp_norm, _MLP_NORMS)):
        norm.weight.data.copy_(_scale(layer, names, config.hidden_size)[channels])


def _dense(module: nn.Module) -> Tensor:
    """The weight (out, in) of a linear layer, out of its 4 bits if it is held in them."""
    weight = cast(Tensor, module.weight)
    state = getattr(weight, "quant_state", None)
    if state is None:
        return weight.data
    from bitsandbytes.functional import dequantize_4bit

    return dequantize_4bit(weight.data, state)


def _scale(layer: nn.Module, names: tuple[str, ...], width: int) -> Tensor:
    """What the first of these norms multiplies each channel with, however its family writes that."""
    norm = next(getattr(layer, name) for name in names if hasattr(layer, name))
    ones = torch.ones(1, 1, width, dtype=norm.weight.dtype, device=norm.weight.device)
    with torch.no_grad():
        scale: Tensor = norm(ones)
    return scale[0, 0]
