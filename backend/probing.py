"""Probes as jobs: asked for, or before a run of which the estimate can't say whether it fits."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from backend.api import Calibration
from backend.drafts import Considered
from backend.jobs import record
from backend.jobs.record import Job
from backend.store.database import Store
from studio.data.check import TokenStats
from studio.memory.estimate import estimate
from studio.memory.key import memory_key
from studio.memory.need import Need
from studio.models.config import ModelFacts
from studio.plan import PLAN_VERSION, Plan

_USUAL_SHARE = 0.5  # of a row's tokens that are learned, where no data says


def ask(connection: sqlite3.Connection, plan: Plan, tokens: TokenStats | None) -> str:
    """Queue a probe of a resolved plan at the longest length that its data has; gives the job's id.

    `tokens` are the data's; without them the plan's length and half of its tokens learned.
    """
    met, learned = worst(plan, tokens)
    assert met.settings.device is not None
    id = record.new_id(connection, "probe")
    body = {**met.as_dict(), "learned": learned}
    record.add(connection, id, "probe", body, plan_version=PLAN_VERSION, devices=(met.settings.device,))
    return id


def worst(plan: Plan, tokens: TokenStats | None) -> tuple[Plan, float]:
    """The plan with the longest rows that there are, and the share of tokens that they learn."""
    if tokens is None:
        return plan, _USUAL_SHARE
    seq = min(tokens.max, plan.settings.seq or tokens.max)
    return plan.with_settings(seq=seq), tokens.learned / max(1, tokens.total)


def result(store: Store, plan: Plan, facts: ModelFacts, tokens: TokenStats | None = None) -> Need | None:
    """What the newest probe of such a plan measured; None if there was none, or it found no room."""
    met, _ = worst(plan, tokens)
    text = store.value(
        "SELECT json_extract(result, '$.need') FROM job WHERE kind = 'probe' AND state = 'done' "
        "AND json_extract(result, '$.key') = ? ORDER BY ended DESC LIMIT 1",
        memory_key(met, facts),
    )
    if text is None:
        return None
    body = json.loads(text)
    return Need("probe", body["parts"], body["moment"], (body["reserved"][0], body["reserved"][1]))


def shortage_before(store: Store, job: Job) -> Mapping[str, Any] | None:
    """The facts of `memory_full` that a probe before this run met; None without such."""
    text = store.value("SELECT json_extract(result, '$.shortage') FROM job WHERE id = ?", job.parent)
    return None if text is None else dict(json.loads(text))


def wanted(considered: Considered, calibrations: Sequence[Calibration], free: int | None) -> bool:
    """Whether the estimate's interval, widened by what was measured here, crosses what is `free`."""
    facts, plan = considered.facts, considered.plan
    if facts is None or facts.parameters is None or free is None or considered.model_folder is None:
        return False
    met, learned = worst(plan, considered.tokens)
    low, high = estimate(met, facts, learned).reserved
    factor = calibrated(calibrations, str(plan.settings.device), plan.method)
    return low * min(1.0, factor) <= free < high * max(1.0, factor)


def calibrated(calibrations: Sequence[Calibration], device: str, method: str) -> float:
    """Measured over predicted for this method on this device; 1 before anything was measured."""
    return next((c.factor for c in calibrations if (c.device, c.method) == (device, method)), 1.0)
