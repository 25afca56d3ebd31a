"""A plan before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.api.machine import Room
from backend.api.memory import EpochCost, FitProposal, MemoryNeed
from studio.errors import Reason, StudioError


@dataclass(frozen=True)
class Draft:
    """A plan looked at before it starts: every value filled in, why, what is wrong, what it will take."""

    plan: Mapping[str, Any]  # Plan.as_dict() with nothing left open
    reasons: Mapping[str, Reason]  # by setting address, for every automatic choice
    problems: tuple[dict[str, Any], ...]  # {code, key, facts}; empty: it can start
    steps: int | None
    rows: int | None
    heldout_rows: int | None
    memory: MemoryNeed | None  # None: the model's size is not known
    method_needs: Mapping[str, MemoryNeed]  # by method, the others with their defaults; empty if not known
    rooms: tuple[Room, ...]  # the chosen device first
    proposals: tuple[FitProposal, ...] | None  # best first; empty: it fits or nothing helps; None: not sought
    tokens_per_step: int | None  # at most, over all rows of an optimizer step
    epochs: Mapping[str, EpochCost]  # by method, as far as known from earlier work on this machine
    seconds: float | None  # of all steps, by the chosen method's
    command: str  # the same plan as a command line
    offers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # names of the model, by setting
    unable: Mapping[str, StudioError] = field(default_factory=dict)  # methods that can't run there, and why

    @property
    def free_bytes(self) -> int | None:
        """On the chosen device."""
        return self.rooms[0].free_bytes if self.rooms else None
