"""A GPU's kernels for a trace on fake tensors of the processor, as far as memory can tell them apart.

torch can't run a backward pass over fake tensors of a GPU that is not there. Where a GPU would run one kernel
and a processor several, or another, a function stands in that keeps and makes what the GPU's would.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.memory.autocast import as_on_cuda
from studio.train.dropout import Dropout


class _Attention(torch.autograd.Function):
    """FlashAttention-2: keeps its inputs, its output and a sum per head and token. Its backward pass adds up
    the queries' gradient in 32 bit, and makes gradients of shared keys and values for each head."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = torch.empty_like(query)
        sums = query.new_empty(query.shape[:3], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, *_ = ctx.saved_tensors
        del gradient
        added = torch.empty_like(query, dtype=torch.float32)
        shared = [torch.empty_like(query) for _ in range(2)] if key.shape != query.shape else []
        found = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        del added, shared
        return found


class _RmsNorm(torch.autograd.Function):
    """One kernel that keeps its input and a number per row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, x.new_empty(x.shape[:-1], dtype=torch.float32))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        del gradient
        x, weight, _ = ctx.saved_tensors
        return torch.empty_like(x), torch.empty_like(weight)


class _Dropout(torch.autograd.Function):
    """Keeps a byte per element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(torch.empty_like(x, dtype=torch.bool))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        del ctx
        return torch.empty_like(gradient)


def _attention(*args: Any, attn_mask: Tensor | None = None, **kwargs: Any) -> Tensor:
    if attn_mask is not None:
        kernel: Any = _SDPA
        return cast(Tensor, kernel(*args, attn_mask=attn_mask, **kwargs))
    inputs = [x.bfloat16() for x in args[:3]] if torch.is_autocast_enabled("cpu") else args[:3]
    return cast(Tensor, _Attention.apply(*inputs))  # type: ignore[no-untyped-call]


def _rms_norm(x: Tensor, shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    if weight is None:
        return _RMS_NORM(x, shape, None, eps)
    if torch.is_autocast_enabled("cpu"):  # a function of torch's own would do it for itself
        x, weight = x.float(), weight.float()
    return cast(Tensor, _RmsNorm.apply(x, weight))  # type: ignore[no-untyped-call]


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    del inplace
    return cast(Tensor, _Dropout.apply(x)) if training and p else x  # type: ignore[no-untyped-call]


_SDPA, _RMS_NORM = F.scaled_dot_product_attention, F.rms_norm
# By name: modes for functions do not reach what a checkpoint computes again.
_STAND_INS = {
    "scaled_dot_product_attention": _attention,
    "rms_norm": _rms_norm,
    "dropout": _dropout,
}


@contextmanager
def _stood_in() -> Iterator[None]:
    module: Any = F
    before = {name: getattr(module, name) for name in _STAND_INS}
    for name, function in _STAND_INS.items():
        setattr(module, name, function)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(module, name, function)


@contextmanager
def kernels(model: nn.Module) -> Iterator[None]:
    """What runs inside runs as on a GPU; `model` gets torch's dropout in the place of the studio's own, which
    is for processors."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Dropout):
                setattr(parent, name, nn.Dropout(child.p))
    with as_on_cuda(), _stood_in(), _autocast_seen(), _spreading():
        yield


@contextmanager
def _autocast_seen() -> Iterator[None]:
    """peft asks whether autocast is on without saying of which device, which means a GPU's."""
    module: Any = torch
    asked = torch.is_autocast_enabled

    def of_the_processor(device: str = "cpu") -> bool:
        return asked(device)

    module.is_autocast_enabled = of_the_processor
    try:
        yield
    finally:
        module.is_autocast_enabled = asked


@contextmanager
def _spreading() -> Iterator[None]:
    """A 4-bit weight is spread out for its product, in 16 bit."""
    if find_spec("bitsandbytes") is None:
        yield
        return
    import bitsandbytes

    package: Any = bitsandbytes
    product = package.matmul_4bit

    def spread_too(x: Tensor, packed: Tensor, quant_state: Any, **rest: Any) -> Tensor:
        whole = torch.empty(quant_state.shape, dtype=x.dtype)
        out: Tensor = product(x, packed, quant_state=quant_state, **rest)
        del whole
        return out

    package.matmul_4bit = spread_too
    try:
        yield
    finally:
        package.matmul_4bit = product
