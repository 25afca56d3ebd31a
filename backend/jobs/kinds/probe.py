"""A probe: one real step of a plan on its device. It is done also if it finds no room: that is its answer."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from backend.jobs.kinds import Outcome, Work
from backend.jobs.kinds.train import card, model_folder, worker_device
from backend.memory_history import stored
from backend.store.lineage import compared
from studio.errors import StudioError
from studio.memory.estimate import estimate
from studio.memory.key import memory_key
from studio.memory.process import card_here
from studio.models.config import read_config
from studio.models.survey_apart import Surveys
from studio.plan import Plan

if TYPE_CHECKING:
    from studio.memory.probe import Probed


class ProbeKind:
    id = "probe"

    def run(self, work: Work) -> Outcome:
        """See `Kind.run`. The result: `key` (of `memory_key`), the GPU (`card`), `need` and what a step
        `spent` or None, facts of a `shortage`."""
        plan, learned = Plan.from_dict(work.job.plan), work.job.plan["learned"]
        model = model_folder(work, plan.model)
        facts = read_config(model, Surveys(work.home.surveys))
        device, key = worker_device(work), memory_key(plan, facts, learned)
        result = {"key": key, "need": None, "spent": None, "shortage": None}
        work.sink.phase("probing", None)
        try:
            probed = _measure(plan, model, device, learned)
        except StudioError as error:
            if error.code != "memory_full":
                raise
            return Outcome("finish", {**result, "card": card(device), "shortage": error.facts})
        if facts.parameters is not None:
            here = card_here(device)
            thought = estimate(plan, facts, learned, capacity=here.capacity, capability=here.capability)
            both = stored(thought, probed.measured)
            work.writer.statements([compared(work.job.id, work.job.attempt, "probe", *both)])
        found = {"card": card(device), "need": probed.need.as_dict(), "spent": asdict(probed.spent)}
        return Outcome("finish", {**result, **found})


KIND = ProbeKind()


def _measure(plan: Plan, model: Path, device: str, learned: float) -> Probed:
    from studio.memory.probe import measure

    return measure(plan, model, device, learned)
