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

Shapes = Iterable[tuple[int, ...]]


@dataclass(frozen=True)
class Optimizer:
    """A rule. `state_bytes(shapes, itemsize, params)`: bytes of state for trained tensors of these shapes,
    whose numbers take `itemsize` bytes each. `lr_scale`: its usual learning rate against AdamW's;
    `implementations` that it has, the best first. While a `loop` steps one tensor after the other, as much as
    `loop_scratch` (times the tensor, times the one before it) lives beside them."""

    id: str
    title: str
    summary: str
    params: type
    torch: str
    state_bytes: Callable[[Shapes, int, Any], int]
    lr_scale: float = 1.0
    loop_scratch: tuple[int, int] = (1, 1)
    implementations: tuple[str, ...] = ("fused", "foreach", "loop")


def numbers(shapes: Shapes) -> int:
    """How many numbers tensors of these shapes hold."""
    return sum(prod(shape) for shape in shapes)
