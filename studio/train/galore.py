"""GaLore (arXiv 2403.03507, algorithm 2): the two averages of AdamW live in a matrix's leading directions.

The published package keeps Python objects in the optimizer's state; here it is tensors and numbers only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from studio.optimizers.galore import GaloreParams
from studio.train.low_rank_adam import LowRankAdam, adam_direction


def galore(
    groups: list[dict[str, Any]], lr: float, params: GaloreParams, implementation: str | None
) -> Optimizer:
    del implementation  # there is one
    return Galore(groups, lr, params)


class Galore(LowRankAdam):
    """For a matrix G (m, n) with m <= n the averages of P^T G (rank, n), where P (m, rank) are the leading
    left singular vectors of a gradient, renewed every `every` steps. For m > n the same from the right. The
    averages stay when P changes, as in the paper."""

    def matrix_update(self, gradient: Tensor, state: dict[str, Any], number: int) -> Tensor:
        del number
        if (state["step"] - 1) % self.params.every == 0:
            state["directions"] = _leading(gradient, self.params.rank).to(gradient.dtype)
        directions = state["directions"]
        inner = adam_direction(directions.T @ gradient, state, self.params)
        update: Tensor = self.params.scale * (directions @ inner)
        return update


def _leading(matrix: Tensor, count: int) -> Tensor:
    """The `count` leading left singular vectors (m, count) of a matrix (m, n), m <= n, by the eigenvectors of
    its small square."""
    wide = matrix.float()
    vectors: Tensor = torch.linalg.eigh(wide @ wide.T)[1]
    return vectors[:, -count:].contiguous()
