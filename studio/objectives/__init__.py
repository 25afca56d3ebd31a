"""Objectives: what a run makes better. One file each, found by walking this package
(`studio.plan.objectives`).

An objective's file holds a frozen params dataclass and one `EXTENSION = Objective(...)`. Its torch part is
named by a string and follows `studio.train.objective.Loss`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Model = Literal["policy", "reference", "teacher", "reward"]


@dataclass(frozen=True)
class Objective:
    """What is learned from a row.

    `streams` are the names of the row's streams that it reads, `labels` the names of the labels; `models`
    the models it computes with. A `reference` is the tuned model with its method switched off where that is
    possible, else a second copy of the base.
    """

    id: str
    title: str
    summary: str
    params: type
    torch: str
    streams: tuple[str, ...]
    labels: tuple[str, ...] = ()
    models: tuple[Model, ...] = ("policy",)
