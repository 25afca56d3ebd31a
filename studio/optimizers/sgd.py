"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from dataclasses import dataclass

from studio.optimizers import Optimizer, Shapes, numbers
from studio.params import param


@dataclass(frozen=True)
class SgdParams:
    momentum: float = param(
        0.9, "How much of the last step goes into the next one.", low=0.0, high=0.9999, expert=True
    )


def state_bytes(shapes: Shapes, itemsize: int, params: SgdParams) -> int:
    """One average of the shape and format of the weights, none without momentum."""
    return itemsize * numbers(shapes) if params.momentum else 0


EXTENSION = Optimizer(
    id="sgd",
    title="SGD",
    summary="Plain gradient steps with momentum; needs a well-chosen learning rate.",
    params=SgdParams,
    torch="studio.train.optim:sgd",
    state_bytes=state_bytes,
    loop_scratch=lambda *_: (0, 0),
)
