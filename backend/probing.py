"""Probes as jobs: asked for, or before a run of which the estimate can't say whether it fits."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from backend.drafts import Considered
from backend.jobs import record
from backend.jobs.record import Job
from backend.store.database import Store
from studio.defaults import largest_step
from studio.errors import StudioError
from studio.memory.need import Need
from studio.plan import PLAN_VERSION


def ask(connection: sqlite3.Connection, considered: Considered) -> str:
    """Queue a probe of a plan at the longest length that its data has; gives the job's id."""
    plan = largest_step(considered.plan, considered.known.rows, considered.known.most_tokens)
    assert plan.settings.device is not None
    id = record.new_id(connection, "probe")
    body = {**plan.as_dict(), "learned": considered.known.learned}
    record.add(connection, id, "probe", body, plan_version=PLAN_VERSION, devices=(plan.settings.device,))
    return id


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


def wanted(considered: Considered) -> bool:
    """Whether the estimate's interval, widened by what was measured here, crosses what is free. What was
    probed already is not probed again."""
    case, method = considered.case, considered.plan.method
    if case is None or case.facts.free_bytes is None or considered.model_folder is None:
        return False
    if method in considered.measured.probed:
        return False
    runs = considered.measured.calibrations.get(method)
    need, spared = case.need(), max(0.0, 1.0 - runs.factor) if runs else 0.0
    low = need.reserved[0] - spared * need.allocated
    return low <= case.free < case.needed()
