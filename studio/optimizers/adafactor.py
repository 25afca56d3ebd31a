"""Adafactor with an outside learning rate (Shazeer and Stern 2018, arXiv 1804.04235)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from studio.optimizers import Optimizer, Shape, Shapes
from studio.params import param


@dataclass(frozen=True)
class AdafactorParams:
    beta2_decay: float = param(
        -0.8, "How fast the memory of squared gradients grows over the run.", low=-1.0, high=0.0, expert=True
    )
    threshold: float = param(
        1.0, "Longest update allowed, as a root mean square.", low=0.01, high=100.0, expert=True
    )


def state_bytes(shapes: Shapes, itemsize: int, params: AdafactorParams) -> int:  # noqa: ARG001
    """A row and a column of squared gradients per matrix; a vector keeps its own."""
    total = 0
    for shape in shapes:
        total += prod(shape[:-1]) + prod((*shape[:-2], shape[-1])) if len(shape) > 1 else prod(shape)
    return itemsize * total


def loop_scratch(shape: Shape, itemsize: int, params: AdafactorParams) -> tuple[int, int]:  # noqa: ARG001
    """In 32 bit: copies of a 16-bit gradient and weight, and two of the update."""
    return (16 if itemsize == 2 else 8) * prod(shape), 4 * prod(shape)


EXTENSION = Optimizer(
    id="adafactor",
    title="Adafactor",
    summary="Adapts the step with far less memory than AdamW.",
    params=AdafactorParams,
    torch="studio.train.optim:adafactor",
    state_bytes=state_bytes,
    loop_scratch=loop_scratch,
    implementations=("loop",),
)
