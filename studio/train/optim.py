"""The optimizers of `studio/optimizers`, made for a run."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch.optim import Optimizer
from transformers.optimization import Adafactor

from studio.errors import StudioError
from studio.optimizers.adafactor import AdafactorParams
from studio.optimizers.adamw import AdamWParams
from studio.optimizers.lion import LionParams
from studio.optimizers.sgd import SgdParams
from studio.plan import Plan
from studio.registry import load_part

Groups = list[dict[str, Any]]


def make_optimizer(plan: Plan, groups: Groups) -> Optimizer:
    """The plan's optimizer over these parameter groups."""
    factory: Callable[..., Optimizer] = load_part(plan.optimizer.torch)
    return factory(groups, plan.settings.lr, plan.optimizer_params, plan.settings.optimizer_impl)


def adamw(groups: Groups, lr: float, params: AdamWParams, implementation: str | None) -> Optimizer:
    betas = (params.beta1, params.beta2)
    return torch.optim.AdamW(groups, lr, betas, params.eps, **_kernel(implementation))


def adamw_8bit(groups: Groups, lr: float, params: AdamWParams, implementation: str | None) -> Optimizer:
    """Raises StudioError `optimizer_needs_bitsandbytes` on a computer that it isn't made for."""
    del implementation  # there is one
    return _bitsandbytes("AdamW8bit", groups, lr, params)


def paged_adamw_8bit(groups: Groups, lr: float, params: AdamWParams, implementation: str | None) -> Optimizer:
    """Raises StudioError `optimizer_needs_bitsandbytes` on a computer that it isn't made for."""
    del implementation  # there is one
    return _bitsandbytes("PagedAdamW8bit", groups, lr, params)


def _bitsandbytes(name: str, groups: Groups, lr: float, params: AdamWParams) -> Optimizer:
    if find_spec("bitsandbytes") is None:
        raise StudioError("optimizer_needs_bitsandbytes")
    from bitsandbytes import optim

    betas = (params.beta1, params.beta2)
    made: Optimizer = getattr(optim, name)(groups, lr=lr, betas=betas, eps=params.eps, weight_decay=0.0)
    return made


def sgd(groups: Groups, lr: float, params: SgdParams, implementation: str | None) -> Optimizer:
    return torch.optim.SGD(groups, lr, params.momentum, **_kernel(implementation))


def adafactor(groups: Groups, lr: float, params: AdafactorParams, implementation: str | None) -> Optimizer:
    del implementation  # there is one
    # Not torch's own: it scales the rate by the size of each weight, and LoRA's second matrix starts at zero.
    return Adafactor(  # type: ignore[no-untyped-call]
        groups,
        lr=lr,
        decay_rate=params.beta2_decay,
        clip_threshold=params.threshold,
        scale_parameter=False,
        relative_step=False,
    )


def lion(groups: Groups, lr: float, params: LionParams, implementation: str | None) -> Optimizer:
    del implementation  # there is one
    return Lion(groups, lr, (params.beta1, params.beta2))


def _kernel(implementation: str | None) -> dict[str, Any]:
    """torch's switches for the implementation; None leaves the choice to torch."""
    if implementation is None:
        return {"fused": None, "foreach": None}
    return {"fused": implementation == "fused", "foreach": implementation == "foreach"}


class Lion(Optimizer):
    """Lion, algorithm 2 of arXiv 2302.06675: the sign of an interpolated momentum, decoupled weight decay."""

    def __init__(self, groups: Groups, lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        if closure is not None:
            raise NotImplementedError("Lion evaluates no closure")
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                momentum = state["momentum"]
                update = torch.lerp(weight.grad, momentum, beta1).sign_()
                weight.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])
                momentum.lerp_(weight.grad, 1 - beta2)
