"""A run without memory enough, under a real limit on its worker: fewer rows at a time, or advice."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.facade import StudioFacade
from backend.jobs import record
from backend.jobs.launchers.local import LocalLauncher
from backend.jobs.less_memory import after_shortage, rows_at_once
from backend.jobs.processes import end_by_force
from backend.jobs.record import Job
from studio.errors import StudioError
from tests.backend.launchers import HereAndNow
from tests.backend.limited_worker import MODULE, ROOM
from ui.words import Words

MIB = 2**20
Start = Callable[..., tuple[StudioFacade, str]]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts all memory on Linux only")
SEQ, BATCH = 256, 16
# The whole batch takes about 500 MiB beside what a worker's imports do, half of it 275.
SETTINGS = {
    "batch": BATCH,
    "seq": SEQ,
    "steps": 4,
    "eval_every": 2,
    "lr": 0.001,
    "dropout": 0.0,
    "precision": "fp32",
    "adapter_dtype": "fp32",
    "device": "cpu",
}


@pytest.fixture(scope="session")
def long_rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    """48 rows, all of them cut at `SEQ` tokens; 8 are held out."""
    file = tmp_path_factory.mktemp("rows") / "long.jsonl"
    rows = ({"prompt": f"Say {i} often.", "completion": f"{i} and " * 300} for i in range(48))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.fixture
def run(home: Path, long_rows: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Runs the starter with so much room beyond what a worker's imports take."""
    facades = []

    # Freed tensors go back to the system at once, so that the limit meets what lives and no more.
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", str(2**18))

    def start(room: int, doom: dict[str, tuple[str, int]] | None = None) -> tuple[StudioFacade, str]:
        monkeypatch.setenv(ROOM, str(room))
        monkeypatch.setenv("STUDIO_TEST_DOOM", json.dumps(doom or {}))
        facade = StudioFacade(home, launcher=LocalLauncher(MODULE))
        facades.append(facade)
        return facade, facade.start("starter", long_rows, set=SETTINGS)

    yield start
    for facade in facades:
        for job in record.live(facade._store.connection):
            if job.process is not None:
                end_by_force(job.process)
        facade.close()


def _events(facade: StudioFacade, run: str, kind: str) -> list[dict[str, Any]]:
    return [event["body"] for event in facade.run(run).events if event["kind"] == kind]


@pytest.fixture(scope="session")
def undisturbed(long_rows: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The curves of the run that had memory enough."""
    facade = StudioFacade(tmp_path_factory.mktemp("undisturbed"), launcher=HereAndNow())
    run = facade.start("starter", long_rows, set=SETTINGS)
    assert facade.run(run).summary.state == "done"
    curves = _curves(facade, run)
    facade.close()
    return curves


def _curves(facade: StudioFacade, run: str) -> dict[str, Any]:
    return {
        s.name: dict(zip(s.steps, s.values, strict=True)) for s in facade.series([run], ["loss", "eval_loss"])
    }


def _assert_same(curves: dict[str, Any], undisturbed: dict[str, Any]) -> None:
    for name, values in undisturbed.items():
        assert curves[name] == pytest.approx(values, rel=1e-4), name


@pytest.mark.worker
@on_linux
def test_a_batch_that_does_not_fit_is_halved_and_the_run_is_the_same(
    run: Start, undisturbed: dict[str, Any]
) -> None:
    facade, id = run(390 * MIB)
    ended = list(facade.wait(id))[-1]
    assert ended.state == "done", (ended.error, facade.log_tail(id))
    assert ended.attempt == 2
    (told,) = _events(facade, id, "memory_reduced")
    assert (told["rows"], told["micro_batch"], told["step"], told["times"]) == (BATCH, BATCH // 2, 0, 1)
    detail = facade.run(id)
    assert detail.plan["settings"]["batch"] == BATCH
    assert (facade._runs.job(id).result or {})["micro_batch"] == BATCH // 2
    assert Words().reason(detail.reasons["micro_batch"]).startswith("8 of the batch's 16 rows")
    _assert_same(_curves(facade, id), undisturbed)


@pytest.mark.worker
@pytest.mark.slow
@on_linux
def test_killed_after_it_was_halved_it_goes_on_halved(run: Start, undisturbed: dict[str, Any]) -> None:
    facade, id = run(390 * MIB, {"2": ("loss", 3)})
    assert list(facade.wait(id))[-1].state == "interrupted"
    assert facade.run(id).checkpoints == (2,)
    facade.resume(id)
    ended = list(facade.wait(id))[-1]
    assert (ended.state, ended.attempt) == ("done", 3)
    assert len(_events(facade, id, "memory_reduced")) == 1
    assert {"step": 2, "attempt": 3} in _events(facade, id, "resumed")
    _assert_same(_curves(facade, id), undisturbed)


@pytest.mark.worker
@pytest.mark.slow
@on_linux
def test_what_never_fits_ends_the_third_time_with_advice(run: Start) -> None:
    facade, id = run(80 * MIB)
    ended = list(facade.wait(id))[-1]
    assert (ended.state, ended.attempt) == ("failed", 3)
    assert [told["micro_batch"] for told in _events(facade, id, "memory_reduced")] == [8, 4]
    assert ended.error is not None
    error = StudioError.from_dict(ended.error)
    assert (error.code, error.facts["times"], error.facts["micro_batch"]) == ("memory_too_small", 3, 4)
    assert 20 * MIB < error.facts["held_bytes"] <= 80 * MIB
    # By the estimate a row takes about 28 MiB beside 14 MiB that live all the time.
    assert "one_row" in [advice["code"] for advice in error.facts["advice"]]
    assert all(advice["needed_bytes"] <= error.facts["held_bytes"] for advice in error.facts["advice"])
    cause, remedy = Words().error(error)
    assert "3 times, at last with 4 rows at a time" in cause
    assert "one row at a time" in remedy


@pytest.mark.worker
@pytest.mark.slow
@on_linux
def test_a_probe_that_finds_no_room_makes_the_run_begin_with_half(
    run: Start, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.probing.wanted", lambda *_: True)
    facade, id = run(390 * MIB)
    ended = list(facade.wait(id))[-1]
    assert (ended.state, ended.attempt) == ("done", 1)
    (probe,) = facade.runs("probe")
    assert (probe.state, facade._runs.job(id).parent) == ("done", probe.run)
    (told,) = _events(facade, id, "memory_reduced")
    assert (told["rows"], told["micro_batch"], told["probed"]) == (BATCH, BATCH // 2, True)
    _assert_same(_curves(facade, id), undisturbed)


def _job(reasons: dict[str, Any]) -> Job:
    """Only what was decided before matters."""
    blank = dict.fromkeys(Job.__dataclass_fields__)
    return Job(**{**blank, "reasons": reasons})  # type: ignore[arg-type]


SHORTAGE = {
    "device": "cpu",
    "batch": 7,
    "micro_batch": 7,
    "step": 3,
    "loaded": True,
    "free_bytes": 100,
    "held_bytes": 90,
    "predicted": {"weights": 40, "adapter": 0, "optimizer": 10, "step": 30},
    "measured": {"weights": 40, "adapter": 0, "optimizer": 10, "step": 60},
    "larger": "step",
    "advice": [],
}


def test_rows_are_halved_up_to_the_third_time() -> None:
    job, rows = _job({}), []
    assert rows_at_once(job) is None
    for _ in range(2):
        outcome = after_shortage(job, SHORTAGE | {"micro_batch": rows_at_once(job) or 7})
        assert (outcome.happening, outcome.told and outcome.told[0]) == ("again", "memory_reduced")
        job = _job(dict(outcome.reasons))
        rows.append(rows_at_once(job))
    assert rows == [4, 2]
    with pytest.raises(StudioError) as refusal:
        after_shortage(job, SHORTAGE | {"micro_batch": 2})
    assert (refusal.value.code, refusal.value.facts["times"]) == ("memory_too_small", 3)
    assert "smaller model" in Words().error(refusal.value)[1]


def test_the_part_that_was_larger_is_named_with_its_sizes() -> None:
    told = after_shortage(_job({}), SHORTAGE).told
    assert told is not None
    assert {k: told[1][k] for k in ("larger", "predicted_bytes", "measured_bytes")} == {
        "larger": "step",
        "predicted_bytes": 30,
        "measured_bytes": 60,
    }
    told = after_shortage(_job({}), SHORTAGE | {"larger": None}).told
    assert told is not None
    assert (told[1]["predicted_bytes"], told[1]["measured_bytes"]) == (80, 110)


@pytest.mark.parametrize(
    ("found", "code"),
    [({"micro_batch": 1}, "memory_too_small"), ({"loaded": False}, "memory_too_small_to_load")],
)
def test_where_halving_is_no_help_the_run_ends_at_once(found: dict[str, Any], code: str) -> None:
    with pytest.raises(StudioError) as refusal:
        after_shortage(_job({}), SHORTAGE | found)
    assert refusal.value.code == code
    assert all(Words().error(refusal.value))
