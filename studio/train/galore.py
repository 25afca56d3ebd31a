"""GaLore (arXiv 2403.03507, algorithm 2): the two averages of AdamW live in a matrix's leading directions.

The published package keeps Python objects in the optimizer's state; here it is tensors and numbers only, so
that a checkpoint can be read with `weights_only` and a run resumes exactly.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from studio.optimizers.galore import GaloreParams


def galore(
    groups: list[dict[str, Any]], lr: float, params: GaloreParams, implementation: str | None
) -> Optimizer:
    del implementation  # there is one
    return Galore(groups, lr, params)


class Galore(Optimizer):
    """AdamW for vectors and matrices no wider than the rank; for a matrix G (m, n) with m <= n the averages
    of P^T G (rank, n), where P (m, rank) are the leading left singular vectors of a gradient, renewed every
    `every` steps. For m > n the same from the right. The averages stay when P changes, as in the paper."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, params: GaloreParams) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})
        self.params = params

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        if closure is not None:
            raise NotImplementedError("GaLore evaluates no closure")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                state["step"] = state.get("step", 0) + 1
                update = self._update(weight.grad, state)
                weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])

    def _update(self, gradient: Tensor, state: dict[str, Any]) -> Tensor:
        if gradient.ndim != 2 or min(gradient.shape) <= self.params.rank:
            return adam_direction(gradient, state, self.params)
        upright = gradient if gradient.shape[0] <= gradient.shape[1] else gradient.T
        if (state["step"] - 1) % self.params.every == 0:
            state["directions"] = _leading(upright, self.params.rank).to(gradient.dtype)
        directions = state["directions"]
        inner = adam_direction(directions.T @ upright, state, self.params)
        update: Tensor = self.params.scale * (directions @ inner)
        return update if upright is gradient else update.T


def adam_direction(gradient: Tensor, state: dict[str, Any], params: Any) -> Tensor:
    """Adam's step of length about one per number, and its two averages brought up to date in `state`."""
    if "average" not in state:
        state["average"] = torch.zeros_like(gradient, memory_format=torch.contiguous_format)
        state["square"] = torch.zeros_like(gradient, memory_format=torch.contiguous_format)
    average, square = state["average"], state["square"]
    average.lerp_(gradient, 1 - params.beta1)
    square.mul_(params.beta2).addcmul_(gradient, gradient, value=1 - params.beta2)
    first, second = (1 - beta ** state["step"] for beta in (params.beta1, params.beta2))
    direction: Tensor = (average / first) / ((square / second).sqrt() + params.eps)
    return direction


def _leading(matrix: Tensor, count: int) -> Tensor:
    """The `count` leading left singular vectors (m, count) of a matrix (m, n), m <= n, by the eigenvectors of
    its small square."""
    wide = matrix.float()
    vectors: Tensor = torch.linalg.eigh(wide @ wide.T)[1]
    return vectors[:, -count:].contiguous()
