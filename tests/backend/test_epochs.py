"""Time and energy of an epoch, from runs and probes whose figures are put into the store."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from backend import epochs
from backend.api import EpochCost
from backend.facade import StudioFacade
from backend.jobs import record
from studio.cost import Spent
from studio.data.check import TokenStats
from studio.plan import Plan, parse_request

SETTINGS = {"batch": 4, "seq": 64, "device": "cpu", "precision": "fp32", "epochs": 2.0}
# 60 rows of 25 tokens; 52 are trained on: 13 steps of 4 rows, 1300 tokens an epoch.
TOKENS = TokenStats(1500, 600, 20, 25, 30, 30, ({"upto": 32, "rows": 60},), None, 0, 0, 60)
ROWS = 52


def plan_of(method: str = "lora", **settings: Any) -> Plan:
    return parse_request("path:/a/model", "sums", method, set={**SETTINGS, **settings})


def measured(
    facade: StudioFacade,
    plan: Plan,
    spent: Spent | None,
    kind: str = "train",
    micro_batch: int | None = None,
    card: str | None = None,
) -> str:
    """A job that is done, in the store."""
    device = str(plan.settings.device)
    with facade._store.writing() as connection:
        id = record.new_id(connection, "sums" if kind == "train" else kind)
        body = {"spent": spent and asdict(spent), "micro_batch": micro_batch, "card": card}
        record.add(connection, id, kind, plan.as_dict(), devices=(device,), state="running")
        record.move(connection, record.find(connection, id), "finish", result=body, ended=time.time())
    return id


def found(facade: StudioFacade, plan: Plan, card: str | None = None) -> EpochCost | None:
    return epochs.costs(facade._store, [plan], card, ROWS, TOKENS, TOKENS.max).get(plan.method)


def test_a_run_of_the_same_plan_gives_its_tokens_per_second(facade: StudioFacade) -> None:
    assert found(facade, plan_of()) is None
    run = measured(facade, plan_of(), Spent(26, 2600, 5.2, 78.0))  # 100 tokens a step as here, 0.2 s each
    assert found(facade, plan_of()) == EpochCost(
        pytest.approx(2.6), (pytest.approx(2.6), pytest.approx(2.6)), pytest.approx(39.0), run, ()
    )


def test_a_card_in_the_place_of_another_has_a_pace_of_its_own(facade: StudioFacade) -> None:
    measured(facade, plan_of(device="cuda:0"), Spent(26, 2600, 5.2, None), card="NVIDIA L4")
    assert found(facade, plan_of(device="cuda:0"), "NVIDIA L4") is not None
    assert found(facade, plan_of(device="cuda:0"), "NVIDIA H100 80GB HBM3") is None
    assert found(facade, plan_of(device="cuda:0")) is None


def test_another_batch_is_near_and_its_range_says_what_that_may_make(facade: StudioFacade) -> None:
    run = measured(facade, plan_of(), Spent(26, 2600, 5.2, None))
    one = found(facade, plan_of(batch=1, rank=4))  # 52 steps of 25 tokens
    assert one == EpochCost(pytest.approx(2.6), (pytest.approx(2.6), 10.4), None, run, ("batch", "method"))


def test_a_run_that_was_halved_for_lack_of_memory_is_one_of_fewer_rows(facade: StudioFacade) -> None:
    run = measured(facade, plan_of(), Spent(26, 2600, 5.2, None), micro_batch=2)
    halved = found(facade, plan_of())
    assert halved is not None
    assert (halved.source, halved.differs) == (run, ("batch", "accumulation"))
    same = found(facade, plan_of(batch=2, accumulation=2))
    assert same is not None
    assert same.differs == ()


def test_the_nearest_run_counts_and_runs_that_are_as_near_widen_the_range(facade: StudioFacade) -> None:
    slow = measured(facade, plan_of(), Spent(26, 2600, 7.8, None))
    fast = measured(facade, plan_of(), Spent(26, 2600, 5.2, None))
    measured(facade, plan_of(batch=8), Spent(26, 5200, 1.0, None))
    same = found(facade, plan_of())
    assert same is not None
    assert (same.source, same.differs) == (fast, ())
    assert same.range_seconds == (pytest.approx(2.6), pytest.approx(3.9))
    facade.delete(fast)
    after = found(facade, plan_of())
    assert after is not None
    assert after.source == slow


@pytest.mark.parametrize(
    "other",
    [
        {"method": "full"},
        {"precision": "mixed"},
        {"gradient_checkpointing": True},
        {"attention": "eager"},
        {"device": "cuda:0"},
    ],
    ids=str,
)
def test_what_computes_otherwise_says_nothing(facade: StudioFacade, other: dict[str, Any]) -> None:
    measured(facade, plan_of(**other), Spent(26, 2600, 5.2, None))
    measured(facade, replace(plan_of(), model="path:/another"), Spent(26, 2600, 5.2, None))
    measured(facade, plan_of(), None)  # of one step: it was never warm
    assert found(facade, plan_of()) is None


def test_a_probe_took_the_longest_rows_and_is_no_other_plan_for_that(facade: StudioFacade) -> None:
    met = plan_of(seq=TOKENS.max)
    probe = measured(facade, met, Spent(1, 4 * 30, 0.3, 6.0), kind="probe")
    # At most as long as 13 such steps; by the token five sixths of that.
    assert found(facade, plan_of()) == EpochCost(
        pytest.approx(3.25), (pytest.approx(3.25), pytest.approx(3.9)), pytest.approx(65.0), probe, ()
    )
    # Where not all rows were looked at, the longest may be longer than those that were.
    sampled = epochs.costs(facade._store, [plan_of()], None, ROWS, TOKENS, None)["lora"]
    assert sampled.differs == ("seq",)
    run = measured(facade, plan_of(), Spent(26, 2600, 5.2, None))
    after = found(facade, plan_of())
    assert after is not None
    assert after.source == run


def test_a_probe_and_a_draft_of_the_same_plan(working: StudioFacade, model: Path, sums: Path) -> None:
    given = {"batch": 4, "epochs": 2, "device": "cpu"}
    before = working.draft(str(model), str(sums), set=given)
    assert (before.epochs, before.seconds) == ({}, None)
    probe = working.probe(str(model), str(sums), set=given)
    result = working._runs.job(probe).result
    tokens = working.check(str(sums), str(model)).tokens
    assert result is not None
    assert tokens is not None
    assert result["spent"]["tokens"] == 4 * tokens["max"]
    draft = working.draft(str(model), str(sums), set=given)
    epoch = draft.epochs["lora"]
    assert (epoch.source, epoch.differs, set(draft.epochs)) == (probe, (), {"lora"})
    step = result["spent"]["seconds"]
    assert epoch.range_seconds[1] == pytest.approx(ceil(52 / 4) * step)
    assert epoch.seconds == pytest.approx(52 * tokens["total"] / 60 * step / (4 * tokens["max"]), rel=1e-3)
    assert draft.seconds == 2 * epoch.seconds


def test_a_run_tells_the_next_plan(working: StudioFacade, model: Path, sums: Path) -> None:
    given = {"batch": 4, "steps": 6, "device": "cpu"}
    run = working.start(str(model), str(sums), set=given)
    seconds, tokens = working.series([run], ["step_seconds", "tokens"])
    spent = working.run(run).spent
    assert spent is not None
    assert spent.steps == 5
    assert spent.seconds == pytest.approx(sum(value or 0 for value in seconds.values[1:]))
    assert spent.tokens == (tokens.values[-1] or 0) - (tokens.values[0] or 0)
    epoch = working.draft(str(model), str(sums), set=given).epochs["lora"]
    assert (epoch.source, epoch.differs) == (run, ())
    described = {"kbit_casts": True}
    assert working.estimate(str(model), str(sums), set=given).epochs.keys() == {"lora"}
    assert working.estimate(str(model), str(sums), set=given, other=described).epochs == {}
    assert working.estimate(str(model), set=given).epochs == {}
