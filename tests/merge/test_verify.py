"""How far logits are apart, and what counts as near."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch

from studio.merge.verify import agreement

OURS = [torch.tensor([[1.0, -8.0], [3.0, 4.0]]), torch.tensor([[2.0, 6.0]])]


def test_the_largest_and_the_mean_distance() -> None:
    found = agreement(OURS, [OURS[0], torch.tensor([[2.0, 6.5]])], 0.1)
    assert (found.max_difference, found.largest, found.bound) == (0.5, 8.0, pytest.approx(0.8))
    assert found.mean_difference == pytest.approx(0.5 / 6)
    assert found.passed
    assert not agreement(OURS, [OURS[0], torch.tensor([[2.0, 6.9]])], 0.1).passed
    assert agreement(OURS, OURS, None).passed is None


@pytest.mark.parametrize("broken", [nan, inf, -inf])
@pytest.mark.parametrize("prompt", [0, 1])
@pytest.mark.parametrize("which", ["theirs", "ours", "both"])
def test_what_is_no_number_is_never_near(broken: float, prompt: int, which: str) -> None:
    wrong = [logits.clone() for logits in OURS]
    wrong[prompt][-1, 0] = broken
    sides = {"theirs": (wrong, OURS), "ours": (OURS, wrong), "both": (wrong, wrong)}
    assert agreement(*sides[which], 0.1).passed is False
