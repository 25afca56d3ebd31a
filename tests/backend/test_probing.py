"""Probes as jobs: when one goes before a run, what it leaves behind, and how it is found again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend import calibration, probing
from backend.api import Calibration
from backend.calibration import Known
from backend.drafts import Considered, Request
from backend.facade import StudioFacade
from backend.jobs import record
from backend.store.lineage import compared
from studio.defaults import largest_step
from studio.errors import StudioError
from studio.memory.cards import Card
from studio.memory.estimate import estimate
from studio.memory.key import memory_key
from studio.memory.need import Need
from studio.models import catalogue

SETTINGS = {"steps": 3, "batch": 4, "device": "cpu"}


def _considered(facade: StudioFacade, model: Path, data: Path, **settings: int) -> Considered:
    request = Request(str(model), str(data), set={**SETTINGS, **settings})
    considered = facade._consider(request, facade.hardware())
    considered.raise_if_refused()
    return considered


def test_a_probe_measures_the_longest_rows_and_the_next_look_at_the_plan_goes_by_it(
    working: StudioFacade, model: Path, sums: Path
) -> None:
    considered = _considered(working, model, sums)
    assert considered.measured.probed == {}
    assert considered.case is not None
    assert considered.tokens is not None
    estimated = considered.case.need()
    probe = working.probe(str(model), str(sums), set=SETTINGS)
    assert (probe, working.run(probe).summary.state) == ("probe-1", "done")
    job = working._runs.job(probe)
    assert job.kind == "probe"
    assert job.plan["settings"]["seq"] == considered.tokens.max
    assert job.plan["learned"] == considered.tokens.learned / considered.tokens.total
    found = probing.found(job)
    assert found.allocated == pytest.approx(estimated.allocated, rel=0.1)
    memory = working.draft(str(model), str(sums), set=SETTINGS).memory
    assert memory is not None
    assert memory.probed is not None
    assert (memory.source, memory.probed.source) == ("estimate", "probe")
    # The estimate stays the formula's; what has to be free is what was measured.
    assert (memory.parts, memory.reserved_bytes) == (estimated.parts, estimated.reserved)
    assert memory.needed_bytes == memory.probed.needed_bytes == found.reserved[1] != estimated.reserved[1]
    assert working.estimate(str(model), str(sums), set=SETTINGS).memory == memory
    (point,) = working.memory_history()
    assert (point.run, point.source, point.method, point.device) == (probe, "probe", "lora", "cpu")
    # The process itself is no part of what the run was measured at.
    assert point.measured_bytes == found.reserved[0] - found.parts["context"]
    (here,) = working.calibrations()
    assert here.factor == point.measured_bytes / point.predicted_bytes
    assert memory.calibration == here


def test_what_was_probed_decides_whether_it_fits(
    working: StudioFacade, model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = working.probe(str(model), str(sums), set=SETTINGS)
    measured = probing.found(working._runs.job(probe)).reserved[1]
    for free, fits in ((measured - 1, "no"), (measured, "tight"), (2 * measured, "yes")):
        report = replace(working.hardware(), devices=(), ram_available_bytes=free)
        monkeypatch.setattr("backend.facade.report", lambda *_, report=report, **__: report)
        draft = working.draft(str(model), str(sums), set=SETTINGS)
        assert draft.memory is not None
        assert (draft.memory.fits, draft.rooms[0].fits) == (fits, fits)


def test_other_settings_and_rows_with_more_to_learn_are_other_plans(
    working: StudioFacade, model: Path, sums: Path, tmp_path: Path
) -> None:
    working.probe(str(model), str(sums), set=SETTINGS)
    turned = tmp_path / "turned.jsonl"  # rows as long, in which more is learned
    rows = [json.loads(line) for line in sums.read_text().splitlines()]
    turned.write_text(
        "".join(json.dumps({"prompt": r["completion"], "completion": r["prompt"]}) + "\n" for r in rows)
    )
    same, more = _considered(working, model, sums), _considered(working, model, turned)
    assert same.known.most_tokens == more.known.most_tokens
    assert same.measured.probed.keys() == {"lora"}
    assert more.measured.probed == {}
    assert _considered(working, model, sums, batch=5).measured.probed == {}


def test_a_probe_is_no_run(working: StudioFacade, model: Path, sums: Path) -> None:
    working.probe(str(model), str(sums), set=SETTINGS)
    assert working.runs() == []
    assert [job.kind for job in working.runs("probe")] == ["probe"]


def test_it_is_wanted_where_the_interval_crosses_what_is_free(
    facade: StudioFacade, model: Path, sums: Path
) -> None:
    considered = _considered(facade, model, sums)
    (case, *_) = considered.cases
    low, high = case.need().reserved

    def wanted(free: float | None, factor: float) -> bool:
        room = None if free is None else int(free)
        known = Known({}, {"lora": Calibration("cpu", None, "lora", factor, 3)})
        there = replace(
            case, facts=replace(case.facts, free_bytes=room), experiences=known.experiences([case])
        )
        return probing.wanted(replace(considered, cases=(there,), measured=known))

    tensors = case.need().allocated
    more = 1.2 * high / tensors  # of tensors alone more than the interval has room for
    assert not wanted(free=0.9 * low, factor=more)  # it can't fit
    assert wanted(free=(low + high) / 2, factor=1.0)
    assert wanted(free=1.1 * high, factor=more)
    assert not wanted(free=2.5 * high, factor=more)  # it fits in any case
    assert wanted(free=low - 0.1 * tensors, factor=0.8)
    assert not wanted(free=low - 0.3 * tensors, factor=0.8)
    assert not wanted(free=None, factor=1.0)


def test_it_is_wanted_where_an_allocator_could_give_back_enough(
    facade: StudioFacade, model: Path, sums: Path
) -> None:
    considered = _considered(facade, model, sums)
    entry = catalogue.find("hub:Qwen/Qwen2.5-7B-Instruct")
    assert entry is not None
    known = replace(considered.known, model=entry.facts, device="cuda:0", most_tokens=None)
    large = {"batch": 8, "seq": 4096, "gradient_checkpointing": True}
    plan = considered.plan.with_settings(device="cuda:0", precision="bf16", **large)
    case = replace(considered.cases[0], plan=plan, facts=known, experiences={})
    low, _ = case.need().reserved
    free = low - 1  # played back it takes more than that; its tensors do not
    for capacity, wanted in ((None, False), (free + 1, True)):
        there = replace(case, facts=replace(known, free_bytes=free, capacity=capacity))
        assert probing.wanted(replace(considered, cases=(there,), measured=Known())) == wanted


def test_the_same_plan_is_probed_once(
    working: StudioFacade, model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (case, *_) = _considered(working, model, sums).cases
    report = replace(working.hardware(), devices=(), ram_available_bytes=sum(case.need().reserved) // 2)
    monkeypatch.setattr("backend.facade.report", lambda *_, **__: report)
    for _ in range(2):
        working.start(str(model), str(sums), set=SETTINGS)
    assert len(working.runs()) == 2
    assert len(working.runs("probe")) == 1


def test_a_probe_that_goes_before_a_run_is_claimed_before_it(
    facade: StudioFacade, model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "wanted", lambda *_: True)
    run = facade.start(str(model), str(sums), set=SETTINGS)
    states = {job.run: job.state for job in facade.runs("all")}
    assert states == {"probe-1": "running", run: "queued"}
    assert facade._runs.job(run).parent == "probe-1"
    assert probing.shortage_before(facade._store, facade._runs.job(run)) is None


def test_a_run_whose_probe_fitted_is_a_run_like_any_other(
    working: StudioFacade, model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "wanted", lambda *_: True)
    run = working.start(str(model), str(sums), set=SETTINGS)
    assert working.run(run).summary.state == "done"
    assert [point.source for point in working.memory_history()] == ["probe", "estimate"]
    kinds = [event["kind"] for event in working.run(run).events]
    assert "memory_reduced" not in kinds


def test_a_probe_without_rows_takes_the_length_that_was_asked_for(working: StudioFacade, model: Path) -> None:
    probe = working.probe(str(model), set={"batch": 2, "seq": 40, "device": "cpu"})
    job = working._runs.job(probe)
    assert (job.plan["settings"]["seq"], job.plan["learned"], job.plan["dataset"]) == (40, 1.0, "")
    need = working.probed(probe)
    measured = working.memory_history()[0].measured_bytes
    assert (need.source, need.reserved_bytes[0] - need.parts["context"]) == ("probe", measured)


def test_what_a_probe_ended_with_is_said(working: StudioFacade, model: Path) -> None:
    probe = working.probe(str(model), set={"batch": 2, "seq": 40, "device": "cpu"})
    job = working._runs.job(probe)
    shortage = {"device": "cpu", "detail": "no room", "batch": 2, "seq": 40}
    for change, code in (
        ({"result": {"need": None, "shortage": shortage}}, "memory_full"),
        ({"result": None, "error": {"code": "model_missing", "facts": {"path": "x"}}}, "model_missing"),
        ({"result": None, "state": "stopped"}, "probe_ended"),
    ):
        with pytest.raises(StudioError) as caught:
            probing.found(replace(job, **change))
        assert caught.value.code == code


def test_what_a_card_took_says_nothing_of_another_in_its_place(
    facade: StudioFacade, model: Path, sums: Path
) -> None:
    considered = _considered(facade, model, sums)
    (case, *_) = considered.cases
    found = case.need()
    plan = considered.plan.as_dict()
    key = memory_key(
        largest_step(considered.plan, case.facts.rows, considered.known.most_tokens),
        case.model,
        case.facts.learned,
    )
    predicted, measured = {"peak_bytes": found.allocated, "parts": {}}, {"peak_bytes": 1, "parts": {}}
    with facade._store.writing() as connection:
        for kind in ("train", "probe"):
            id = record.new_id(connection, kind)
            record.add(connection, id, kind, plan, devices=("cpu",), state="running")
            result = {"card": "one", "key": key, "need": found.as_dict()}
            record.move(connection, record.find(connection, id), "finish", result=result)
            connection.execute(*compared(id, 1, "estimate", predicted, measured))
    same, other = (calibration.known(facade._store, [case], card) for card in ("one", "another"))
    assert (same.probed.keys(), same.calibrations.keys()) == ({"lora"}, {"lora"})
    assert same.calibrations["lora"].card == "one"
    assert (other.probed, other.calibrations) == ({}, {})


def test_what_a_probe_is_compared_with_is_of_its_card(
    working: StudioFacade, model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, object]] = []

    def thought(*given: Any, **of: Any) -> Need:
        told.append(of)
        return estimate(*given, **of)

    monkeypatch.setattr("backend.jobs.kinds.probe.card_here", lambda _: Card(2**34, (9, 0)))
    monkeypatch.setattr("backend.jobs.kinds.probe.estimate", thought)
    working.probe(str(model), str(sums), set=SETTINGS)
    assert told == [{"capacity": 2**34, "capability": (9, 0)}]


def test_a_probe_that_finds_no_room_is_of_the_card_that_had_none(
    working: StudioFacade, model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.jobs.kinds.probe.card", lambda _: "one")
    monkeypatch.setattr("backend.memory.card", lambda *_: "one")
    working.probe(str(model), str(sums), set=SETTINGS)
    assert _considered(working, model, sums).measured.probed.keys() == {"lora"}

    def full(*_: object) -> None:
        raise StudioError("memory_full", device="cuda:0", detail="no room", batch=4, seq=40)

    monkeypatch.setattr("backend.jobs.kinds.probe._measure", full)
    probe = working.probe(str(model), str(sums), set=SETTINGS)
    assert working.run(probe).summary.state == "done"
    assert _considered(working, model, sums).measured.probed == {}
