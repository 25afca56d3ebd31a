"""Probes as jobs: when one goes before a run, what it leaves behind, and how it is found again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend import probing
from backend.api import Calibration
from backend.drafts import Considered, Request
from backend.facade import StudioFacade
from studio.errors import StudioError
from studio.memory.estimate import estimate

SETTINGS = {"steps": 3, "batch": 4, "device": "cpu"}


def _considered(facade: StudioFacade, model: Path, data: Path) -> Considered:
    request = Request(str(model), str(data), set=SETTINGS)
    considered = facade._consider(request, facade.hardware())
    considered.raise_if_refused()
    return considered


def test_a_probe_measures_the_longest_rows_and_is_found_by_its_plan(
    working: StudioFacade, model: Path, sums: Path
) -> None:
    considered = _considered(working, model, sums)
    assert considered.facts is not None
    assert considered.tokens is not None
    assert probing.result(working._store, considered.plan, considered.facts, considered.tokens) is None
    probe = working.probe(str(model), str(sums), set=SETTINGS)
    assert (probe, working.run(probe).summary.state) == ("probe-1", "done")
    job = working._runs.job(probe)
    assert job.kind == "probe"
    assert job.plan["settings"]["seq"] == considered.tokens.max
    assert job.plan["learned"] == considered.tokens.learned / considered.tokens.total
    need = probing.result(working._store, considered.plan, considered.facts, considered.tokens)
    assert need is not None
    assert need.source == "probe"
    met, learned = probing.worst(considered.plan, considered.tokens)
    assert need.allocated == pytest.approx(estimate(met, considered.facts, learned).allocated, rel=0.1)
    other = considered.plan.with_settings(batch=5)
    assert probing.result(working._store, other, considered.facts, considered.tokens) is None
    (point,) = working.memory_history()
    assert (point.run, point.source, point.method, point.device) == (probe, "probe", "lora", "cpu")
    assert point.measured_bytes == need.reserved[0]
    (calibration,) = working.calibrations()
    assert calibration.factor == point.measured_bytes / point.predicted_bytes


def test_a_probe_is_no_run(working: StudioFacade, model: Path, sums: Path) -> None:
    working.probe(str(model), str(sums), set=SETTINGS)
    assert working.runs() == []
    assert [job.kind for job in working.runs("probe")] == ["probe"]


def test_it_is_wanted_where_the_interval_crosses_what_is_free(
    facade: StudioFacade, model: Path, sums: Path
) -> None:
    considered = _considered(facade, model, sums)
    assert considered.facts is not None
    met, learned = probing.worst(considered.plan, considered.tokens)
    low, high = estimate(met, considered.facts, learned).reserved

    def wanted(free: float, factor: float) -> bool:
        measured = [Calibration("cpu", "lora", factor, 3), Calibration("cuda:0", "lora", 9.0, 1)]
        return probing.wanted(considered, measured, int(free))

    assert not wanted(free=0.9 * low, factor=1.2)  # it can't fit
    assert wanted(free=(low + high) / 2, factor=1.0)
    assert wanted(free=1.1 * high, factor=1.2)
    assert not wanted(free=1.3 * high, factor=1.2)  # it fits in any case
    assert wanted(free=0.9 * low, factor=0.8)
    assert not probing.wanted(considered, [], None)


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
    assert (need.source, need.reserved_bytes[0]) == ("probe", working.memory_history()[0].measured_bytes)


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
