"""APOLLO (arXiv 2412.05270, algorithm 1): Adam runs on a random sketch of the gradient, and only tells how
long each channel's step should be.

The sketch's random matrix is drawn from a seed again at each step instead of being kept.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from studio.optimizers.apollo import ApolloParams
from studio.train.low_rank_adam import LowRankAdam, adam_direction

_GROWTH = 1.01  # a step may be this much longer than the last (section 4.3, the norm-growth limiter)


def apollo(
    groups: list[dict[str, Any]], lr: float, params: ApolloParams, implementation: str | None
) -> Optimizer:
    del implementation  # there is one
    return Apollo(groups, lr, params)


class Apollo(LowRankAdam):
    """A matrix G (m, n) with m <= n moves along its own gradient, column j times |Adam(R)_j| / |R_j|, where
    R = P G (rank, n) and P is normal with variance 1 / rank. That ratio is sqrt(rank / m) of the full
    gradient's (theorem 4.2), which is made good. For m > n the same over rows. With rank 1 one ratio serves
    the whole matrix (APOLLO-Mini)."""

    def matrix_update(self, gradient: Tensor, state: dict[str, Any], number: int) -> Tensor:
        params = self.params
        turn = (state["step"] - 1) // params.every
        sketch = self._projection(len(gradient), gradient, turn, number) @ gradient
        wanted = adam_direction(sketch, state, params)
        over = 0 if params.rank > 1 else (0, 1)
        tiny = torch.finfo(torch.float32).tiny
        lengths = wanted.float().norm(dim=over) / sketch.float().norm(dim=over).clamp_min(tiny)
        whole = params.scale * sqrt(len(gradient) / params.rank)
        return _limited(whole * lengths.to(gradient.dtype) * gradient, state)

    def _projection(self, rows: int, like: Tensor, turn: int, number: int) -> Tensor:
        """P (rank, rows) of this turn, another for each matrix."""
        generator = torch.Generator(like.device).manual_seed(turn * 1_000_003 + number)
        normal = torch.randn(self.params.rank, rows, generator=generator, device=like.device)
        return (normal / sqrt(self.params.rank)).to(like.dtype)


def _limited(update: Tensor, state: dict[str, Any]) -> Tensor:
    """`update`, shortened where it grew faster than `_GROWTH` since the last step."""
    length = update.float().norm()
    last = state.get("length")
    if last is not None:
        limit = _GROWTH * last
        factor = torch.where((last > 0) & (length > limit), limit / length, 1.0)
        update, length = update * factor.to(update.dtype), length * factor
    state["length"] = length.to(update.dtype)  # as a resumed run gets it back
    return update
