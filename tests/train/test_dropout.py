"""Our dropout against what dropout is."""

from __future__ import annotations

import pytest
import torch

from studio.train.dropout import Dropout


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_rate_and_mean(p: float) -> None:
    torch.manual_seed(0)
    out = Dropout(p)(torch.ones(1000, 1001))
    kept = out[out != 0]
    # A million draws: four standard deviations of the share.
    assert 1 - kept.numel() / out.numel() == pytest.approx(p, abs=4 * (p * (1 - p) / out.numel()) ** 0.5)
    assert kept.unique().tolist() == pytest.approx([1 / (1 - p)], rel=1e-4)


def test_neighbours_are_independent() -> None:
    """Four elements share one draw of 64 bits: that must not show."""
    torch.manual_seed(1)
    dropped = (Dropout(0.3)(torch.ones(1_000_000)) == 0).double()
    for distance in range(1, 9):
        both = (dropped[:-distance] * dropped[distance:]).mean().item()
        assert both == pytest.approx(0.09, abs=0.0015)


def test_rows_are_kept_equally_often() -> None:
    torch.manual_seed(2)
    kept = (Dropout(0.5)(torch.ones(20_000, 7)) != 0).double().mean(0)
    assert kept.tolist() == pytest.approx([0.5] * 7, abs=0.02)


def test_gradient_is_the_mask() -> None:
    torch.manual_seed(0)
    x = torch.randn(33, 5, requires_grad=True)
    out = Dropout(0.4)(x)
    out.sum().backward()
    assert torch.equal(out.detach(), x.detach() * x.grad)


def test_draws_come_from_the_global_generator() -> None:
    dropout, x = Dropout(0.5), torch.ones(999)
    torch.manual_seed(3)
    first, second = dropout(x), dropout(x)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(dropout(x), first)


def test_nothing_happens_in_evaluation_or_without_a_rate() -> None:
    x = torch.randn(9)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_sixteen_bit() -> None:
    out = Dropout(0.5)(torch.ones(1000, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    assert set(out.tolist()) == {0.0, 2.0}
