"""The facade and its runs: starting, refusing, resuming, deleting. No process is started."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from backend.api import Calibration
from backend.facade import StudioFacade
from studio.data.rows import read_rows
from studio.errors import PlanError, StudioError
from studio.identity import dataset_hash
from tests.backend.launchers import HereAndNow, Notes, work


def refused(facade: StudioFacade, model: str | Path, dataset: str | Path, **set: Any) -> StudioError:
    """The error of a start; nothing is left of it."""
    before = facade.version()
    with pytest.raises(StudioError) as caught:
        facade.start(str(model), str(dataset), set=set)
    assert facade.runs("all") == []
    assert facade.version() == before
    assert list((facade.home / "runs").iterdir()) == []
    return caught.value


def test_a_folder_that_no_run_has_is_left_alone_and_stops_no_start(
    facade: StudioFacade, home: Path, model: Path, sums: Path
) -> None:
    left = home / "runs" / "sums-1" / "notes.txt"
    left.parent.mkdir(parents=True)
    left.write_text("kept")
    assert facade.start(str(model), str(sums), set={"rank": 4}) == "sums-2"
    assert left.read_text() == "kept"


def test_starting_freezes_rows_plan_and_tokenizer(facade: StudioFacade, model: Path, sums: Path) -> None:
    run = facade.start(str(model), str(sums), set={"steps": 3})
    assert run == "sums-1"
    folder = facade.home / "runs" / run
    assert sorted(p.name for p in folder.iterdir()) == [
        "heldout.jsonl",
        "plan.json",
        "rows.jsonl",
        "tokenizer",
    ]
    detail = facade.run(run)
    assert detail.plan == json.loads((folder / "plan.json").read_text())
    assert detail.hashes["dataset"] == dataset_hash(read_rows(folder / "rows.jsonl"))
    assert detail.hashes.keys() == {"dataset", "heldout", "tokenizer", "template"}
    assert detail.reasons["heldout"].code == "heldout_split"
    summary = detail.summary
    assert (summary.state, summary.steps, summary.steps_planned, summary.loss) == ("running", 0, 3, None)
    assert summary.answering is False  # no heartbeat yet
    sums.unlink()
    assert len(read_rows(folder / "rows.jsonl")) == 52
    store = facade._store
    inputs = store.rows("SELECT role, kind, hash FROM input JOIN artifact ON artifact.id = input.artifact")
    assert [tuple(r) for r in inputs] == [("dataset", "dataset", detail.hashes["dataset"])]


def test_rows_that_cannot_be_used_are_left_out_and_counted(
    facade: StudioFacade, model: Path, sums: Path
) -> None:
    lines = sums.read_text().splitlines()
    lines[4], lines[9] = '{"prompt": ', json.dumps({"prompt": "x", "completion": ""})
    sums.write_text("\n".join(lines))
    run = facade.start(str(model), str(sums), set={"steps": 3})
    event = next(e for e in facade.run(run).events if e["kind"] == "rows_skipped")
    assert event["body"] == {"rows": 60, "skipped": 2}
    assert (facade.draft(str(model), str(sums)).rows or 0) + 8 == 58


def test_the_same_rows_are_one_artifact_and_the_second_run_waits(
    facade: StudioFacade, model: Path, sums: Path
) -> None:
    runs = [facade.start(str(model), str(sums), set={"steps": 3}) for _ in range(2)]
    assert runs == ["sums-1", "sums-2"]
    assert [s.state for s in facade.runs()] == ["queued", "running"]
    assert facade._store.value("SELECT count(*) FROM artifact") == 1
    assert facade._store.value("SELECT count(*) FROM input") == 2


def test_bad_input_is_refused_by_name_and_leaves_nothing(
    facade: StudioFacade, model: Path, sums: Path, tmp_path: Path
) -> None:
    foreign, empty, broken = tmp_path / "foreign", tmp_path / "empty.jsonl", tmp_path / "broken.jsonl"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("no model")
    empty.write_text("")
    broken.write_text('{"prompt": "a", "completion": "b"\n' * 3)
    assert refused(facade, tmp_path / "gone", sums).code == "model_missing"
    assert refused(facade, foreign, sums).code == "model_foreign"
    assert refused(facade, "sums-9", sums).code == "run_missing"
    assert refused(facade, model, tmp_path / "gone.jsonl").code == "dataset_missing"
    assert refused(facade, model, empty).code == "data_empty"
    error = refused(facade, model, broken)
    assert (error.code, error.facts["row"]) == ("data_broken", 1)
    assert refused(facade, model, sums, device="cuda:7").code == "device_unknown"


def test_a_dataset_without_anything_to_learn_is_an_error_and_no_run(
    facade: StudioFacade, model: Path, tmp_path: Path
) -> None:
    mute = tmp_path / "mute.jsonl"
    row = {"messages": [{"role": "user", "content": "hello"}]}
    mute.write_text((json.dumps(row) + "\n") * 12)
    assert refused(facade, model, mute).code in {"nothing_learned", "data_no_usable_rows"}
    long = tmp_path / "long.jsonl"
    long.write_text(
        "".join(json.dumps({"prompt": "x" * 200, "completion": f"y{i}"}) + "\n" for i in range(12))
    )
    assert refused(facade, model, long, seq=64).code == "nothing_learned"


def test_wrong_settings_are_refused_all_together(facade: StudioFacade, model: Path, sums: Path) -> None:
    error = refused(facade, model, sums, rank=0, lr="fast", steps=3, epochs=2)
    assert isinstance(error, PlanError)
    assert {(p["key"], p["code"]) for p in error} == {
        ("method.rank", "setting_out_of_range"),
        ("lr", "setting_not_number"),
        ("steps", "steps_and_epochs"),
    }


def test_no_room_on_disk_is_said_before_anything_is_written(
    facade: StudioFacade, model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(facade.home)._replace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    error = refused(facade, model, sums)
    assert error.code == "disk_full"
    assert error.facts["free_bytes"] == 1000
    assert error.facts["needed_bytes"] > 64 * 2**20


def test_a_whole_run_and_what_is_known_of_it_afterwards(home: Path, model: Path, sums: Path) -> None:
    facade = StudioFacade(home, launcher=HereAndNow())
    run = facade.start(str(model), str(sums), set={"steps": 12, "batch": 8, "eval_every": 4, "dropout": 0.1})
    summary, detail = facade.runs()[0], facade.run(run)
    loss, held_out = facade.series([run], ["loss", "eval_loss"])
    result = json.loads((home / "runs" / run / "result.json").read_text())
    assert (summary.state, summary.steps, summary.error) == ("done", 12, None)
    assert summary.loss == loss.values[-1] == result["loss"]
    assert summary.eval_loss == held_out.values[-1] == result["eval_loss"]
    assert summary.best_eval_loss == min(v for v in held_out.values if v is not None)
    assert detail.best_step == held_out.steps[held_out.values.index(summary.best_eval_loss)]
    assert loss.steps == tuple(range(1, 13))
    assert held_out.steps == (4, 8, 12)
    assert summary.adapter is not None
    assert (Path(summary.adapter) / "manifest.json").is_file()
    assert summary.peak_memory_bytes == result["peak_memory_bytes"] > 10**8
    assert {"base", "dataset", "heldout", "tokenizer", "template"} == detail.hashes.keys()
    assert detail.checkpoints[-1] == 12
    roles = facade._store.rows("SELECT role, hash FROM input JOIN artifact ON artifact.id = artifact")
    assert {tuple(r) for r in roles} == {(role, detail.hashes[role]) for role in ("base", "dataset")}
    made = facade._store.rows("SELECT kind, path FROM artifact WHERE made_by = ?", run)
    assert [tuple(r) for r in made] == [("adapter", summary.adapter)]
    kept = facade._store.rows("SELECT job, attempt, measured IS NOT NULL AS measured FROM estimate")
    assert [tuple(row) for row in kept] == [(run, 1, 1)]
    (point,) = facade.memory_history()
    assert point == detail.memory
    assert (point.run, point.source, point.method, point.device) == (run, "estimate", "lora", "cpu")
    assert point.measured_parts == result["measured"]["parts"]
    assert point.measured_bytes == result["measured"]["peak"]
    tensors = {k: v for k, v in result["predicted"]["parts"].items() if k != "context"}
    assert point.predicted_bytes == sum(tensors.values())
    for part in ("weights", "adapter", "optimizer"):
        assert point.predicted_parts[part] == pytest.approx(point.measured_parts[part], rel=0.02), part
    (calibration,) = facade.calibrations()
    assert calibration == Calibration("cpu", None, "lora", point.measured_bytes / point.predicted_bytes, 1)
    predicted = next(event for event in detail.events if event["kind"] == "memory_predicted")
    assert predicted["body"]["parts"] == result["predicted"]["parts"]
    assert "phase training" in facade.log_tail(run)
    assert list(facade.wait(run))[-1].state == "done"
    assert f"run:{run}" in [model.name for model in facade.chat_models()]
    # The next plan like this one can say how long it will take.
    again = facade.draft(str(model), str(sums), set={"steps": 24, "batch": 8})
    assert summary.tokens_per_second is not None
    assert again.seconds is not None
    facade.close()


def test_a_run_goes_on_only_with_the_rows_and_the_base_that_it_began_with(
    facade: StudioFacade, model: Path, sums: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in model.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    run = facade.start(str(copy), str(sums), set={"steps": 3})
    end(facade, run, "interrupt", hashes={**facade.run(run).hashes, "base": base_of(facade, copy)})
    rows = facade.home / "runs" / run / "rows.jsonl"
    kept = rows.read_text()
    rows.write_text(kept.replace("it is", "it was", 1))
    assert resume_error(facade, run).code == "rows_changed"
    rows.unlink()
    assert resume_error(facade, run).code == "rows_missing"
    rows.write_text(kept)
    weights = copy / "model.safetensors"
    body = bytearray(weights.read_bytes())
    body[-1] ^= 1
    weights.write_bytes(body)
    assert resume_error(facade, run).code == "base_changed"
    body[-1] ^= 1
    weights.write_bytes(body)
    resumed = facade.resume(run)
    assert (resumed.state, resumed.attempt) == ("running", 2)


def test_a_run_does_not_go_on_with_another_template(facade: StudioFacade, model: Path, sums: Path) -> None:
    from backend.jobs import record

    run = facade.start(str(model), str(sums), set={"steps": 3})
    template = facade.home / "runs" / run / "tokenizer" / "chat_template.jinja"
    template.write_text(template.read_text() + "more")
    assert work(facade._home, record.find(facade._store.connection, run)) == 0
    summary = facade.run(run).summary
    assert summary.error is not None
    assert (summary.state, summary.error["code"]) == ("failed", "tokenizer_changed")


def test_pause_stop_and_resume_ask_the_worker(facade: StudioFacade, model: Path, sums: Path) -> None:
    run, waiting = (facade.start(str(model), str(sums), set={"steps": 3}) for _ in range(2))
    assert facade.pause(run).state == "running"  # until the worker has come to a step boundary
    assert facade.resume(run).state == "running"
    assert wishes(facade, run) == ["pause", "continue"]
    assert facade.stop(run).state == "stopping"
    assert facade.stop(run).state == "stopping"
    assert wishes(facade, run) == ["pause", "continue", "stop"]
    for act in (facade.pause, facade.resume):
        with pytest.raises(StudioError) as caught:
            act(run)
        assert caught.value.code == "job_state"
    with pytest.raises(StudioError) as caught:
        facade.pause(waiting)
    assert caught.value.code == "job_state"
    assert facade.stop(waiting).state == "stopped"
    assert facade.resume(waiting).state == "queued"
    end(facade, run, "finish")
    with pytest.raises(StudioError) as caught:
        facade.resume(run)
    assert caught.value.code == "run_done"


def test_deleting_removes_the_folder_and_the_curve_and_the_id_stays_gone(
    facade: StudioFacade, model: Path, sums: Path
) -> None:
    run = facade.start(str(model), str(sums), set={"steps": 3})
    with pytest.raises(StudioError) as caught:
        facade.delete(run)
    assert caught.value.as_dict() == {"code": "run_live", "facts": {"run": run, "state": "running"}}
    end(facade, run, "finish")
    (facade.home / "runs" / ".deleted-by-a-screen-that-died").mkdir()
    before = facade.version()
    facade.delete(run)
    assert facade.version() > before
    assert facade.runs("all") == []
    assert list((facade.home / "runs").iterdir()) == []
    for ask in (facade.run, facade.stop, facade.delete, facade.log_tail):
        with pytest.raises(StudioError) as caught:
            ask(run)
        assert caught.value.code == "run_missing"
    assert facade.series([run], ["loss"])[0].steps == ()
    assert facade.start(str(model), str(sums), set={"steps": 3}) == "sums-2"


def test_a_new_facade_shows_what_the_old_one_knew(facade: StudioFacade, model: Path, sums: Path) -> None:
    run = facade.start(str(model), str(sums), set={"steps": 3})
    other = StudioFacade(facade.home, launcher=Notes())
    assert other.run(run) == facade.run(run)
    other.close()


def test_a_stop_settles_what_another_machine_has_not_said_a_word_about_for_minutes(
    facade: StudioFacade, model: Path, sums: Path
) -> None:
    from backend.jobs import record

    run = facade.start(str(model), str(sums), set={"steps": 3})
    for silent, state in ((5, "stopping"), (600, "stopped")):
        with facade._store.writing() as connection:
            record.update(connection, run, host="elsewhere", heartbeat=time.time() - silent)
        assert facade.stop(run).state == state
    assert facade.resume(run).attempt == 2


def test_a_log_tail_starts_with_a_whole_line(facade: StudioFacade, model: Path, sums: Path) -> None:
    run = facade.start(str(model), str(sums), set={"steps": 3})
    assert facade.log_tail(run) == ""
    (facade.home / "runs" / run / "log.txt").write_text("".join(f"line {i}\n" for i in range(1000)))
    assert facade.log_tail(run, 25) == "line 998\nline 999\n"


def end(facade: StudioFacade, run: str, happening: str, **fields: Any) -> None:
    from backend.jobs import record

    with facade._store.writing() as connection:
        record.move(connection, record.find(connection, run), happening, **fields)


def base_of(facade: StudioFacade, model: Path) -> str:
    from backend.inputs import base_hash

    return base_hash(model, facade._home)


def wishes(facade: StudioFacade, run: str) -> list[str]:
    return [r["wish"] for r in facade._store.rows("SELECT wish FROM control WHERE job = ? ORDER BY seq", run)]


def resume_error(facade: StudioFacade, run: str) -> StudioError:
    with pytest.raises(StudioError) as caught:
        facade.resume(run)
    assert facade.run(run).summary.state == "interrupted"
    return caught.value
