"""Whether a plan fits: its estimate, kept, against what is free. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from studio.memory.cards import Capability
from studio.memory.estimate import estimate
from studio.memory.lasting import lasting_bytes
from studio.memory.need import Need
from studio.memory.reserved import on_card
from studio.memory.workload import Workload
from studio.models.config import ModelFacts
from studio.plan import Plan, Settings

Verdict = Literal["yes", "tight", "no"]
# Of what is free: other programs come and go, and a run that fills all of it has no room for their next move.
TIGHT = 0.9
# Settings that no byte depends on; plans that differ only in these share an estimate.
_WEIGHTLESS = {
    name: getattr(Settings(), name)
    for name in (
        *("steps", "epochs", "lr", "seed", "schedule", "warmup", "weight_decay"),
        *("eval_every", "keep_checkpoints"),
    )
}


def need_of(
    plan: Plan,
    facts: ModelFacts | None,
    learned: float,
    capacity: int | None = None,
    capability: Capability | None = None,
) -> Need | None:
    """The estimate of a resolved plan, None where the model's number of parameters is not known.

    Looking at the same plan again costs nothing. `learned`, `capacity` and `capability` as for `estimate`.
    """
    if facts is None or facts.parameters is None:
        return None
    need = _kept(plan.with_settings(**_WEIGHTLESS), facts, learned, capability)
    return on_card(need, (plan.settings.device or "").partition(":")[0], capacity, capability)


@lru_cache(maxsize=4096)
def _kept(plan: Plan, facts: ModelFacts, learned: float, capability: Capability | None) -> Need:
    return estimate(plan, facts, learned, capability=capability)


def least_bytes(plan: Plan, facts: ModelFacts) -> int:
    """What lives all through a step after the first: no estimate of a resolved plan is lower."""
    return sum(lasting_bytes(Workload(plan, facts, learned=1.0)).values())


@dataclass(frozen=True)
class Experience:
    """What measurements on this machine make of an estimate: times all that a process may take (`whole`, by a
    probe of the very plan), or at least times what lives at the worst moment (`tensors`, by runs like it)."""

    whole: float | None = None
    tensors: float = 1.0

    def needed(self, need: Need) -> int:
        """What must be free: the upper end of what the process may take, by what was measured."""
        if self.whole is not None:
            return round(self.whole * need.reserved[1])
        # What the process itself takes is the same for small runs and large ones.
        return max(need.reserved[1], round(self.tensors * need.allocated) + need.parts.get("context", 0))

    def least(self, tensors: int) -> float:
        """No less than this has to be free for so many bytes of tensors."""
        return (self.tensors if self.whole is None else self.whole) * tensors


UNMEASURED = Experience(whole=1.0)


def within(need: Need, room: float, experience: Experience = UNMEASURED) -> bool:
    """Whether it needs no more than `room` bytes. What its tensors take is known sooner than the rest."""
    return experience.least(need.allocated) <= room and experience.needed(need) <= room


def verdict(needed: int | None, free: int | None) -> Verdict | None:
    """Whether it fits: `tight` means that less than a tenth stays free; None if either number is unknown."""
    if needed is None or free is None:
        return None
    if needed <= TIGHT * free:
        return "yes"
    return "tight" if needed <= free else "no"
