"""Optimizers: state as declared, steps as their papers say, one file each."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from studio import params
from studio.plan import optimizers
from studio.train.optim import Lion, make_optimizer
from tests.toys.folders import tiny_plan

IDS = list(optimizers.all())
SHAPES = [(8, 32), (48, 8), (5, 6, 7), (32,)]


def _weights(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def _size(weights: list[torch.nn.Parameter]) -> float:
    return sum((w.detach() ** 2).sum().item() for w in weights)


def _steps(weights: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer, n: int = 3) -> None:
    for _ in range(n):
        sum((w**2).sum() for w in weights).backward()  # type: ignore[union-attr]
        optimizer.step()
        optimizer.zero_grad()


def test_every_file_is_a_case() -> None:
    folder = Path(__file__).parents[2] / "studio" / "optimizers"
    assert len(IDS) == len([file for file in folder.glob("*.py") if file.name != "__init__.py"])


@pytest.mark.parametrize("id", IDS)
def test_fields_have_help_and_steps_go_downhill(id: str) -> None:
    for info in params.describe(optimizers.get(id).params):
        assert len(info.help) > 15
    weights = _weights()
    before = _size(weights)
    _steps(weights, make_optimizer(tiny_plan(optimizer=id), [{"params": weights}]), 20)
    assert _size(weights) < 0.97 * before


@pytest.mark.parametrize("id", IDS)
def test_state_bytes_as_declared(id: str) -> None:
    plan, weights = tiny_plan(optimizer=id), _weights()
    optimizer = make_optimizer(plan, [{"params": weights}])
    _steps(weights, optimizer)
    tensors = [
        t for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t) and t.ndim
    ]
    measured = sum(t.numel() * t.element_size() for t in tensors)
    assert optimizers.get(id).state_bytes(SHAPES, 4, plan.optimizer_params) == measured


@pytest.mark.parametrize("id", ["adamw", "sgd"])
def test_implementations_agree(id: str) -> None:
    results = []
    for implementation in ("fused", "foreach", "loop"):
        weights = _weights()
        plan = tiny_plan(optimizer=id, optimizer_impl=implementation)
        _steps(weights, make_optimizer(plan, [{"params": weights}]))
        results.append(torch.cat([w.detach().flatten() for w in weights]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(results[2], results[0], rtol=1e-6, atol=1e-7)


def test_lion_by_hand() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = Lion([{"params": [weight], "weight_decay": 0.5}], lr=0.1, betas=(0.9, 0.99))
    weight.grad = torch.tensor([3.0, -4.0])
    optimizer.step()
    # First step: momentum 0, so the sign of the gradient; weights shrink by 1 - 0.1 * 0.5 before.
    torch.testing.assert_close(weight.detach(), torch.tensor([0.95 - 0.1, -1.9 + 0.1]))
    momentum = optimizer.state[weight]["momentum"]
    torch.testing.assert_close(momentum, torch.tensor([0.03, -0.04]))
    weight.grad = torch.tensor([-0.001, 0.5])
    optimizer.step()
    # 0.9 * 0.03 - 0.1 * 0.001 > 0: the momentum outvotes the gradient.
    # -0.9 * 0.04 + 0.1 * 0.5 > 0: here it does not.
    torch.testing.assert_close(weight.detach(), torch.tensor([0.85 * 0.95 - 0.1, -1.8 * 0.95 - 0.1]))
