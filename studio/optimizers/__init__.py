"""Optimizers: the rule that turns gradients into steps. One file each, found by walking this package.

An optimizer's file holds a frozen params dataclass, its formula for state bytes and one
`EXTENSION = Optimizer(...)`. Its factory is named by a string and called as
`factory(param_groups, lr, params, implementation)`, so that listing imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

Shape = tuple[int, ...]
Shapes = Iterable[Shape]


def one_copy(shape: Shape, itemsize: int, params: Any) -> tuple[int, int]:  # noqa: ARG001
    """Scratch of a step that makes its update in new bytes, and forgets it only at the next one."""
    return itemsize * prod(shape), itemsize * prod(shape)


def none_paged(shapes: Shapes, itemsize: int, params: Any) -> int:  # noqa: ARG001
    """All of the state stays where it is."""
    return 0


@dataclass(frozen=True)
class Optimizer:
    """A rule. `state_bytes(shapes, itemsize, params)`: bytes of state for trained tensors of these shapes,
    whose numbers take `itemsize` bytes each. `lr_scale`: its usual learning rate against AdamW's;
    `implementations` that it has, the best first. A `loop` steps one tensor after the other:
    `loop_scratch(shape, itemsize, params)` are the bytes that live at most beside one of this shape
    meanwhile, and what is left of them until the next one is done. `package`: what has to be installed for
    it, beside torch. `paged_bytes`, called as `state_bytes`: what of the state stands on a GPU in memory that
    its driver may move out."""

    id: str
    title: str
    summary: str
    params: type
    torch: str
    state_bytes: Callable[[Shapes, int, Any], int]
    lr_scale: float = 1.0
    loop_scratch: Callable[[Shape, int, Any], tuple[int, int]] = one_copy
    implementations: tuple[str, ...] = ("fused", "foreach", "loop")
    package: str | None = None
    paged_bytes: Callable[[Shapes, int, Any], int] = none_paged


def numbers(shapes: Shapes) -> int:
    """How many numbers tensors of these shapes hold."""
    return sum(prod(shape) for shape in shapes)
