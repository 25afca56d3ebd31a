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
from studio.errors import StudioError
from studio.memory.estimate import estimate
from studio.memory.key import memory_key
from studio.memory.need import Need
from studio.models.config import ModelFacts
from studio.plan import PLAN_VERSION, Plan

_USUAL_SHARE = 0.5  # of a row's tokens that are learned, where no data says


def ask(
    connection: sqlite3.Connection, plan: Plan, tokens: TokenStats | None, learned: float = _USUAL_SHARE
) -> str:
    """Queue a probe of a resolved plan at the longest length that its data has; gives the job's id.

    `tokens` are the data's; without them the plan's length and a share of `learned` tokens.
    """
    met, learned = worst(plan, tokens, learned)
    assert met.settings.device is not None
    id = record.new_id(connection, "probe")
    body = {**met.as_dict(), "learned": learned}
    record.add(connection, id, "probe", body, plan_version=PLAN_VERSION, devices=(met.settings.device,))
    return id


def worst(plan: Plan, tokens: TokenStats | None, learned: float = _USUAL_SHARE) -> tuple[Plan, float]:
    """The plan with the longest rows that there are, and the share of tokens that they learn."""
    if tokens is None:
        return plan, learned
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
    return None if text is None else Need.from_dict(json.loads(text))


def found(job: Job) -> Need:
    """What an ended probe measured.

    Raises StudioError `memory_full` where it found no room, what it failed with, or `probe_ended`.
    """
    result = job.result or {}
    if result.get("need") is not None:
        return Need.from_dict(result["need"])
    if result.get("shortage") is not None:
        raise StudioError("memory_full", **result["shortage"])
    if job.error is not None:
        raise StudioError.from_dict(job.error)
    raise StudioError("probe_ended", probe=job.id, state=job.state)


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
