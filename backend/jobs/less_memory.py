"""After a run had too little memory: the same steps with fewer rows at a time, or an end with advice.

The plan stays as it was asked for. How many rows go through the model at once is kept with the job, as the
reason `micro_batch`, in the same transaction as the next attempt, so no kill comes between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.jobs.kinds import Outcome
from backend.jobs.record import Job
from studio.errors import Reason, StudioError

TIMES = 3  # out of memory so often, a run ends
_KEY = "micro_batch"


def rows_at_once(job: Job) -> int | None:
    """Rows per forward pass of this attempt; None: as the plan has it."""
    rows: int | None = _earlier(job).get("micro_batch")
    return rows


def after_shortage(job: Job, facts: Mapping[str, Any]) -> Outcome:
    """Another attempt with half the rows at a time; `facts` are those of `memory_full`.

    Raises StudioError `memory_too_small` the third time, where there is one row left, or where the model
    itself found no room.
    """
    times = _earlier(job).get("times", 0) + 1
    rows = facts["micro_batch"]
    if times >= TIMES or rows == 1 or not facts["loaded"]:
        raise _too_small(times, facts)
    told = reduced(facts, times)
    half = told["micro_batch"]
    reason = Reason("micro_batch_memory", {"micro_batch": half, "batch": facts["batch"], "times": times})
    return Outcome("again", reasons={_KEY: [reason.code, reason.facts]}, told=("memory_reduced", told))


def reduced(facts: Mapping[str, Any], times: int) -> dict[str, Any]:
    """The event of going on with half the rows at a time."""
    return {
        "step": facts["step"],
        "rows": facts["micro_batch"],
        "micro_batch": (facts["micro_batch"] + 1) // 2,
        "times": times,
        "larger": facts["larger"],
        "probed": False,
        **_compared(facts),
    }


def _too_small(times: int, facts: Mapping[str, Any]) -> StudioError:
    advice = facts["advice"] or [{"code": "smaller_model"}]
    device, rows = facts["device"], facts["micro_batch"]
    if not facts["loaded"]:
        return StudioError(
            "memory_too_small_to_load", device=device, free_bytes=facts["free_bytes"], advice=advice
        )
    return StudioError(
        "memory_too_small",
        device=device,
        times=times,
        micro_batch=rows,
        held_bytes=facts["held_bytes"],
        advice=advice,
        larger=facts["larger"],
        **_compared(facts),
    )


def _compared(facts: Mapping[str, Any]) -> dict[str, int | None]:
    """Prediction and measurement of the part that was larger than thought, or of all."""
    predicted, measured = facts["predicted"], facts["measured"]
    if predicted is None:
        return {"predicted_bytes": None, "measured_bytes": sum(measured.values())}
    parts = [facts["larger"]] if facts["larger"] else list(predicted)
    return {
        "predicted_bytes": sum(predicted[name] for name in parts),
        "measured_bytes": sum(measured[name] for name in parts),
    }


def _earlier(job: Job) -> Mapping[str, Any]:
    return job.reasons[_KEY][1] if _KEY in job.reasons else {}
