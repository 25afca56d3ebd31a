"""What CUDA kernels of other programs allocate, written in torch so that a trace on fake tensors counts it.

Nothing here computes: each function makes what the kernel makes, keeps what it keeps, and gives back tensors
of the right size. Where each behaviour is stated: memory_rows.md.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_FOUR_BIT_BLOCK = 64


class FlashAttention(Function):
    """flash-attn 2 on (rows, tokens, heads, head width); keys and values may have fewer heads."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        rows, tokens, heads, _ = query.shape
        out = query.new_empty(query.shape)
        sums = query.new_empty((rows, heads, tokens), dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value, _, sums = ctx.saved_tensors
        gradient = grads[0].contiguous()  # noqa: F841
        of_each = [torch.empty_like(x) for x in (query, key, value)]
        rows, tokens, heads, width = query.shape
        whole = (rows, heads, _up(tokens, 128), _up(width, 32))
        dots = torch.empty_like(sums)
        accumulated = query.new_empty(whole, dtype=torch.float32)
        if key.shape[2] != heads:  # sums over the heads that share a key
            expanded = [torch.empty_like(query), torch.empty_like(query)]
            del expanded
        del accumulated, dots
        return of_each[0], of_each[1], of_each[2]


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


class FusedNorm(Function):
    """RMSNorm in one kernel: keeps its input and one number per token, writes the gradient over the one it
    was given."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x, x.new_empty(x.shape[:-1], dtype=torch.float32))
        return torch.empty_like(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        del ctx
        return grads[0]


class FusedRope(Function):
    """A rotation in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        del ctx
        return grads[0], None, None


class FourBitProduct(Function):
    """bitsandbytes' product before 0.50: the whole weight in 16 bit, forward and backward; keeps nothing but
    the packed weight."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int, columns: int, bias: Tensor | None) -> Tensor:
        ctx.shape = (rows, columns)
        return torch.nn.functional.linear(x, dense(x, rows, columns), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return grads[0] @ dense(grads[0], *ctx.shape), None, None, None


def dense(like: Tensor, rows: int, columns: int) -> Tensor:
    """A 4-bit weight in the dtype of `like`; its scales in 32 bit live while it is made."""
    scales = like.new_empty(rows * columns // _FOUR_BIT_BLOCK, dtype=torch.float32)
    weight = like.new_empty((rows, columns))
    del scales
    return weight


class FusedLora(Function):
    """A 4-bit layer and its adapter in one function: keeps the input, the input after dropout, A and B."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, b: Tensor, dropout: float) -> Tensor:
        dropped = torch.native_dropout(x, dropout, True)[0] if dropout else x
        ctx.save_for_backward(x, dropped, a, b)
        out = x @ dense(x, b.shape[0], x.shape[-1]).t()
        out += dropped @ a.to(x.dtype).t() @ b.to(x.dtype).t()
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, dropped, a, b = ctx.saved_tensors
        gradient = grads[0].reshape(-1, b.shape[0])
        dropped = dropped.reshape(-1, x.shape[-1])
        inner = gradient @ b.to(x.dtype)
        for_a, for_b = inner.t() @ dropped, gradient.t() @ (dropped @ a.to(x.dtype).t())
        for_x = gradient @ dense(x, b.shape[0], x.shape[-1])
        for_x.addmm_(inner, a.to(x.dtype))
        return for_x.view(x.shape), for_a.to(a.dtype), for_b.to(b.dtype), None


class FusedEntropy(Function):
    """Cross-entropy of (tokens, vocabulary) in one kernel; the gradient is written over the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:
        losses = logits.new_empty(logits.shape[0], dtype=torch.float32)
        ctx.save_for_backward(logits, torch.empty_like(losses), labels)
        return losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        del grads
        return ctx.saved_tensors[0], None


class FusedLinearEntropy(Function):
    """Liger's head and loss: chunk by chunk, with the gradient of the hidden states made in the forward
    pass. `states` (tokens, hidden)."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor) -> Tensor:
        (tokens, hidden), vocabulary = states.shape, weight.shape[0]
        gradient = torch.zeros_like(states)
        for_weight = torch.zeros_like(weight) if weight.requires_grad else None
        size = 1 << (math.ceil(tokens / math.ceil(vocabulary / hidden)) - 1).bit_length()
        for start in range(0, tokens, size):
            part = states[start : start + size]
            logits = part @ weight.t()
            logits = logits.float()
            logits = logits.to(states.dtype)
            gradient[start : start + size] = logits @ weight
            if for_weight is not None:
                for_weight.addmm_(logits.t(), part)
        ctx.save_for_backward(gradient, for_weight)
        return states.new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None]:
        del grads
        gradient, for_weight = ctx.saved_tensors
        return gradient, for_weight
