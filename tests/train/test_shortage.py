"""Out of memory: what is known of it, and a run with fewer rows at a time, which takes the same steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from studio.errors import StudioError
from studio.memory.cards import Card
from studio.memory.estimate import estimate
from studio.memory.measured import larger_than_thought, told
from studio.models.config import read_config
from studio.objectives import Objective
from studio.objectives.sft import SftParams
from studio.plan import objectives
from studio.train.objective import Models
from studio.train.run import TrainResult, train
from studio.train.sampler import epoch_batches, pieces
from studio.train.sft import SftLoss
from studio.train.shortage import asked_bytes, is_out_of_memory
from studio.train.tuner import Batch
from tests.toys.folders import sums, tiny_plan, write_run
from tests.toys.watch import Boundary, Recorder


def _train(
    model: Path, folder: Path, at: Any = lambda _: None, micro_batch: int | None = None, **settings: Any
) -> tuple[TrainResult, Recorder]:
    recorder = Recorder()
    # Without dropout: its draws depend on how many rows are computed at a time.
    plan = tiny_plan(**{"batch": 5, "epochs": 3, "eval_every": 4, "dropout": 0.0, **settings})
    result = train(
        plan,
        model_folder=model,
        folder=folder,
        sink=recorder,
        control=Boundary(at),
        micro_batch=micro_batch,
    )
    return result, recorder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 rows: four whole batches of five and one short batch that may stand anywhere."""
    return write_run(tmp_path / "run", sums(24), sums(9, 100))


@pytest.fixture
def whole(tmp_path: Path, model_folder: Path) -> Recorder:
    """The run that had memory enough."""
    return _train(model_folder, write_run(tmp_path / "whole", sums(24), sums(9, 100)))[1]


def _assert_same_curves(ours: Recorder, theirs: Recorder) -> None:
    for name in ("loss", "eval_loss", "grad_norm"):
        assert ours.metrics[name].keys() == theirs.metrics[name].keys()
        for step, value in theirs.metrics[name].items():
            assert ours.metrics[name][step] == pytest.approx(value, rel=1e-4), (name, step)
    for name in ("tokens", "epoch", "lr"):
        assert ours.metrics[name] == theirs.metrics[name]


@pytest.mark.parametrize("micro_batch", [3, 2, 1])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_fewer_rows_at_a_time_are_the_same_run(
    model_folder: Path, folder: Path, whole: Recorder, tmp_path: Path, micro_batch: int, accumulation: int
) -> None:
    if accumulation == 2:
        _, whole = _train(model_folder, write_run(tmp_path / "two", sums(24), sums(9, 100)), accumulation=2)
    _, fewer = _train(model_folder, folder, micro_batch=micro_batch, accumulation=accumulation)
    _assert_same_curves(fewer, whole)


@pytest.mark.parametrize("step", [3, 7])
def test_going_on_with_half_the_rows_at_a_time_is_the_same_run(
    model_folder: Path, folder: Path, whole: Recorder, step: int
) -> None:
    _, first = _train(model_folder, folder, at={step: "stop"}.get)
    _, second = _train(model_folder, folder, micro_batch=3)
    assert min(second.metrics["loss"]) == step + 1
    both = Recorder()
    for recorder in (first, second):
        for name, values in recorder.metrics.items():
            both.metrics.setdefault(name, {}).update(values)
    _assert_same_curves(both, whole)


def test_pieces_hold_every_row_once_in_order() -> None:
    batches = epoch_batches(0, 0, [7, 3, 9, 1, 5, 5, 2], 3)
    for batch in batches:
        assert [row for piece in pieces(batch, 2) for row in piece] == batch
    assert [len(piece) for piece in pieces(batches[0], 2)] == [2, 1]
    assert pieces([1, 2, 3], 5) == [[1, 2, 3]]


class OutOfMemory(SftLoss):
    """Asks for more than any machine has."""

    def loss(self, forward: Models, batch: Batch) -> tuple[Tensor, Tensor | float, dict[str, Tensor]]:
        del forward, batch
        torch.empty(2**50)
        raise AssertionError


def _weights(model: Path) -> int:
    """In 32 bit, and the rotation's two tables of as many frequencies as half a head has numbers."""
    facts = read_config(model)
    assert facts.parameters is not None
    return 4 * (facts.parameters + 2 * facts.head_dim // 2)


def test_a_lack_of_memory_says_what_was_known(model_folder: Path, folder: Path) -> None:
    greedy = Objective("greedy", "G", "G.", SftParams, "tests.train.test_shortage:OutOfMemory", ("text",))
    with objectives.added(greedy), pytest.raises(StudioError) as refusal:
        _train(model_folder, folder, objective="greedy", micro_batch=3)
    assert refusal.value.code == "memory_full"
    facts = dict(refusal.value.facts)
    assert str(4 * 2**50) in facts.pop("detail")
    measured, predicted = facts.pop("measured"), facts.pop("predicted")
    # What the model weighs is known exactly, and that the step asked for far too much.
    assert measured["weights"] == _weights(model_folder)
    assert measured["step"] >= 4 * 2**50
    assert measured["optimizer"] == 0
    assert set(predicted) == set(measured)
    assert predicted["weights"] == pytest.approx(measured["weights"], rel=0.01)
    assert predicted["adapter"] == measured["adapter"]
    assert 0 < facts.pop("held_bytes") < 2**32
    assert facts.pop("free_bytes") > 0
    assert facts.pop("advice") == []  # nothing would be enough for four petabytes
    assert facts == {
        "device": "cpu",
        "batch": 5,
        "seq": 64,
        "micro_batch": 3,
        "step": 0,
        "loaded": True,
        "larger": "step",
    }


def test_result_holds_the_prediction_beside_the_measurement(model_folder: Path, folder: Path) -> None:
    result, _ = _train(model_folder, folder)
    assert result.predicted is not None
    assert result.measured.parts["weights"] == _weights(model_folder)
    # AdamW's two moments of each trained number, and a step counter of four bytes per tensor.
    moments = 2 * result.measured.parts["adapter"]
    assert moments < result.measured.parts["optimizer"] < moments + 4 * 100
    assert sum(result.measured.parts.values()) >= result.measured.peak
    plan = tiny_plan(batch=5, seq=64)
    # Predicted for the longest rows there are, not for the longest allowed.
    assert result.predicted.allocated < estimate(plan, read_config(model_folder), 1.0).allocated


def test_a_prediction_is_of_the_card_that_the_run_is_on(
    model_folder: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What products get to work in from 9.0 on, and no more in all than the card has."""
    monkeypatch.setattr("studio.train.run.card_here", lambda _: Card(600 * 2**20, (9, 0)))
    result, _ = _train(model_folder, folder, device="cuda:0", epochs=1)
    assert result.predicted is not None
    assert result.predicted.parts["workspace"] >= 2 * 32 * 2**20
    assert result.predicted.reserved[1] == 600 * 2**20


@pytest.mark.parametrize(
    ("predicted", "measured", "larger"),
    [
        ({"weights": 100, "adapter": 0, "optimizer": 10, "step": 90}, (100, 0, 10, 180), "step"),
        ({"weights": 100, "adapter": 0, "optimizer": 10, "step": 90}, (150, 0, 10, 120), "weights"),
        ({"weights": 100, "adapter": 0, "optimizer": 10, "step": 90}, (100, 0, 10, 99), None),
        ({"weights": 100, "adapter": 0, "optimizer": 10, "step": 90}, (100, 0, 0, 20), None),
    ],
)
def test_the_part_that_was_larger_than_thought(
    predicted: dict[str, int], measured: tuple[int, ...], larger: str | None
) -> None:
    assert larger_than_thought(predicted, dict(zip(predicted, measured, strict=True))) == larger


def test_parts_of_a_prediction_are_told_in_four() -> None:
    parts = {"weights": 1, "optimizer": 2, "gradients": 4, "activations": 8, "logits": 16, "context": 32}
    assert told(parts) == {"weights": 1, "adapter": 0, "optimizer": 2, "step": 28}


@pytest.mark.parametrize(
    ("error", "out_of_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_lack_of_memory_is_told_from_bugs(error: Exception, out_of_memory: bool) -> None:
    assert is_out_of_memory(error) == out_of_memory


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has", 2.5 * 2**30),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 419430400 bytes.", 419430400),
        ("CUDA out of memory. Tried to allocate 20.00 MiB", 20 * 2**20),
        ("", 0),
    ],
)
def test_what_was_asked_for_in_vain(message: str, asked: float) -> None:
    assert asked_bytes(RuntimeError(message)) == asked
