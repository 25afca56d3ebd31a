"""Optimizers: state as declared, steps as their papers say, one file each."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch

from studio import params
from studio.plan import Plan, optimizers
from studio.train.apollo import Apollo
from studio.train.optim import Lion, make_optimizer
from tests.toys.folders import tiny_plan

IDS = list(optimizers.all())
SHAPES = [(8, 32), (48, 8), (5, 6, 7), (32,), (64, 80), (96, 64)]
# Low ranks, so that the larger matrices are projected.
PROJECTED = {"optimizer.rank": 6, "every": 3}
CHOSEN = {"galore": PROJECTED, "apollo": PROJECTED}


def _weights(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def _plan(id: str, **settings: Any) -> Plan:
    return tiny_plan(optimizer=id, **CHOSEN.get(id, {}), **settings)


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
    _steps(weights, make_optimizer(_plan(id), [{"params": weights}]), 20)
    assert _size(weights) < 0.97 * before


@pytest.mark.parametrize("id", IDS)
def test_state_bytes_as_declared(id: str) -> None:
    plan, weights = _plan(id), _weights()
    optimizer = make_optimizer(plan, [{"params": weights}])
    _steps(weights, optimizer)
    tensors = [
        t for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t) and t.ndim
    ]
    # What several tensors share, as the maps of 8-bit codes, counts once.
    measured = sum({t.data_ptr(): t.numel() * t.element_size() for t in tensors}.values())
    assert optimizers.get(id).state_bytes(SHAPES, 4, plan.optimizer_params) == measured


@pytest.mark.parametrize("id", IDS)
def test_goes_on_from_a_saved_state_as_if_never_stopped(id: str) -> None:
    weights = _weights()
    optimizer = make_optimizer(_plan(id), [{"params": weights}])
    _steps(weights, optimizer, 5)
    saved = BytesIO()
    torch.save(optimizer.state_dict(), saved)
    saved.seek(0)
    copies = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    again = make_optimizer(_plan(id), [{"params": copies}])
    again.load_state_dict(torch.load(saved, weights_only=True))
    _steps(weights, optimizer, 5)
    _steps(copies, again, 5)
    assert all(torch.equal(*pair) for pair in zip(weights, copies, strict=True))


@pytest.mark.parametrize(
    ("id", "name"), [("adamw_8bit", "AdamW8bit"), ("paged_adamw_8bit", "PagedAdamW8bit")]
)
def test_8_bit_steps_are_nearly_those_of_32(id: str, name: str) -> None:
    ours, exact = _weights(), _weights()
    optimizer = make_optimizer(_plan(id), [{"params": ours}])
    assert type(optimizer) is getattr(bitsandbytes.optim, name)
    _steps(ours, optimizer, 20)
    _steps(exact, make_optimizer(_plan("adamw"), [{"params": exact}]), 20)
    for left, right, start in zip(ours, exact, _weights(), strict=True):
        assert (left - right).norm() < 0.05 * (right - start).norm()


def test_galore_steps_within_the_leading_directions() -> None:
    weight = torch.nn.Parameter(torch.randn(96, 40, generator=torch.Generator().manual_seed(1)))
    start, optimizer = weight.detach().clone(), make_optimizer(_plan("galore"), [{"params": [weight]}])
    gradient = torch.randn(96, 40, generator=torch.Generator().manual_seed(2))
    weight.grad = gradient.clone()
    optimizer.step()
    # Adam's first step is the sign of its gradient; from the right, since the matrix is tall.
    leading = torch.linalg.svd(gradient, full_matrices=False)[2][:6].T
    expected = -0.01 * (gradient @ leading).sign() @ leading.T
    torch.testing.assert_close(weight.detach() - start, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("rank", "spread"), [(6, 0.6), (1, 0.9)])
def test_apollo_goes_along_the_gradient_as_far_as_adamw(rank: int, spread: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(40, 96))
    plan = tiny_plan(optimizer="apollo", **{"optimizer.rank": rank})
    optimizer = make_optimizer(plan, [{"params": [weight]}])
    gradient = torch.randn(40, 96, generator=torch.Generator().manual_seed(2))
    weight.grad = gradient.clone()
    optimizer.step()
    step = -weight.detach() / 0.01
    along = torch.nn.functional.cosine_similarity(step, gradient, dim=0)
    torch.testing.assert_close(along, torch.ones(96))
    # AdamW's first step has length 1 in each number.
    assert abs(step.norm() / 40**0.5 / 96**0.5 - 1) < spread
    if rank == 1:
        torch.testing.assert_close(step / gradient, (step / gradient)[0, 0].expand(40, 96))


def test_apollo_steps_grow_slowly() -> None:
    weight = torch.nn.Parameter(torch.zeros(40, 96))
    optimizer = make_optimizer(_plan("apollo"), [{"params": [weight]}])
    assert isinstance(optimizer, Apollo)
    lengths, before = [], weight.detach().clone()
    for step in range(8):
        weight.grad = torch.randn(40, 96, generator=torch.Generator().manual_seed(step)) * 10**step
        optimizer.step()
        lengths.append((weight.detach() - before).norm().item())
        before = weight.detach().clone()
    growths = [after / last for last, after in pairwise(lengths)]
    assert max(growths) == pytest.approx(1.01, rel=1e-4)


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
