"""The loop against oracles: a bare loop, the model's own loss, closed forms."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from studio.data.render import Encoded, Renderer
from studio.errors import StudioError
from studio.models.anatomy import Anatomy
from studio.models.load import load_model
from studio.objectives import Objective
from studio.objectives.sft import SftParams
from studio.plan import Plan, objectives
from studio.train.lora import LoraTuner
from studio.train.objective import Models, pad
from studio.train.run import train
from studio.train.sampler import epoch_batches
from studio.train.sft import SftLoss
from studio.train.tuner import Batch, TunerContext, make_tuner
from tests.toys.folders import sums, tiny_plan, write_run
from tests.toys.runs import saved_tensors
from tests.toys.watch import Boundary, Recorder

NO_DROPOUT = {"dropout": 0.0, "warmup": 0.25}


def _go(plan: Plan, model_folder: Path, folder: Path, rows: int = 24, heldout: int = 9) -> Recorder:
    write_run(folder, sums(rows), sums(heldout, 100))
    recorder = Recorder()
    train(plan, model_folder=model_folder, folder=folder, sink=recorder, control=Boundary())
    return recorder


def _encoded(folder: Path, rows: int = 24, start: int = 0) -> list[Encoded]:
    renderer = Renderer.from_folder(folder / "tokenizer")
    return [renderer.encode(row.streams["text"], 64) for row in sums(rows, start)]


def _bare(plan: Plan, model_folder: Path, folder: Path, steps: int) -> list[float]:
    """Losses of a plain torch loop with the model's own loss over the same batches."""
    base = load_model(model_folder, dtype=torch.float32, device="cpu")
    context = TunerContext(
        plan, Anatomy(base), torch.Generator().manual_seed(0), lambda _: iter(()), lambda _: torch.zeros(())
    )
    model = make_tuner(plan).prepare(base, context).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.0)
    encoded = _encoded(folder)
    order = [b for epoch in range(9) for b in epoch_batches(0, epoch, [len(e.ids) for e in encoded], 4)]
    losses = []
    for step in range(steps):
        warm = round(0.25 * steps)
        rate = step / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * rate
        loss = model(**pad([encoded[row] for row in order[step]], 0)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_losses_equal_those_of_a_bare_loop(model_folder: Path, tmp_path: Path) -> None:
    plan = tiny_plan(**NO_DROPOUT)
    recorder = _go(plan, model_folder, tmp_path / "run")
    assert recorder.curve() == pytest.approx(_bare(plan, model_folder, tmp_path / "run", 12), rel=1e-5)
    assert recorder.curve()[-1] < 0.7 * recorder.curve()[0]


def test_what_is_reported(model_folder: Path, tmp_path: Path) -> None:
    recorder = _go(tiny_plan(**NO_DROPOUT), model_folder, tmp_path / "run")
    lengths = [len(e.ids) for e in _encoded(tmp_path / "run")]
    order = epoch_batches(0, 0, lengths, 4) + epoch_batches(0, 1, lengths, 4)
    read = [sum(lengths[row] for row in batch) for batch in order]
    assert recorder.curve("tokens") == [sum(read[: i + 1]) for i in range(12)]
    assert recorder.curve("epoch") == pytest.approx([(i + 1) / 6 for i in range(12)])
    cosine = [0.5 * (1 + math.cos(math.pi * i / 9)) for i in range(9)]
    assert recorder.curve("lr") == pytest.approx([0.01 * f for f in [0, 1 / 3, 2 / 3, *cosine]])
    for name in ("grad_norm", "tokens_per_second", "step_seconds", "memory_bytes"):
        assert all(value > 0 for value in recorder.curve(name)), name
    assert recorder.curve("seconds_left")[-1] == 0
    assert recorder.curve("tokens_per_second")[5] == pytest.approx(
        read[5] / recorder.curve("step_seconds")[5]
    )
    assert set(recorder.phases) == {"encoding", "loading", "training", "evaluating", "saving"}


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_halving_the_batch_changes_nothing_but_memory(batch: int, model_folder: Path, tmp_path: Path) -> None:
    whole = _go(tiny_plan(**NO_DROPOUT, batch=8, steps=4), model_folder, tmp_path / "whole", rows=8)
    halved = tiny_plan(**NO_DROPOUT, batch=batch, accumulation=8 // batch, steps=4)
    assert _go(halved, model_folder, tmp_path / "halved", rows=8).curve() == pytest.approx(
        whole.curve(), rel=1e-5
    )


def test_epochs_count_steps_with_a_smaller_last_one(model_folder: Path, tmp_path: Path) -> None:
    # 26 rows: 7 batches, 4 steps of two batches, the last one of one batch of two rows.
    plan = tiny_plan(epochs=1.5, batch=4, accumulation=2)
    recorder = _go(plan, model_folder, tmp_path / "run", rows=26)
    assert len(recorder.curve()) == 6
    lengths = [len(e.ids) for e in _encoded(tmp_path / "run", 26)]
    assert recorder.metrics["tokens"][4] == sum(lengths)
    assert recorder.metrics["epoch"][4] == 1.0


@pytest.mark.parametrize("batch", [2, 5])
def test_eval_loss_is_the_mean_over_learned_tokens(batch: int, model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    recorder = _go(tiny_plan(batch=batch), model_folder, folder)
    base = load_model(model_folder, dtype=torch.float32, device="cpu")
    model = make_tuner(tiny_plan()).load(base, folder / "adapter")
    total, count = 0.0, 0
    with torch.no_grad():
        for row in _encoded(folder, 9, 100):
            labels = pad([row], 0)["labels"]
            own = model(torch.tensor([row.ids]), labels=labels).loss.item()
            total, count = total + own * sum(row.learned), count + sum(row.learned)
    assert recorder.metrics["eval_loss"][12] == pytest.approx(total / count, rel=1e-6)


@pytest.mark.parametrize("kernel", ["chunked", "full"])
def test_loss_kernels_agree(kernel: str, model_folder: Path, tmp_path: Path) -> None:
    ours = _go(tiny_plan(**NO_DROPOUT), model_folder, tmp_path / "labelled")
    other = _go(tiny_plan(**NO_DROPOUT, loss_kernel=kernel), model_folder, tmp_path / kernel)
    assert other.curve() == pytest.approx(ours.curve(), rel=1e-5)


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_checkpointing_activations_changes_no_loss(method: str, model_folder: Path, tmp_path: Path) -> None:
    plain = _go(tiny_plan(method), model_folder, tmp_path / "plain")
    frugal = _go(tiny_plan(method, gradient_checkpointing=True), model_folder, tmp_path / "frugal")
    assert frugal.curve() == pytest.approx(plain.curve(), rel=1e-5)


@pytest.mark.parametrize(
    ("precision", "adapter", "dtype"),
    [
        ("mixed", None, torch.float32),
        ("bf16", None, torch.bfloat16),
        ("bf16", "fp32", torch.float32),
        ("mixed", "bf16", torch.bfloat16),
    ],
)
def test_precisions(
    precision: str, adapter: str | None, dtype: torch.dtype, model_folder: Path, tmp_path: Path
) -> None:
    exact = _go(tiny_plan(**NO_DROPOUT), model_folder, tmp_path / "fp32")
    plan = tiny_plan(**NO_DROPOUT, precision=precision, adapter_dtype=adapter)
    rounded = _go(plan, model_folder, tmp_path / "run")
    assert {t.dtype for t in saved_tensors(tmp_path / "run" / "adapter").values()} == {dtype}
    assert rounded.curve() == pytest.approx(exact.curve(), rel=0.03)
    assert rounded.curve() != exact.curve()


@pytest.mark.parametrize("optimizer", ["sgd", "adafactor", "lion"])
def test_every_optimizer_trains(optimizer: str, model_folder: Path, tmp_path: Path) -> None:
    lr = {"sgd": 0.05, "adafactor": 0.01, "lion": 0.003}[optimizer]
    recorder = _go(tiny_plan(optimizer=optimizer, lr=lr), model_folder, tmp_path / "run")
    assert recorder.curve()[-1] < 0.85 * recorder.curve()[0]


class SometimesBroken(SftLoss):
    """The loss of one batch, counted over the life of the object, is not a number."""

    broken = (3,)

    def __init__(self, params: SftParams) -> None:
        super().__init__(params)
        self.calls = 0

    def loss(self, forward: Models, batch: Batch) -> tuple[Tensor, Tensor | float, dict[str, Tensor]]:
        self.calls += 1
        total, count, metrics = super().loss(forward, batch)
        return total * (math.nan if self.calls in self.broken else 1.0), count, metrics


class OftenBroken(SometimesBroken):
    broken = (2, 3, 5, 6, 7)


def _broken(name: str) -> Objective:
    where = f"tests.train.test_loop:{name}"
    return Objective("broken", "Broken", "Breaks at times.", SftParams, where, ("text",))


def test_one_loss_that_is_no_number_is_reported_and_left_out(model_folder: Path, tmp_path: Path) -> None:
    with objectives.added(_broken("SometimesBroken")):
        recorder = _go(tiny_plan(objective="broken"), model_folder, tmp_path / "run", heldout=0)
    curve = recorder.curve()
    assert [i for i, loss in enumerate(curve) if math.isnan(loss)] == [2]
    assert ("loss_not_finite", {"step": 3, "in_a_row": 1}) in recorder.events
    assert all(t.isfinite().all() for t in saved_tensors(tmp_path / "run" / "adapter").values())


def test_three_in_a_row_end_the_run(model_folder: Path, tmp_path: Path) -> None:
    with objectives.added(_broken("OftenBroken")), pytest.raises(StudioError) as refusal:
        _go(tiny_plan(objective="broken"), model_folder, tmp_path / "run", heldout=0)
    assert refusal.value.code == "loss_not_finite"
    assert refusal.value.facts == {"step": 7}


def test_weights_of_streams_count(model_folder: Path, tmp_path: Path) -> None:
    """A row of weight zero is as good as not there; weights scale a row's share, not the loss as a whole."""

    def weighted(weight: float) -> list[Any]:
        rows = sums(8)
        heavy = dataclasses.replace(rows[7].streams["text"], weight=weight)
        return [*rows[:7], dataclasses.replace(rows[7], streams={"text": heavy})]

    curves = {}
    for name, rows in (("none", weighted(0.0)), ("less", sums(7)), ("heavy", weighted(5.0))):
        write_run(tmp_path / name, rows)
        recorder = Recorder()
        plan = tiny_plan(**NO_DROPOUT, batch=8, steps=3)
        train(plan, model_folder=model_folder, folder=tmp_path / name, sink=recorder, control=Boundary())
        curves[name] = recorder.curve()
    assert curves["none"] == pytest.approx(curves["less"], rel=1e-5)
    assert curves["heavy"] != pytest.approx(curves["less"], rel=1e-3)


def test_the_method_sees_the_untuned_loss(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    original = LoraTuner.prepare

    def spy(self: LoraTuner, model: nn.Module, context: TunerContext) -> nn.Module:
        seen.append(context.loss(next(context.calibration_batches(1))).item())
        return original(self, model, context)

    monkeypatch.setattr(LoraTuner, "prepare", spy)
    recorder = _go(tiny_plan(dropout=0.0), model_folder, tmp_path / "run")
    assert seen == pytest.approx(recorder.curve()[:1], rel=1e-6)
