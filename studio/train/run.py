"""One training run, from a frozen run folder to its adapter.

The folder holds `rows.jsonl` and `heldout.jsonl`; the run adds `tokenizer/`, `checkpoints/`, `best.json`,
`adapter/` and `result.json`. A run that was cut off goes on from its newest complete checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from studio.cost import Spent
from studio.data.render import Renderer
from studio.data.rows import Row, read_rows
from studio.errors import StudioError
from studio.files import write_json
from studio.identity import base_identity, dataset_hash
from studio.memory.measured import Measured
from studio.memory.need import Need
from studio.memory.process import card_here
from studio.models.anatomy import Anatomy
from studio.models.config import read_config
from studio.models.load import load_model, weights_dtype
from studio.models.survey import SurveysHere
from studio.params import to_dict
from studio.plan import Plan, methods, objectives
from studio.train import checkpoint
from studio.train.events import Control, EventSink
from studio.train.examples import encode_rows, unweighted
from studio.train.gauge import Gauge, predict
from studio.train.lending import Guest, Lending
from studio.train.loop import Loop, Work
from studio.train.objective import Computation, Example, Forward, Loss, Models, make_objective
from studio.train.progress import Progress, peak_memory_bytes
from studio.train.sampler import epoch_batches, pieces, steps_per_epoch
from studio.train.shortage import refusing_lack_of_memory
from studio.train.tuner import Batch, Tuner, TunerContext, make_tuner


@dataclass(frozen=True)
class TrainResult:
    """How a run ended. `loss` and `eval_loss` as last recorded; `adapter` is None only if nothing was
    trained. Memory `predicted` (None where the model's size is unknown) and `measured`, what its steps but
    the first `spent` (None without such), and the rows that went through the model at once (`micro_batch`)
    are this attempt's."""

    state: Literal["done", "stopped"]
    steps: int
    loss: float | None
    eval_loss: float | None
    best_step: int | None
    adapter: Path | None
    peak_memory_bytes: int
    predicted: Need | None
    measured: Measured
    spent: Spent | None
    micro_batch: int


@dataclass(frozen=True)
class _Data:
    train: list[Example]
    heldout: list[Example]
    pad_id: int
    rows_hash: str
    token_id: Callable[[str], int | None]


def train(
    plan: Plan,
    *,
    model_folder: Path,
    folder: Path,
    sink: EventSink,
    control: Control,
    attempt: int = 1,
    device: str = "cpu",
    base_hash: str | None = None,
    micro_batch: int | None = None,
    guest: Guest | None = None,
) -> TrainResult:
    """Train `plan` (resolved: batch, lr, precision and steps or epochs are set) in the run folder `folder`.

    `base_hash` names the base in what is saved; without it the weights are hashed here. `micro_batch`: rows
    per forward pass where memory has none for the plan's whole batch; the steps stay the same. `guest` may
    ask the model questions while it trains (see `studio.train.lending`), which changes no bit of it. Raises
    StudioError `nothing_learned`, `rows_changed` (a checkpoint was made with other rows), `loss_not_finite`,
    `memory_full`, `disk_full`, and what loading the model, the tokenizer or the method may raise.
    """
    assert plan.settings.batch is not None
    gauge = Gauge(plan, device, micro_batch or plan.settings.batch)
    with refusing_lack_of_memory(gauge):
        sink.phase("encoding", None)
        facts = read_config(model_folder, SurveysHere())
        data = _encode(plan, model_folder, folder, facts.context, sink)
        gauge.predicted = predict(plan, facts, data.train, micro_batch, card_here(device))
        if gauge.predicted:
            sink.event("memory_predicted", gauge.predicted.need.as_dict())
        newest, progress = _start(folder / "checkpoints", data.rows_hash)
        gauge.progress = progress
        sink.phase("loading", None)
        base_hash = base_hash or base_identity(model_folder, folder / "identity.json").hash
        computation = _computation(plan, model_folder, data, newest, gauge)
        work = Work(
            plan=plan,
            computation=computation,
            train=data.train,
            heldout=data.heldout,
            pad_id=data.pad_id,
            device=device,
            checkpoints=folder / "checkpoints",
            manifest=_manifest(plan, base_hash, data.rows_hash),
            sink=sink,
            control=control,
            micro_batch=micro_batch,
        )
        work.checkpoints.mkdir(exist_ok=True)
        autocast = plan.settings.precision == "mixed"
        lending = gauge.lending = Lending(guest, computation, facts, device, autocast, lambda: progress.step)
        loop = gauge.holder = Loop(work, progress, total_steps(plan, len(data.train)), lending)
        if newest:
            sink.event("resumed", {"step": progress.step, "attempt": attempt})
        _step_on(loop, newest)
        return _finish(loop, folder, gauge)


def _step_on(loop: Loop, newest: Path | None) -> None:
    """The steps that are left, after what the newest checkpoint still lacks."""
    checkpoint.require_room(loop.work.checkpoints, loop.checkpoint_bytes())
    loop.make_up_evaluation()
    if loop.progress.step < loop.total:
        loop.work.sink.phase("training", loop.progress.step / loop.total)
        with loop.lending.open():
            loop.train(resume_from_checkpoint=str(newest) if newest else None)


def total_steps(plan: Plan, rows: int) -> int:
    """Optimizer steps of a plan over this many usable rows."""
    settings = plan.settings
    if settings.steps is not None:
        return settings.steps
    assert settings.batch is not None
    assert settings.epochs is not None
    return max(1, ceil(settings.epochs * steps_per_epoch(rows, settings.batch, settings.accumulation)))


def _encode(plan: Plan, model_folder: Path, folder: Path, context: int | None, sink: EventSink) -> _Data:
    renderer = Renderer.of_run(folder / "tokenizer", model_folder)
    rows = read_rows(folder / "rows.jsonl")
    heldout = _heldout_rows(folder)
    objective = objectives.get(plan.objective)
    seq = _longest(plan, context)
    encoded = encode_rows(rows, renderer, objective, seq)
    if not encoded.examples:
        raise StudioError("nothing_learned", rows=len(rows), skipped=encoded.skipped)
    if encoded.skipped:
        sink.event("rows_skipped", {"rows": len(rows), "skipped": encoded.skipped})
    shown = encode_rows(heldout, renderer, objective, seq)
    return _Data(
        encoded.examples, unweighted(shown.examples), renderer.pad_id, dataset_hash(rows), renderer.token_id
    )


def _longest(plan: Plan, context: int | None) -> int | None:
    """Where rows are cut: as the plan says, but never beyond the positions that the model knows."""
    limits = [limit for limit in (plan.settings.seq, context) if limit is not None]
    return min(limits, default=None)


def _heldout_rows(folder: Path) -> list[Row]:
    file = folder / "heldout.jsonl"
    return read_rows(file) if file.is_file() else []


def _start(root: Path, rows_hash: str) -> tuple[Path | None, Progress]:
    """The newest complete checkpoint, if any, and where it stands.

    Raises StudioError `rows_changed` if it was made with other rows.
    """
    found = checkpoint.checkpoints(root)
    manifest = checkpoint.read_manifest(found[-1]) if found else None
    if manifest is None:
        return None, Progress()
    if manifest["rows"] != rows_hash:
        raise StudioError("rows_changed", checkpoint=found[-1].name)
    return found[-1], Progress(**manifest["progress"])


def _manifest(plan: Plan, base_hash: str, rows_hash: str) -> dict[str, Any]:
    return {
        "method": plan.method,
        "method_params": to_dict(plan.method_params),
        "objective": plan.objective,
        "model": plan.model,
        "base": base_hash,
        "rows": rows_hash,
    }


def _computation(
    plan: Plan, model_folder: Path, data: _Data, newest: Path | None, gauge: Gauge
) -> Computation:
    """The model with its method, fresh or as the checkpoint has it, and the loss around it."""
    settings, method, device = plan.settings, methods.get(plan.method), gauge.device
    whole = partial(
        load_model,
        model_folder,
        dtype=weights_dtype(settings.precision or "fp32", method.capable("trains_base", plan.method_params)),
        attention=settings.attention,
    )
    load = partial(whole, device=device, quantisation=method.base_quantisation(plan.method_params))
    base = gauge.model = load()
    anatomy = Anatomy(base)
    tuner, objective = make_tuner(plan), make_objective(plan)
    context = _context(plan, anatomy, objective, data, gauge, partial(whole, device="cpu"))
    model = tuner.load(base, newest / checkpoint.ADAPTER, context) if newest else tuner.prepare(base, context)
    gauge.model = model
    if settings.gradient_checkpointing:
        base.activation_checkpointing_enable()  # type: ignore[operator]
    models = _models(plan, anatomy, tuner, model, lambda: Anatomy(load()))
    return Computation(model.train(), tuner, objective, models)


def _context(
    plan: Plan,
    anatomy: Anatomy,
    objective: Loss,
    data: _Data,
    gauge: Gauge,
    whole_base: Callable[[], nn.Module],
) -> TunerContext:
    kernel = plan.settings.loss_kernel
    # Before the method changed anything the model is its own reference.
    untuned = Models(Forward(anatomy, None, kernel), Forward(anatomy, None, kernel, torch.no_grad))

    def loss(batch: Batch) -> Tensor:
        total, count, _ = objective.loss(untuned, batch)
        return total / count

    return TunerContext(
        plan=plan,
        anatomy=anatomy,
        generator=torch.Generator().manual_seed(plan.settings.seed),
        calibration_batches=partial(_calibration_batches, plan, objective, data, gauge),
        loss=loss,
        token_id=data.token_id,
        whole_base=whole_base,
    )


def _calibration_batches(plan: Plan, objective: Loss, data: _Data, gauge: Gauge, n: int) -> Iterator[Batch]:
    """The first n batches, each in pieces of as many rows as go through the model at once."""
    assert plan.settings.batch is not None
    order = epoch_batches(plan.settings.seed, 0, [e.length for e in data.train], plan.settings.batch)
    for batch in order[:n]:
        for rows in pieces(batch, gauge.micro_batch):
            yield on_device(objective.collate([data.train[row] for row in rows], data.pad_id), gauge.device)


def on_device(value: Any, device: str) -> Any:
    """A batch with every tensor on `device`."""
    if isinstance(value, dict):
        return {key: on_device(item, device) for key, item in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value


def _models(
    plan: Plan, anatomy: Anatomy, tuner: Tuner, model: nn.Module, second_copy: Callable[[], Anatomy]
) -> Models:
    """The models that the objective declared; the reference is the method switched off, or a second copy."""
    kernel = plan.settings.loss_kernel
    policy = Forward(anatomy, tuner, kernel)
    if "reference" not in objectives.get(plan.objective).models:
        return Models(policy, None)
    if tuner.disabled(model) is None:
        return Models(policy, Forward(second_copy(), None, kernel, torch.no_grad))
    return Models(policy, Forward(anatomy, None, kernel, partial(_without_method, tuner, model)))


@contextmanager
def _without_method(tuner: Tuner, model: nn.Module) -> Iterator[None]:
    """`model` as the untouched base: method and dropout off, no gradients."""
    off, mode = tuner.disabled(model), model.training
    assert off is not None
    model.eval()
    try:
        with off, torch.no_grad():
            yield
    finally:
        model.train(mode)


def _finish(loop: Loop, folder: Path, gauge: Gauge) -> TrainResult:
    progress = loop.progress
    if loop.stopped:
        adapter = checkpoint.checkpoint_folder(loop.work.checkpoints, progress.step) / checkpoint.ADAPTER
    else:
        loop.work.sink.phase("saving", None)
        checkpoint.require_room(folder, loop.checkpoint_bytes())
        save = partial(loop.tuner.save, loop.work.computation.model)
        adapter = checkpoint.write_folder(
            folder / "adapter", save, {**loop.work.manifest, "step": progress.step}
        )
    result = TrainResult(
        state="stopped" if loop.stopped else "done",
        steps=progress.step,
        loss=progress.loss,
        eval_loss=progress.eval_loss,
        best_step=progress.best_step,
        adapter=adapter,
        peak_memory_bytes=peak_memory_bytes(loop.work.device),
        predicted=gauge.predicted.need if gauge.predicted else None,
        measured=gauge.measured(),
        spent=loop.pace.spent,
        micro_batch=gauge.micro_batch,
    )
    predicted = result.predicted.as_dict() if result.predicted else None
    body = {**asdict(replace(result, predicted=None)), "predicted": predicted}
    write_json(folder / "result.json", {**body, "adapter": str(adapter.relative_to(folder))})
    return result
