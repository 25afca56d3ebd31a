"""What optimizers that hold AdamW's averages in low rank share, as plain numbers: params and state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

from studio.optimizers.adamw import AdamWParams
from studio.params import param


@dataclass(frozen=True, kw_only=True)
class LowRankParams(AdamWParams):
    """The settings of each of them; what they mean there, and the usual rank, its own params say."""

    rank: int
    every: int
    scale: float


def rank_param(default: int, help: str) -> Any:
    """The field `rank`; its usual value and meaning are the optimizer's own."""
    return param(default, help, low=1, high=8192)


def every_param(help: str) -> Any:
    """The field `every`: steps from one projection to the next."""
    return param(200, help, low=1, high=1_000_000, expert=True)


def scale_param(help: str) -> Any:
    """The field `scale`: length of the steps."""
    return param(1.0, help, low=0.001, high=100.0, expert=True)


def projected(shape: tuple[int, ...], rank: int) -> bool:
    """Whether a tensor of this shape is a matrix that low rank makes smaller."""
    return len(shape) == 2 and min(shape) > rank


def averages(shapes: Iterable[tuple[int, ...]], rank: int) -> int:
    """How many numbers the two averages hold: of a projected matrix (rank, longer side), of all else the
    shape itself."""
    return sum(2 * (rank * max(shape) if projected(shape, rank) else prod(shape)) for shape in shapes)


def averaged_scratch(shape: tuple[int, ...], itemsize: int) -> tuple[int, int]:
    """Bytes beside a tensor that is stepped whole: both averages corrected and a root, then the step."""
    return 3 * itemsize * prod(shape), itemsize * prod(shape)
