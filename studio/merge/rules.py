"""The merges' arithmetic, for one weight matrix at a time.

Each rule gets what the adapters change of that matrix, their weights, its params and a generator of random
numbers, and gives the change that is wanted: as thin factors where it is exactly such, else whole (outputs,
inputs). Rules that drop numbers work on the whole changes, as their papers define them, and not on the
factors. A negative weight turns a change around before anything is voted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from studio.merge.factors import Factors, concatenated


def weighted_sum(
    changes: Sequence[Factors], weights: Sequence[float], params: Any, generator: Generator
) -> Factors:
    """Sum of weight x change, as factors beside each other."""
    del params, generator
    return concatenated([change.scaled(weight) for change, weight in zip(changes, weights, strict=True)])


def magnitude_prune(
    changes: Sequence[Factors], weights: Sequence[float], params: Any, generator: Generator
) -> Tensor:
    """Sum of weight x the largest numbers of each change."""
    del generator
    return _added([_largest(change.whole(), 0.0, params.density) for change in changes], weights)


def breadcrumbs(
    changes: Sequence[Factors], weights: Sequence[float], params: Any, generator: Generator
) -> Tensor:
    """Sum of weight x the large numbers of each change without the very largest."""
    del generator
    return _added([_largest(change.whole(), params.outliers, params.density) for change in changes], weights)


def dare_linear(
    changes: Sequence[Factors], weights: Sequence[float], params: Any, generator: Generator
) -> Tensor:
    """Sum of weight x a random part of each change, rescaled."""
    return _added([_drawn(change.whole(), params.density, generator) for change in changes], weights)


def ties(changes: Sequence[Factors], weights: Sequence[float], params: Any, generator: Generator) -> Tensor:
    """Mean over those that agree with the elected sign of weight x the largest numbers of each change."""
    del generator
    kept = [_largest(change.whole(), 0.0, params.density) for change in changes]
    return _agreeing(kept, weights, params.sign)


def dare_ties(
    changes: Sequence[Factors], weights: Sequence[float], params: Any, generator: Generator
) -> Tensor:
    """Mean over those that agree with the elected sign of weight x a random part of each change, rescaled."""
    kept = [_drawn(change.whole(), params.density, generator) for change in changes]
    return _agreeing(kept, weights, params.sign)


def _largest(change: Tensor, skipped: float, density: float) -> Tensor:
    """`change` with all numbers zero but a share `density` of them: the largest after a share `skipped`."""
    first = round(skipped * change.numel())
    order = change.abs().flatten().argsort(descending=True, stable=True)
    kept = order[first : first + round(density * change.numel())]
    out = torch.zeros_like(change).flatten()
    out[kept] = change.flatten()[kept]
    return out.view_as(change)


def _drawn(change: Tensor, density: float, generator: Generator) -> Tensor:
    """A random share of the numbers, divided by the share: the mean over all draws is the change itself."""
    return change * (torch.rand(change.shape, generator=generator) < density) / density


def _added(changes: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    total = torch.zeros_like(changes[0])
    for change, weight in zip(changes, weights, strict=True):
        total += weight * change
    return total


def _agreeing(changes: Sequence[Tensor], weights: Sequence[float], election: str) -> Tensor:
    """Disjoint mean (Yadav et al. 2023, section 4): each number is the mean over the changes whose sign is
    the elected one there. Weights scale a change after the election, as in PEFT."""
    turned = [change if weight >= 0 else -change for change, weight in zip(changes, weights, strict=True)]
    votes = torch.zeros_like(turned[0])
    for change in turned:
        votes += change.sign() if election == "frequency" else change
    elected = torch.where(votes >= 0, 1.0, -1.0)
    total, count = torch.zeros_like(votes), torch.zeros_like(votes)
    for change, weight in zip(turned, weights, strict=True):
        agrees = change.sign() == elected
        total += abs(weight) * change * agrees
        count += agrees
    return total / count.clamp(min=1.0)
