"""Heads that point at earlier tokens and raise their logits.

A side network is narrow, and what it says of a token must pass through its width; a word that is only copied
from the text need not. After pointer networks (Vinyals et al. 2015, arXiv 1506.03134), but added to what the
head reads instead of mixed into probabilities, so that any head, scale and cap of a model applies.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicLayer

from studio.train.side.shape import STRETCH, SideShape

# A step moves each of a gate's weights by thousandths, and so the gate by as many times the width; logits
# differ by tens.
_STRENGTH = 4096.0
_LEAST_NORM = 1e-2  # its inverse square is a number in 16 bit


class Pointer(nn.Module):
    """Each head looks at the tokens up to its own by attention in the side state, and adds their directions.

    What the head of the model reads gets sum_n gate_n sum_j pattern_nj row_j / |row_j|^2, with row_j the
    head's own row of token j: to point at a token with a gate of 1 raises its logit by one. The gates are
    read from the state by a matrix that is zero at the start.
    """

    def __init__(self, shape: SideShape) -> None:
        super().__init__()
        self.heads = shape.pointers
        self.query = nn.Linear(shape.width, shape.pointed, bias=False)
        self.key = nn.Linear(shape.width, shape.pointed, bias=False)
        self.gate = nn.Linear(shape.width, shape.pointers, bias=False)

    def forward(
        self, x: Tensor, tokens: Tensor, table: Tensor, mask: Tensor | None, cache: DynamicLayer | None
    ) -> Tensor:
        """(B, S, H) of the side state x (B, S, W), the same tokens' ids (B, S) and the head's table (V, H).
        `mask` (B, 1, S, past + S), true where a position may look; None: everything up to itself."""
        query, key = self._split(self.query(x)), self._split(self.key(x))
        if cache is not None:
            # A cache has the dtype of its keys or a wider one: 32 bit hold every id up to 16 million exactly.
            key, known = cache.update(key, tokens[:, None, :, None].float())
            tokens = known[:, 0, :, 0].long()
        gate = _STRENGTH / x.shape[-1] * self.gate(x).transpose(1, 2)
        pointed: Tensor = _Pointed.apply(query, key, gate, tokens, table, mask)  # type: ignore[no-untyped-call]
        return pointed

    def _split(self, x: Tensor) -> Tensor:
        """(B, S, pointed) -> (B, heads, S, pointed / heads)"""
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class _Pointed(torch.autograd.Function):
    """sum_n gate_n softmax(query_n key_n') rows / |rows|^2, one text after the other. Patterns and rows are
    made again in the backward pass, for a stretch of positions at a time: those of a whole text would grow
    with the square of its length."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        gate: Tensor,
        tokens: Tensor,
        table: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        ctx.save_for_backward(query, key, gate, tokens, table, mask)
        out = table.new_empty(len(tokens), query.shape[2], table.shape[1])
        for b, text in enumerate(tokens):
            directions = _directions(table[text])
            for at in _stretches(query.shape[2]):
                pattern = _pattern(query[b], key[b], None if mask is None else mask[b], at)
                out[b, at] = (gate[b, :, at, None] * pattern).sum(0).to(table.dtype) @ directions
                del pattern  # before the next one is made
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, gate, tokens, table, mask = ctx.saved_tensors
        for_query, for_key, for_gate = torch.empty_like(query), torch.zeros_like(key), torch.empty_like(gate)
        scale = query.shape[-1] ** -0.5
        for b, text in enumerate(tokens):
            directions = _directions(table[text])
            for at in _stretches(query.shape[2]):
                pattern = _pattern(query[b], key[b], None if mask is None else mask[b], at)
                wanted = pattern * (gradient[b, at] @ directions.T)  # (heads, stretch, past + S)
                for_gate[b, :, at] = wanted.sum(-1)
                wanted = gate[b, :, at, None] * (wanted - pattern * for_gate[b, :, at, None]) * scale
                for_query[b, :, at] = wanted @ key[b]
                for_key[b] += wanted.mT @ query[b, :, at]
        return for_query, for_key, for_gate, None, None, None


def _stretches(length: int) -> list[slice]:
    """Positions that look at a time."""
    return [slice(at, min(at + STRETCH, length)) for at in range(0, length, STRETCH)]


def _pattern(query: Tensor, key: Tensor, mask: Tensor | None, at: slice) -> Tensor:
    """Where these positions look (heads, stretch, past + S), of one text."""
    scores = query[:, at] @ key.mT * query.shape[-1] ** -0.5
    if mask is None:
        past = key.shape[1] - query.shape[1]
        seen = torch.ones(scores.shape[1:], dtype=torch.bool, device=scores.device).tril(past + at.start)
    else:
        seen = mask[:, at]
    pattern: Tensor = scores.masked_fill_(~seen, -torch.inf).softmax(-1)
    return pattern


def _directions(rows: Tensor) -> Tensor:
    """row / |row|^2; zero for a row of zeros, as that of the padding token may be."""
    exact = torch.promote_types(rows.dtype, torch.float32)
    norm = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=exact)
    directions: Tensor = rows * norm.clamp_min(_LEAST_NORM).pow(-2).to(rows.dtype)
    return directions
