"""What a run holds before its first step, where a method begins by looking at more than a step does.

LoftQ (arXiv 2310.08659) compares the base in 4 bit with one that is not: that one is loaded onto the
processor, and matrix by matrix the difference is decomposed in 32 bit. No torch.
"""

from __future__ import annotations

from math import prod

from studio.memory.workload import Workload
from studio.methods.lora import WHOLE_SVD

_SPARE = 16  # directions that an iteration follows beyond those that are wanted


def begun(work: Workload, weights: int) -> dict[str, int]:
    """Bytes by part when most is held beside `weights`, the base in 4 bit; none where nothing is compared."""
    terms, item = work.terms, work.base_itemsize
    if not terms.decomposed:
        return {}
    assert work.facts.parameters is not None
    second = item * work.facts.parameters if work.device == "cpu" else 0
    in_place = item == 4 and work.device == "cpu"  # what is in 32 bit there already is looked at as it is
    rank = max(terms.ranks.values())
    largest = max((2 if in_place else 3) * prod(shape) + _vectors(shape, rank) for shape in terms.decomposed)
    return {
        "weights": weights + second,
        "adapter": 4 * sum(prod(shape) for shape in terms.trainable),  # of the matrices already done
        "workspace": 4 * largest,
    }


def _vectors(shape: tuple[int, int], rank: int) -> int:
    """Numbers of the singular vectors that are found of a matrix."""
    return sum(shape) * (min(shape) if min(shape) <= WHOLE_SVD else rank + _SPARE)
