"""Where LoRA's two matrices begin.

Each rule gives A (rank, inputs) and B (outputs, rank) in 32 bit out of a layer's weight W (outputs, inputs)
and of what its `Start` reads; `scaling` is what the product B A is multiplied by in the model. A rule whose
product is not zero is declared `rewrites`: the caller takes scaling * B A out of the base. Only `loftq`
is not: its product is what the base lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from studio.errors import StudioError
from studio.methods.lora import GROUP_BYTES, Start
from studio.registry import load_part
from studio.train.svd import leading
from studio.train.tuner import TunerContext

CALIBRATION_BATCHES = 16
_DAMPING = 0.01
_LORA_GA_GAMMA = 16.0

Factors = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Inputs:
    """Of the inputs x of a layer over all real tokens: mean of x x^T (inputs, inputs) and of x (inputs,)."""

    second: Tensor
    mean: Tensor


def starts(
    start: Start, context: TunerContext, paths: list[str], rank: int, scaling: float
) -> Iterator[tuple[str, Factors]]:
    """(path, A and B) of each linear layer in `paths`, on an untouched base; nothing where the start is
    peft's own.

    Raises StudioError `init_rank_too_high` if a layer has fewer directions than the rule needs.
    """
    if start.make is None:
        return
    make: Callable[..., Factors] = load_part(start.make)
    for path, seen in _READERS[start.reads](context, paths):
        weight = whole_weight(context.anatomy.model.get_submodule(path))
        # Their own memory: a view into a decomposition would keep all of it, for every layer.
        a, b = (factor.clone() for factor in make(weight, seen, rank, scaling))
        yield path, (a, b)
        del weight, seen  # while the next group is read


def whole_weight(layer: nn.Module) -> Tensor:
    """A layer's weight (outputs, inputs) in 32 bit, whatever it is held in."""
    weight = cast(Tensor, dequantize_module_weight(layer)).detach().float()
    return weight.T if isinstance(layer, Conv1D) else weight


# The rules


def gaussian(weight: Tensor, seen: None, rank: int, scaling: float) -> Factors:
    """A normal with deviation 1 / rank, B zero."""
    del seen, scaling
    a = torch.randn(rank, weight.shape[1]).to(weight.device) / rank
    return a, weight.new_zeros(weight.shape[0], rank)


def orthogonal(weight: Tensor, seen: None, rank: int, scaling: float) -> Factors:
    """A and B random on two halves of an orthogonal basis, so that B A = 0 though both are not."""
    del seen, scaling
    basis = torch.linalg.qr(torch.randn(rank, rank))[0]
    a = basis[0::2].T @ torch.randn(len(basis[0::2]), weight.shape[1]) / 10
    b = torch.randn(weight.shape[0], len(basis[1::2])) @ basis[1::2] / 10
    return a.to(weight.device), b.to(weight.device)


def pissa(weight: Tensor, seen: None, rank: int, scaling: float) -> Factors:
    """The principal part of W (Meng et al. 2024, arXiv 2404.02948)."""
    del seen
    return _split(*_leading(weight, rank), scaling)


def olora(weight: Tensor, seen: None, rank: int, scaling: float) -> Factors:
    """The first columns of Q and rows of R of W = Q R (Büyükakyüz 2024, arXiv 2406.01775)."""
    del seen, scaling
    _require(rank, weight)
    q, r = torch.linalg.qr(weight)
    return r[:rank], q[:, :rank]


def eva(weight: Tensor, seen: Inputs, rank: int, scaling: float) -> Factors:
    """A: the directions in which the inputs vary most; B zero (Paischer et al. 2024, arXiv 2410.07170). Every
    layer keeps the same rank (their rho = 1)."""
    del scaling
    if rank > weight.shape[1]:
        raise StudioError("init_rank_too_high", rank=rank, most=weight.shape[1])
    covariance = seen.second - torch.outer(seen.mean, seen.mean)
    directions = torch.linalg.eigh(covariance)[1].flip(1)[:, :rank]  # eigh sorts upward
    return directions.T, weight.new_zeros(weight.shape[0], rank)


def corda(weight: Tensor, seen: Inputs, rank: int, scaling: float) -> Factors:
    """The part of W that answers most to the inputs: W C = U S V^T gives B A = U S V^T C^-1 (Yang et al.
    2024, arXiv 2406.05223, instruction-previewed), with C damped so that it can be inverted."""
    c = seen.second / seen.second.diagonal().mean()
    c = c + _DAMPING * torch.eye(len(c), device=c.device)
    u, s, v = _leading(weight @ c, rank)
    return _split(u, s, torch.linalg.solve(c, v), scaling)


def lora_ga(weight: Tensor, seen: Tensor, rank: int, scaling: float) -> Factors:
    """Leading directions of the loss's gradient, the first `rank` for A and the next for B, so that the first
    step is the nearest to full tuning's (Wang et al. 2024, arXiv 2407.05000, stable scale)."""
    del scaling
    u, _, v = _leading(seen, 2 * rank)
    size = weight.shape[0] ** 0.25 / _LORA_GA_GAMMA**0.5
    return size * v[:, :rank].T, size * u[:, rank:]


def loftq(weight: Tensor, seen: Tensor, rank: int, scaling: float) -> Factors:
    """The leading part of what 4 bit lost: W - Q(W) (Li et al. 2023, arXiv 2310.08659, one round: more rounds
    would change the base in 4 bit)."""
    return _split(*_leading(seen.to(weight.device) - weight, rank), scaling)


def _require(rank: int, matrix: Tensor) -> None:
    if rank > min(matrix.shape):
        raise StudioError("init_rank_too_high", rank=rank, most=min(matrix.shape))


def _leading(matrix: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` largest singular values (count,) with their left and right vectors as columns."""
    _require(count, matrix)
    return leading(matrix, count)


def _split(u: Tensor, s: Tensor, v: Tensor, scaling: float) -> Factors:
    """A and B with scaling * B A = U S V^T, both of the same size."""
    root = (s / scaling).sqrt()
    return root[:, None] * v.T, u * root


# What the rules read


def _nothing(context: TunerContext, paths: list[str]) -> Iterator[tuple[str, None]]:
    del context
    yield from ((path, None) for path in paths)


def _inputs(context: TunerContext, paths: list[str]) -> Iterator[tuple[str, Inputs]]:
    for group in _groups(context, paths, lambda _, inputs: inputs * inputs):
        yield from _inputs_of(context, group)


@torch.no_grad()
def _inputs_of(context: TunerContext, paths: list[str]) -> list[tuple[str, Inputs]]:
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    mask = torch.empty(0)
    count = 0

    def reader(path: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def read(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            del module
            x = args[0].reshape(-1, args[0].shape[-1])[mask.flatten()].float()
            seen = (x.T @ x, x.sum(0))
            if path not in sums:
                sums[path] = seen
            else:
                for total, one in zip(sums[path], seen, strict=True):
                    total += one

        return read

    model = context.anatomy.model
    hooks = [model.get_submodule(path).register_forward_pre_hook(reader(path)) for path in paths]
    try:
        for batch in context.calibration_batches(CALIBRATION_BATCHES):
            for stream in (value for value in batch.values() if isinstance(value, dict)):
                mask = stream["attention_mask"].bool()
                count += int(mask.sum())
                context.anatomy.hidden(stream["input_ids"], stream["attention_mask"])
    finally:
        for hook in hooks:
            hook.remove()
    return [(path, Inputs(second.div_(count), first.div_(count))) for path, (second, first) in sums.items()]


def _gradients(context: TunerContext, paths: list[str]) -> Iterator[tuple[str, Tensor]]:
    for group in _groups(context, paths, lambda outputs, inputs: outputs * inputs):
        layers: list[Any] = [context.anatomy.model.get_submodule(path) for path in group]
        weights = [layer.weight.requires_grad_(True) for layer in layers]
        sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        for batch in context.calibration_batches(CALIBRATION_BATCHES):
            for total, gradient in zip(sums, torch.autograd.grad(context.loss(batch), weights), strict=True):
                total += gradient
        for path, layer, total in zip(group, layers, sums, strict=True):
            layer.weight.requires_grad_(False)
            yield path, total.T if isinstance(layer, Conv1D) else total


def _whole_weights(context: TunerContext, paths: list[str]) -> Iterator[tuple[str, Tensor]]:
    assert context.whole_base is not None
    whole = context.whole_base()
    yield from ((path, whole_weight(whole.get_submodule(path))) for path in paths)


def _groups(
    context: TunerContext, paths: list[str], numbers: Callable[[int, int], int]
) -> Iterator[list[str]]:
    """The paths in groups whose statistics, `numbers(outputs, inputs)` in 32 bit each, fit into
    GROUP_BYTES."""
    group: list[str] = []
    held = 0
    for path in paths:
        layer: Any = context.anatomy.model.get_submodule(path)
        sides = (layer.nf, layer.nx) if isinstance(layer, Conv1D) else (layer.out_features, layer.in_features)
        more = 4 * numbers(*sides)
        if group and held + more > GROUP_BYTES:
            yield group
            group, held = [], 0
        group.append(path)
        held += more
    if group:
        yield group


_READERS: dict[str, Callable[[TunerContext, list[str]], Iterator[tuple[str, Any]]]] = {
    "nothing": _nothing,
    "inputs": _inputs,
    "gradients": _gradients,
    "whole_weight": _whole_weights,
}
