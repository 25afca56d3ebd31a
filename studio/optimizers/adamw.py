"""AdamW (Loshchilov and Hutter 2017, arXiv 1711.05101)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from studio.optimizers import Optimizer, Shape, Shapes, numbers
from studio.params import param


@dataclass(frozen=True)
class AdamWParams:
    beta1: float = param(
        0.9, "How long the average of the gradients remembers.", low=0.0, high=0.9999, expert=True
    )
    beta2: float = param(
        0.999, "How long the average of the squared gradients remembers.", low=0.0, high=0.99999, expert=True
    )
    eps: float = param(
        1e-8, "Keeps the step finite where gradients are tiny.", low=1e-16, high=0.1, expert=True
    )


def state_bytes(shapes: Shapes, itemsize: int, params: AdamWParams) -> int:  # noqa: ARG001
    """Two averages of the shape and format of the weights."""
    return 2 * itemsize * numbers(shapes)


def loop_scratch(shape: Shape, itemsize: int, params: AdamWParams) -> tuple[int, int]:  # noqa: ARG001
    """torch's divides a root into a new tensor, and forgets that only at the next one."""
    return 2 * itemsize * prod(shape), itemsize * prod(shape)


EXTENSION = Optimizer(
    id="adamw",
    title="AdamW",
    summary="Adapts the step of every weight; the usual choice.",
    params=AdamWParams,
    torch="studio.train.optim:adamw",
    state_bytes=state_bytes,
    loop_scratch=loop_scratch,
)
