"""Objectives: one file each, and a toy with two streams and a reference as proof of the contract."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from studio import params
from studio.data.rows import Row
from studio.errors import StudioError
from studio.plan import methods, objectives
from studio.train.lora import LoraTuner
from studio.train.run import train
from tests.toys.folders import sums, tiny_plan, write_run
from tests.toys.methods import TOYS
from tests.toys.objectives import PAIR, pairs
from tests.toys.runs import assert_same_bits, kill_at, run_plan
from tests.toys.watch import Boundary, Recorder


@pytest.fixture(autouse=True)
def toys() -> Iterator[None]:
    with objectives.added(PAIR), methods.added(TOYS[0]):
        yield


def _train(model_folder: Path, folder: Path, rows: list[Row], method: str = "lora") -> Recorder:
    write_run(folder, rows, pairs(4))
    recorder = Recorder()
    plan = tiny_plan(method, "toy_pair", warmup=0.0)
    train(plan, model_folder=model_folder, folder=folder, sink=recorder, control=Boundary())
    return recorder


def test_every_file_is_an_objective_with_help() -> None:
    folder = Path(__file__).parents[2] / "studio" / "objectives"
    files = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
    assert len([id for id in objectives.all() if id != PAIR.id]) == len(files)
    for objective in objectives.all().values():
        parsed, problems = params.parse(objective.params, params.to_dict(objective.params()))
        assert problems == []
        assert parsed == objective.params()


def test_two_streams_with_the_method_off_as_reference(model_folder: Path, tmp_path: Path) -> None:
    recorder = _train(model_folder, tmp_path / "run", pairs(12))
    # A fresh LoRA changes nothing, with or without dropout, so the margins are equal: -log sigmoid(0).
    assert recorder.curve()[0] == pytest.approx(math.log(2), abs=1e-6)
    assert recorder.curve()[-1] < 0.1
    assert recorder.curve("preferred")[-1] == 1.0
    assert recorder.metrics["eval_loss"][12] < 0.2


def test_reference_as_a_second_copy_gives_the_same(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = _train(model_folder, tmp_path / "off", pairs(12))
    monkeypatch.setattr(LoraTuner, "disabled", lambda *_: None)
    copy = _train(model_folder, tmp_path / "copy", pairs(12))
    assert copy.curve() == pytest.approx(off.curve(), abs=1e-5)


def test_resume_with_a_reference(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _train(model_folder, tmp_path / "whole", pairs(12))
    folder = write_run(tmp_path / "cut", pairs(12), pairs(4))
    plan = tiny_plan("lora", "toy_pair", warmup=0.0)
    run_plan(plan, model_folder, folder, monkeypatch, at=kill_at(5), save_every=2)
    run_plan(plan, model_folder, folder, monkeypatch, save_every=2)
    assert_same_bits(folder / "adapter", tmp_path / "whole" / "adapter")


def test_toy_method_with_toy_objective(model_folder: Path, tmp_path: Path) -> None:
    recorder = _train(model_folder, tmp_path / "run", pairs(12), "toy_shift")
    assert recorder.curve()[-1] < recorder.curve()[0]


def test_rows_without_the_streams_are_refused(model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(StudioError) as refusal:
        _train(model_folder, tmp_path / "run", sums(4))
    assert refusal.value.code == "nothing_learned"
    assert refusal.value.facts["skipped"] == {"stream_missing": 4}
