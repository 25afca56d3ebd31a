"""The life of a run: pause, stop, resume, refusals, and what lies in its folder."""

from __future__ import annotations

import json
import shutil
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.data.rows import Message, Row, Stream
from studio.errors import StudioError
from studio.identity import base_identity, dataset_hash
from studio.plan import Plan
from studio.train import checkpoint
from studio.train.run import TrainResult, train
from tests.toys.folders import chat_row, sums, tiny_plan, write_model, write_run
from tests.toys.runs import assert_same_bits, kill_at, run_plan
from tests.toys.watch import Boundary, Recorder


def _train(
    plan: Plan, model_folder: Path, folder: Path, at: Any = lambda _: None
) -> tuple[TrainResult, Recorder, Boundary]:
    recorder, boundary = Recorder(), Boundary(at)
    result = train(plan, model_folder=model_folder, folder=folder, sink=recorder, control=boundary)
    return result, recorder, boundary


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", sums(24), sums(9, 100))


@pytest.fixture
def whole(tmp_path: Path, model_folder: Path) -> Path:
    """An undisturbed run."""
    folder = write_run(tmp_path / "whole", sums(24), sums(9, 100))
    _train(tiny_plan(), model_folder, folder)
    return folder


def test_folder_of_a_finished_run(folder: Path, model_folder: Path) -> None:
    result, recorder, _ = _train(tiny_plan(eval_every=5), model_folder, folder)
    assert result.state == "done"
    assert result.steps == 12
    assert result.adapter == folder / "adapter"
    assert result.loss == recorder.curve()[-1]
    assert result.eval_loss == recorder.metrics["eval_loss"][12]
    assert sorted(recorder.metrics["eval_loss"]) == [5, 10, 12]
    assert result.spent is not None
    assert (result.spent.steps, result.spent.seconds) == (11, sum(recorder.curve("step_seconds")[1:]))
    read = recorder.curve("tokens")
    assert result.spent.tokens == read[-1] - read[0]
    if result.spent.joules is not None:
        assert result.spent.joules == pytest.approx(sum(recorder.curve("step_joules")[1:]))
    manifest = checkpoint.read_manifest(folder / "adapter")
    assert manifest is not None
    assert manifest["method"] == "lora"
    assert manifest["method_params"]["rank"] == 8
    assert manifest["base"] == base_identity(model_folder, folder / "cache.json").hash
    assert manifest["rows"] == dataset_hash(sums(24))
    assert manifest["step"] == 12
    best = json.loads((folder / "best.json").read_text())
    lowest = min(recorder.metrics["eval_loss"], key=recorder.metrics["eval_loss"].__getitem__)
    assert best == {"step": lowest, "eval_loss": recorder.metrics["eval_loss"][lowest]}
    assert result.best_step == lowest
    assert checkpoint.read_manifest(checkpoint.checkpoint_folder(folder / "checkpoints", lowest))
    saved = json.loads((folder / "result.json").read_text())
    assert saved["adapter"] == "adapter"
    assert saved["eval_loss"] == result.eval_loss
    assert (folder / "tokenizer" / "tokenizer.json").is_file()


def test_without_heldout_rows_there_is_no_eval_loss(tmp_path: Path, model_folder: Path) -> None:
    folder = write_run(tmp_path / "run", sums(10))
    result, recorder, _ = _train(tiny_plan(eval_every=2), model_folder, folder)
    assert result.eval_loss is None
    assert result.best_step is None
    assert "eval_loss" not in recorder.metrics


def test_pause_waits_with_a_checkpoint_and_changes_nothing(
    folder: Path, whole: Path, model_folder: Path
) -> None:
    wishes = {4: "pause"}
    result, recorder, boundary = _train(tiny_plan(), model_folder, folder, wishes.get)
    assert result.state == "done"
    assert boundary.waited == 1
    assert [k for k in recorder.kinds() if k in ("checkpoint", "paused", "continued")][:3] == [
        "checkpoint",
        "paused",
        "continued",
    ]
    assert ("paused", {"step": 4}) in recorder.events
    assert_same_bits(folder / "adapter", whole / "adapter")


def test_stop_then_go_on_equals_undisturbed(folder: Path, whole: Path, model_folder: Path) -> None:
    result, recorder, _ = _train(tiny_plan(), model_folder, folder, {5: "stop"}.get)
    assert result.state == "stopped"
    assert result.steps == 5
    assert len(recorder.curve()) == 5
    assert result.adapter == folder / "checkpoints" / "step-00000005" / "adapter"
    assert not (folder / "adapter").exists()
    result, recorder, _ = _train(tiny_plan(), model_folder, folder)
    assert result.state == "done"
    assert ("resumed", {"step": 5, "attempt": 1}) in recorder.events
    assert sorted(recorder.metrics["loss"]) == list(range(6, 13))
    assert_same_bits(folder / "adapter", whole / "adapter")


class _Leaving(Boundary):
    """Wishes to stop once the evaluation of step `step` has begun."""

    def __init__(self, step: int) -> None:
        super().__init__({step: "stop"}.get)
        self._step = step

    def stopping(self) -> bool:
        return self.count == self._step - 1


@pytest.mark.parametrize("step", [6, 12])
@pytest.mark.parametrize("precision", ["fp32", "mixed"])
def test_a_stop_leaves_an_evaluation_that_is_made_up_for(
    folder: Path, model_folder: Path, tmp_path: Path, step: int, precision: str
) -> None:
    plan, whole = tiny_plan(eval_every=6, precision=precision), tmp_path / "whole"
    shutil.copytree(folder, whole)
    _, undisturbed, _ = _train(plan, model_folder, whole)
    first, second = Recorder(), Recorder()
    stopped = train(plan, model_folder=model_folder, folder=folder, sink=first, control=_Leaving(step))
    assert (stopped.state, stopped.steps) == ("stopped", step)
    assert step not in first.metrics.get("eval_loss", {})
    train(plan, model_folder=model_folder, folder=folder, sink=second, control=Boundary())
    made = {**first.metrics.get("eval_loss", {}), **second.metrics["eval_loss"]}
    assert made == undisturbed.metrics["eval_loss"]
    for name in ("best.json", "result.json"):
        ours, theirs = (json.loads((place / name).read_text()) for place in (folder, whole))
        machine = {"peak_memory_bytes": 0, "measured": None, "spent": None}
        assert {**ours, **machine} == {**theirs, **machine}
    assert_same_bits(folder / "adapter", whole / "adapter")


def test_stop_while_paused(folder: Path, model_folder: Path) -> None:
    def at(n: int) -> str | None:
        return {3: "pause", 4: "stop"}.get(n)

    result, recorder, _ = _train(tiny_plan(), model_folder, folder, at)
    assert result.state == "stopped"
    assert result.steps == 3
    assert recorder.kinds().count("paused") == 1


def test_killed_after_the_last_step_only_the_adapter_is_missing(
    folder: Path, whole: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_plan(tiny_plan(), model_folder, folder, monkeypatch, at=kill_at(12), save_every=12)
    assert not (folder / "adapter").exists()
    result, recorder, _ = _train(tiny_plan(), model_folder, folder)
    assert result.steps == 12
    assert "loss" not in recorder.metrics
    assert result.loss == pytest.approx(json.loads((whole / "result.json").read_text())["loss"], abs=0)
    assert_same_bits(folder / "adapter", whole / "adapter")


def test_killed_before_the_first_checkpoint_starts_again(
    folder: Path, whole: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_plan(tiny_plan(), model_folder, folder, monkeypatch, at=kill_at(3))
    _, recorder, _ = _train(tiny_plan(), model_folder, folder)
    assert min(recorder.metrics["loss"]) == 1
    assert_same_bits(folder / "adapter", whole / "adapter")


def test_a_broken_checkpoint_is_passed_over(
    folder: Path, whole: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_plan(tiny_plan(), model_folder, folder, monkeypatch, at=kill_at(9), save_every=2)
    newest = folder / "checkpoints" / "step-00000008"
    (newest / checkpoint.STATE).write_bytes((newest / checkpoint.STATE).read_bytes()[:-10])
    _, recorder, _ = _train(tiny_plan(), model_folder, folder)
    assert ("resumed", {"step": 6, "attempt": 1}) in recorder.events
    assert_same_bits(folder / "adapter", whole / "adapter")


def test_other_rows_are_refused(
    folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run_plan(tiny_plan(), model_folder, folder, monkeypatch, at=kill_at(3), save_every=2)
    other = write_run(tmp_path / "other", sums(23))
    shutil.copy(other / "rows.jsonl", folder / "rows.jsonl")
    with pytest.raises(StudioError) as refusal:
        _train(tiny_plan(), model_folder, folder)
    assert refusal.value.code == "rows_changed"


def test_nothing_learned_is_an_error_not_a_run(tmp_path: Path, model_folder: Path) -> None:
    messages = (Message.of("user", "a"), Message.of("assistant", "b"))
    rows = [
        Row("0", {"text": Stream(messages, (False, False))}, {}, "test:0"),
        chat_row(1, "long " * 60, "x"),
    ]
    folder = write_run(tmp_path / "run", rows)
    with pytest.raises(StudioError) as refusal:
        _train(tiny_plan(), model_folder, folder)
    assert refusal.value.code == "nothing_learned"
    assert refusal.value.facts == {"rows": 2, "skipped": {"nothing_learned": 2}}


def test_rows_without_anything_learned_are_left_out_and_counted(tmp_path: Path, model_folder: Path) -> None:
    folder = write_run(tmp_path / "run", [*sums(9), chat_row(99, "long " * 60, "x")])
    _, recorder, _ = _train(tiny_plan(epochs=1, batch=3), model_folder, folder)
    assert ("rows_skipped", {"rows": 10, "skipped": {"nothing_learned": 1}}) in recorder.events
    assert len(recorder.curve()) == 3


def test_unknown_target_names_the_known_ones(folder: Path, model_folder: Path) -> None:
    with pytest.raises(StudioError) as refusal:
        _train(tiny_plan(targets="q_proj,qproj"), model_folder, folder)
    assert refusal.value.code == "target_unknown"
    assert refusal.value.facts["target"] == "qproj"
    assert "v_proj" in refusal.value.facts["known"]


def test_rows_end_where_the_models_positions_do(tmp_path: Path) -> None:
    model_folder = write_model(tmp_path / "gpt2", "gpt2")  # 256 positions, and no way beyond them
    folder = write_run(tmp_path / "run", [chat_row(i, "why", "because " * 50) for i in range(4)])
    _, recorder, _ = _train(tiny_plan(seq=1000, steps=1), model_folder, folder)
    assert recorder.curve("tokens") == [4 * 256]


def test_no_room_for_a_checkpoint_keeps_the_older_one(
    folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    rooms = iter([10**9, 10**9, 10**9, 100])  # at the start, and for each checkpoint
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage(0, 0, next(rooms)))
    with pytest.raises(StudioError) as refusal:
        run_plan(tiny_plan(), model_folder, folder, monkeypatch, save_every=2)
    assert refusal.value.code == "disk_full"
    assert [f.name for f in checkpoint.checkpoints(folder / "checkpoints")] == [
        "step-00000002",
        "step-00000004",
    ]


def test_old_checkpoints_go_but_the_best_stays(
    folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A learning rate that goes wrong after a while: the best is an early one.
    plan = tiny_plan(lr=0.5, schedule="constant", warmup=1.0, eval_every=1, keep_checkpoints=1)
    ran = run_plan(plan, model_folder, folder, monkeypatch, save_every=1)
    assert ran.result is not None
    best = ran.result.best_step
    assert best is not None
    assert best < 12
    names = [f.name for f in checkpoint.checkpoints(folder / "checkpoints")]
    assert names == [f"step-{best:08d}", "step-00000012"]


def test_trains_in_a_thread_and_leaves_the_arguments_alone(
    folder: Path, whole: Path, model_folder: Path
) -> None:
    plan = tiny_plan()
    results: list[TrainResult] = []
    thread = threading.Thread(target=lambda: results.append(_train(plan, model_folder, folder)[0]))
    thread.start()
    thread.join()
    assert results[0].state == "done"
    assert plan == tiny_plan()
    assert_same_bits(folder / "adapter", whole / "adapter")


def test_another_seed_is_another_run(folder: Path, whole: Path, model_folder: Path) -> None:
    _train(tiny_plan(seed=1), model_folder, folder)
    with pytest.raises(AssertionError):
        assert_same_bits(folder / "adapter", whole / "adapter")


def test_state_of_a_checkpoint_holds_no_pickled_objects(
    folder: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_plan(tiny_plan(), model_folder, folder, monkeypatch, at=kill_at(3), save_every=2)
    state = torch.load(folder / "checkpoints" / "step-00000002" / checkpoint.STATE, weights_only=True)
    assert set(state) == {"optimizer", "schedule", "random", "method"}
    assert not list((folder / "checkpoints").rglob("training_args.bin"))
