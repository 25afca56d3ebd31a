"""What a pass over a plan's rows will take, by what earlier runs and probes on this machine took."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from backend.api import EpochCost
from backend.store.database import Store
from backend.store.plain import to_json
from studio.cost import Spent, cost
from studio.data.check import TokenStats
from studio.defaults import largest_step
from studio.plan import Plan
from studio.train.sampler import steps_per_epoch

LOOKED_AT = 100  # newest runs and probes of a model on a device
RECENT = 5  # of those that are alike, how many the range spans
# What two plans must share for the one's pace to say anything of the other's,
_SAME = ("precision", "gradient_checkpointing", "attention", "loss_kernel")
# and what makes it near, not the same.
_NEAR = ("batch", "accumulation", "seq", "optimizer", "optimizer_impl", "adapter_dtype")


@dataclass(frozen=True)
class _Earlier:
    """A run or a probe that was measured; `plan` as it is stored. `micro_batch` rows went through the model
    at once: fewer than the plan's batch where memory ran out."""

    job: str
    kind: str
    plan: Mapping[str, Any]
    spent: Spent
    micro_batch: int

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of its plan, with the batch and accumulation that it really had."""
        settings = self.plan["settings"]
        passes = settings["accumulation"] * ceil(settings["batch"] / self.micro_batch)
        return {**settings, "batch": self.micro_batch, "accumulation": passes}


def spent_of(result: Mapping[str, Any] | None) -> Spent | None:
    """What a job's steps took, by its result; None where it has none."""
    found = (result or {}).get("spent")
    return None if found is None else Spent(**found)


def costs(
    store: Store,
    plans: Sequence[Plan],
    card: str | None,
    rows: int,
    tokens: TokenStats,
    most_tokens: int | None,
) -> dict[str, EpochCost]:
    """By method, where something like its plan was measured here. The plans share model and device, which
    is this `card` now, and learn from `rows` rows; `tokens` are those of all that the data has, `most_tokens`
    as in `RunFacts`."""
    earlier = _measured(store, plans[0], card)
    found = ((plan.method, _cost(plan, rows, tokens, most_tokens, earlier)) for plan in plans)
    return {method: cost for method, cost in found if cost is not None}


def _steps_and_tokens(plan: Plan, rows: int, tokens: TokenStats) -> tuple[int, int]:
    """Of one pass over the rows."""
    settings = plan.settings
    assert settings.batch is not None
    counted = sum(bucket["rows"] for bucket in tokens.histogram)
    row = min(tokens.total / max(1, counted), settings.seq or tokens.max)
    return steps_per_epoch(rows, settings.batch, settings.accumulation), round(rows * row)


def _measured(store: Store, plan: Plan, card: str | None) -> list[_Earlier]:
    """Runs and probes of the plan's model on its device while it was this card, newest first."""
    rows = store.rows(
        "SELECT id, kind, plan, json_extract(result, '$.spent') AS spent, "
        "coalesce(json_extract(result, '$.micro_batch'), json_extract(plan, '$.settings.batch')) AS rows "
        "FROM job WHERE deleted IS NULL AND kind IN ('train', 'probe') AND spent IS NOT NULL "
        "AND json_extract(plan, '$.model') = ? AND json_extract(devices, '$[0]') = ? "
        "AND json_extract(result, '$.card') IS ? ORDER BY ended DESC LIMIT ?",
        plan.model,
        plan.settings.device,
        card,
        LOOKED_AT,
    )
    return [
        _Earlier(r["id"], r["kind"], json.loads(r["plan"]), Spent(**json.loads(r["spent"])), r["rows"])
        for r in rows
    ]


def _cost(
    plan: Plan, rows: int, tokens: TokenStats, most_tokens: int | None, earlier: Sequence[_Earlier]
) -> EpochCost | None:
    """By the nearest of them; its range spans the newest that are as near."""
    body = json.loads(to_json(plan.as_dict()))
    largest = json.loads(to_json(largest_step(plan, rows, most_tokens).as_dict()))
    near = [
        (one, _differs(largest if one.kind == "probe" else body, one))
        for one in earlier
        if _comparable(body, one.plan)
    ]
    if not near:
        return None
    # A run knows more than a probe; among equals the newest, which comes first.
    best, differs = min(near, key=lambda pair: (len(pair[1]), pair[0].kind != "train"))
    alike = [one for one, others in near if others == differs and one.kind == best.kind][:RECENT]
    work = _steps_and_tokens(plan, rows, tokens)
    found = [cost(one.spent, *work) for one in alike]
    ends = [end for each in found for end in each.range_seconds]
    return EpochCost(found[0].seconds, (min(ends), max(ends)), found[0].joules, best.job, differs)


def _comparable(plan: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    settings, others = plan["settings"], other["settings"]
    return all(plan[key] == other[key] for key in ("method", "objective")) and all(
        settings[key] == others.get(key) for key in _SAME
    )


def _differs(plan: Mapping[str, Any], earlier: _Earlier) -> tuple[str, ...]:
    """Settings in which the earlier plan was another one; all of a method's params are `method`. A probe's
    plan is that of the largest step."""
    settings, others = plan["settings"], earlier.settings
    found = [key for key in _NEAR if settings[key] != others.get(key)]
    return (*found, *(["method"] if plan["method_params"] != earlier.plan["method_params"] else []))
