"""What a run holds before its first step, where a method begins by looking at more than a step does.

LoftQ (arXiv 2310.08659) compares the base in 4 bit with one that is not: that one is loaded onto the
processor, and matrix by matrix the difference is decomposed in 32 bit. No torch.
"""

from __future__ import annotations

from math import prod

from studio.methods import MethodMemory
from studio.methods.lora import WHOLE_SVD
from studio.models.config import ModelFacts
from studio.plan import Plan

_SPARE = 16  # directions that an iteration follows beyond those that are wanted


def begun(plan: Plan, facts: ModelFacts, terms: MethodMemory, weights: int) -> dict[str, int]:
    """Bytes by part when most is held beside `weights`, the base in 4 bit; none where the first step holds
    more anyway, since nothing else is looked at."""
    if not terms.decomposed:
        return {}
    assert facts.parameters is not None
    item = 4 if plan.settings.precision == "fp32" else 2
    on_processor = (plan.settings.device or "cpu") == "cpu"
    second = item * facts.parameters if on_processor else 0
    copied = 0 if item == 4 and on_processor else 1  # what is in 32 bit there already is looked at in place
    rank = max(terms.ranks.values())
    largest = max((2 + copied) * prod(shape) + _vectors(shape, rank) for shape in terms.decomposed)
    return {
        "weights": weights + second,
        "adapter": 4 * sum(prod(shape) for shape in terms.trainable),  # of the matrices already done
        "workspace": 4 * largest,
    }


def _vectors(shape: tuple[int, int], rank: int) -> int:
    """Numbers of the singular vectors that are found of a matrix."""
    return sum(shape) * (min(shape) if min(shape) <= WHOLE_SVD else rank + _SPARE)
