"""Lion: steps by the sign of an average of gradients (Chen et al. 2023, arXiv 2302.06675)."""

from __future__ import annotations

from dataclasses import dataclass

from studio.optimizers import Optimizer, Shapes, numbers
from studio.params import param


@dataclass(frozen=True)
class LionParams:
    beta1: float = param(
        0.9, "Weight of the average against the newest gradient in a step.", low=0.0, high=0.9999, expert=True
    )
    beta2: float = param(
        0.99, "How long the average of the gradients remembers.", low=0.0, high=0.99999, expert=True
    )


def state_bytes(shapes: Shapes, itemsize: int, params: LionParams) -> int:  # noqa: ARG001
    """One average of the shape and format of the weights."""
    return itemsize * numbers(shapes)


EXTENSION = Optimizer(
    id="lion",
    title="Lion",
    summary="Steps by the sign of the gradient: half of AdamW's memory; wants a smaller learning rate.",
    params=LionParams,
    torch="studio.train.optim:lion",
    state_bytes=state_bytes,
    lr_scale=0.1,
    implementations=("loop",),
)
