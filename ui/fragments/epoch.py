"""Time and energy in words: of an epoch to come, and of the steps that a run took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.api import EpochCost, Spent
from ui.fragments.format import count_text, duration_text, energy_text
from ui.fragments.text import Text


def document(cost: EpochCost | None) -> dict[str, Any]:
    """For JSON: the same fields, null where nothing is known."""
    return {
        "epoch_seconds": cost and cost.seconds,
        "epoch_range_seconds": cost and list(cost.range_seconds),
        "epoch_joules": cost and cost.joules,
        "epoch_from": cost and {"job": cost.source, "differs": list(cost.differs)},
    }


def line(text: Text, costs: Mapping[str, EpochCost], method: str) -> str | None:
    """About how long an epoch takes by a method, what tells that, and the energy where it was read."""
    cost = costs.get(method)
    if cost is None:
        return None
    short = text("epoch.short")
    time, low, high = (
        duration_text(seconds) if seconds >= 1 else short for seconds in (cost.seconds, *cost.range_seconds)
    )
    time = time if time == short else text("epoch.about", time=time)
    if low != high:
        time = text("epoch.range", time=time, low=low, high=high)
    differs = ", ".join(text(f"epoch.differs.{name}") for name in cost.differs)
    source = text("epoch.near", run=cost.source, differs=differs) if differs else cost.source
    energy = cost.joules and text("epoch.energy", energy=energy_text(cost.joules))
    return " ".join(filter(None, (text("epoch.time", time=time, source=source), energy)))


def steps_line(text: Text, spent: Spent | None) -> str | None:
    """What a run's steps took, on average and in all."""
    if spent is None:
        return None
    took = text(
        "epoch.steps",
        each=f"{spent.seconds / spent.steps:.2g}",
        speed=count_text(spent.tokens / spent.seconds),
    )
    energy = spent.joules and text("epoch.steps.energy", energy=energy_text(spent.joules), steps=spent.steps)
    return " ".join(filter(None, (took, energy)))
