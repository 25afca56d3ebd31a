"""What else than training takes memory: answering, and merging a run into its base. No torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backend import memory
from backend.api import PurposeNeed
from backend.chat import runs
from backend.drafts import Considered, Request, require_sizes
from studio.errors import Reason
from studio.generate.precision import choose_precision, stored_precision, weights_bytes
from studio.memory.answering import answering_need, usual_context
from studio.memory.merging import merging_need, stored_bytes
from studio.memory.need import Need
from studio.names import parse
from studio.plan import Plan


@dataclass(frozen=True)
class Subject:
    """What answers or is merged: a base as requested, and what was or would be learned beside it."""

    request: Request
    run: Plan | None  # a run's own plan
    tuned: bool  # False: the untouched base


def subject(runs_folder: Path, model: str, method: str | None, set: Mapping[str, Any]) -> Subject:
    """A model, with a method or without; or a run, which brings its own.

    Raises StudioError `run_missing`, `run_unreadable`.
    """
    name = parse(model)
    if name.kind != "run":
        request = Request(model, None, method or "lora", set, sizes_only=True)
        return Subject(request, None, method is not None)
    base = runs.base_of(runs_folder, name.value)
    body = json.loads((runs_folder / name.value / "plan.json").read_text(encoding="utf-8"))
    return Subject(Request(base, None, set=set, sizes_only=True), Plan.from_dict(body), True)


def chat(subject: Subject, considered: Considered) -> PurposeNeed:
    """Answering: as many rows as the batch, each as long as the sequence."""
    case, hardware = require_sizes(considered), considered.hardware
    facts, chosen = case.model, considered.plan.settings
    rows = 1 if "batch" in considered.reasons else chosen.batch or 1
    usual = usual_context(facts)
    context = usual if "seq" in considered.reasons else chosen.seq or usual
    plan = (subject.run or considered.plan) if subject.tuned else None

    def need(device: str) -> tuple[Need, str, Reason]:
        free = memory.free_bytes(hardware, device)
        capability = memory.capability(hardware, device)
        precision, why = choose_precision(
            stored_precision(facts),
            weights_bytes(facts),
            device,
            memory.fast_bf16(device),
            sys.maxsize if free is None else free,
        )
        return answering_need(facts, precision, rows, context, device, plan, capability), precision, why

    device = str(chosen.device)
    found, precision, why = need(device)
    reasons = (why, *found.reasons.values())
    if "seq" in considered.reasons:
        reasons += (Reason("chat_length_usual", {"seq": context}),)
    shown = memory.shown(plan or considered.plan, facts, found, memory.free_bytes(hardware, device))
    if plan is None:
        shown = replace(shown, method="", trainable_params=0, total_params=facts.parameters or 0)
    return PurposeNeed(
        purpose="chat",
        model=considered.plan.model,
        memory=shown,
        rooms=memory.rooms_by(hardware, device, lambda room: need(room.device)[0].reserved[1]),
        settings={"device": device, "batch": rows, "seq": context, "precision": precision},
        reasons=reasons,
    )


def merge(subject: Subject, considered: Considered) -> PurposeNeed:
    """Merging what a run learned into its base, in main memory.

    Raises StudioError `method_not_mergeable`.
    """
    facts, hardware = require_sizes(considered).model, considered.hardware
    plan = subject.run or considered.plan
    folder = considered.model_folder
    found = merging_need(plan, facts, stored_bytes(folder, facts))
    return PurposeNeed(
        purpose="merge",
        model=considered.plan.model,
        memory=memory.shown(plan, facts, found, hardware.ram_available_bytes),
        rooms=memory.rooms_by(hardware, "cpu", lambda _: found.reserved[1])[:1],
        settings={"device": "cpu"},
        reasons=(Reason("merge_stored" if folder else "merge_usual"),),
        disk_bytes=found.disk,
        disk_free_bytes=hardware.disk_free_bytes,
    )
