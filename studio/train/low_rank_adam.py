"""AdamW whose averages of a matrix are held in low rank; how, each subclass says.

The state is tensors and numbers only, so that a checkpoint can be read with `weights_only` and a run resumes
exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from studio.train.low_rank import LowRankParams, projected


class LowRankAdam(Optimizer, ABC):
    """AdamW with decoupled weight decay for vectors and matrices no wider than the rank; the update of a
    larger matrix is the subclass's."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, params: LowRankParams) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": 0.0})
        self.params = params

    @abstractmethod
    def matrix_update(self, gradient: Tensor, state: dict[str, Any], number: int) -> Tensor:
        """The step of a matrix before the learning rate. It and the gradient are (m, n) with m <= n: those of
        a taller weight are transposed. `number` tells the run's weights apart."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        if closure is not None:
            raise NotImplementedError(f"{type(self).__name__} evaluates no closure")
        weights = [(group, weight) for group in self.param_groups for weight in group["params"]]
        for number, (group, weight) in enumerate(weights):
            if weight.grad is None:
                continue
            state = self.state[weight]
            state["step"] = state.get("step", 0) + 1
            update = self._update(weight.grad, state, number)
            weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])

    def _update(self, gradient: Tensor, state: dict[str, Any], number: int) -> Tensor:
        if not projected(gradient.shape, self.params.rank):
            return adam_direction(gradient, state, self.params)
        if gradient.shape[0] <= gradient.shape[1]:
            return self.matrix_update(gradient, state, number)
        return self.matrix_update(gradient.T, state, number).T


def adam_direction(gradient: Tensor, state: dict[str, Any], params: LowRankParams) -> Tensor:
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
