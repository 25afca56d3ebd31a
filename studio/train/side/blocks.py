"""Layers of a side network: normalisation, rotary attention, gated MLP, downsamplers.

B rows, S positions, W the side's width, H the model's. One code for every family of backbone.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer

from studio.train.side.shape import SideShape

_EPS = 1e-6
_ROPE_BASE = 10000.0
_BLOCK = 64
_LEAST = 1e-30  # so that a block of zeros has a scale
Rope = tuple[Tensor, Tensor]


class RmsNorm(nn.Module):
    """x / rms(x) * weight (Zhang and Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), _EPS)


def rope(positions: Tensor, head_dim: int, dtype: torch.dtype) -> Rope:
    """Cosines and sines (B or 1, 1, S, head_dim) for positions (B or 1, S) (RoPE, arXiv 2104.09864)."""
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    angles = positions[:, None, :, None].float() * _ROPE_BASE**-exponents
    angles = torch.cat([angles, angles], -1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _rotate(x: Tensor, by: Rope) -> Tensor:
    cos, sin = by
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, shape: SideShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query = nn.Linear(shape.width, shape.width, bias=False)
        self.key = nn.Linear(shape.width, shape.width, bias=False)
        self.value = nn.Linear(shape.width, shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor, by: Rope, mask: Tensor | None, cache: DynamicLayer | None) -> Tensor:
        """`mask` (B, 1, S, past + S), true where a position may look; None: everything up to itself."""
        query, key, value = (self._split(part(x)) for part in (self.query, self.key, self.value))
        query, key = _rotate(query, by), _rotate(key, by)
        if cache is not None:
            key, value = cache.update(key, value)
        causal = mask is None and query.shape[2] > 1
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        """(B, S, W) -> (B, heads, S, W / heads)"""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Mlp(nn.Module):
    """silu(gate x) * (up x), back to width (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, shape: SideShape) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.width, shape.inner, bias=False)
        self.up = nn.Linear(shape.width, shape.inner, bias=False)
        self.out = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(F.silu(self.gate(x)) * self.up(x))
        return out


class Block(nn.Module):
    """One rung of the ladder: attention and MLP, each behind a norm and beside a residual."""

    def __init__(self, shape: SideShape) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = RmsNorm(shape.width), RmsNorm(shape.width)
        self.attention, self.mlp = Attention(shape), Mlp(shape)

    def forward(self, x: Tensor, by: Rope, mask: Tensor | None, cache: DynamicLayer | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), by, mask, cache)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


def _block(width: int) -> int:
    """Neighbouring entries that share a scale: 64, or what divides the width."""
    return math.gcd(width, _BLOCK)


class _NarrowedIn8Bit(torch.autograd.Function):
    """tap (..., H) times weight (R, H) transposed. The weight's gradient needs the tap, which is kept in 8
    bit, a scale for each block of neighbours (hidden states have a few entries far larger than the rest).
    The product itself is exact; the gradient's error is below 1/254 of a block's largest entry."""

    @staticmethod
    def forward(ctx: Any, tap: Tensor, weight: Tensor) -> Tensor:
        blocks = tap.reshape(*tap.shape[:-1], -1, _block(tap.shape[-1]))
        scale = blocks.abs().amax(-1, keepdim=True).clamp_min(_LEAST) / 127
        kept = (blocks / scale).round_().clamp_(-127, 127).to(torch.int8)
        ctx.save_for_backward(kept, scale)
        return F.linear(tap, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        kept, scale = ctx.saved_tensors
        tap = (kept.to(gradient.dtype) * scale.to(gradient.dtype)).flatten(-2)
        return None, gradient.flatten(0, -2).T @ tap.flatten(0, -2)


class Projection(nn.Module):
    """A tap made narrow by one matrix, or by two with a nonlinearity between (`adapter`).

    Taps differ in scale from layer to layer by orders of magnitude: each position is divided by its own root
    mean square, after the first matrix, so that no second full-width tensor is made.
    """

    def __init__(self, shape: SideShape) -> None:
        super().__init__()
        first = shape.rank if shape.downsampler == "adapter" else shape.width
        self.tap_bits = shape.tap_bits
        self.first = nn.Linear(shape.hidden, first, bias=False)
        self.second = nn.Linear(first, shape.width, bias=False) if shape.downsampler == "adapter" else None

    def forward(self, tap: Tensor) -> Tensor:
        with torch.no_grad():
            norm = torch.linalg.vector_norm(tap, dim=-1, keepdim=True, dtype=torch.float32)
            scale = (tap.shape[-1] ** 0.5 / norm.clamp_min(_EPS)).to(tap.dtype)
        weight = self.first.weight.to(tap.dtype)
        narrow: Tensor
        if self.tap_bits == 16 or not torch.is_grad_enabled():
            narrow = F.linear(tap, weight)
        else:
            narrow = _NarrowedIn8Bit.apply(tap, weight)  # type: ignore[no-untyped-call]
        narrow = narrow * scale
        if self.second is None:
            return narrow
        return F.linear(F.silu(narrow), self.second.weight.to(tap.dtype))


class Pooling(nn.Module):
    """Neighbouring entries of a tap put together, then normalised: nothing trained, nothing kept."""

    def __init__(self, shape: SideShape) -> None:
        super().__init__()
        self.width = shape.width
        self.pool = F.adaptive_max_pool1d if shape.downsampler == "max" else F.adaptive_avg_pool1d

    @torch.no_grad()
    def forward(self, tap: Tensor) -> Tensor:
        narrow: Tensor = self.pool(tap, self.width)
        return F.rms_norm(narrow, (self.width,), eps=_EPS)


def downsampler(shape: SideShape) -> nn.Module:
    """(B, S, H) -> (B, S, W), of the shape's kind."""
    return Projection(shape) if shape.downsampler in ("adapter", "linear") else Pooling(shape)
