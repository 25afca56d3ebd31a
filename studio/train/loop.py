"""The training loop: transformers' Trainer with our loss, batch order, evaluation and checkpoints.

The Trainer gives the order of a step (accumulation, autocast, clipping, optimizer, schedule) and, through
Accelerate, wrapping for several devices. What is overridden here: where batches come from, what a forward
pass computes, what happens at a step boundary, and what a checkpoint holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainingArguments, get_scheduler

from studio.errors import StudioError
from studio.files import write_json
from studio.plan import Plan
from studio.train import checkpoint
from studio.train.energy import energy_meter
from studio.train.events import Control, EventSink
from studio.train.hooks import Hooks
from studio.train.lending import Lending
from studio.train.objective import Computation, Example
from studio.train.optim import make_optimizer
from studio.train.progress import Pace, Progress, peak_memory_bytes
from studio.train.sampler import EpochBatches, pieces
from studio.train.tuner import Batch
from studio.train.undisturbed import random_state, set_random_state, undisturbed

NOT_FINITE_LIMIT = 3  # steps in a row
_TRAINER_STATE = "trainer_state.json"
_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


@dataclass(frozen=True)
class Work:
    """What there is to train, and where to report.

    `manifest` goes into every checkpoint; `checkpoints` is the folder they are written to. `micro_batch`:
    rows per forward pass where memory has none for the plan's whole batch. A batch is then gone through in
    pieces that add up to the same step, so the order of rows and the number of steps stay what they were.
    """

    plan: Plan
    computation: Computation
    train: Sequence[Example]
    heldout: Sequence[Example]
    pad_id: int
    device: str
    checkpoints: Path
    manifest: dict[str, Any]
    sink: EventSink
    control: Control
    micro_batch: int | None = None

    @property
    def batch(self) -> int:
        """Rows per batch, as the plan has it."""
        assert self.plan.settings.batch is not None
        return self.plan.settings.batch

    @property
    def rows_at_once(self) -> int:
        """Rows per forward pass."""
        return self.micro_batch or self.batch


class Loop(Trainer):
    """Trains `work.computation` from `progress` up to `total` steps; `stopped` says that it was asked to
    end."""

    def __init__(self, work: Work, progress: Progress, total: int, lending: Lending) -> None:
        self.work, self.progress, self.total, self.lending = work, progress, total, lending
        self.tuner = work.computation.tuner
        self.sampler = EpochBatches(work.plan.settings.seed, [e.length for e in work.train], work.batch)
        self.pace = Pace(meter=energy_meter(work.device))
        self.stopped = False
        self._batches: list[Batch] = []
        self._metrics: dict[str, Tensor] = {}
        self._grad_norm: Tensor | None = None
        self._reported = progress.step
        self._not_finite = 0
        super().__init__(
            model=work.computation,
            args=_arguments(work, total),
            train_dataset=work.train,
            callbacks=[Hooks(self)],
        )
        self.remove_callback(PrinterCallback)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """One batch on the run's device; `tokens` counts what is read, without padding."""
        batch = self.work.computation.objective.collate(examples, self.work.pad_id)
        batch["tokens"] = sum(len(e.ids) for example in examples for e in example.streams.values())
        return batch

    def collate_pieces(self, examples: Sequence[Example]) -> Batch:
        """`pieces` of one batch, of as many rows as go through the model at once, each padded by itself."""
        return {"pieces": [self.collate(rows) for rows in pieces(examples, self.work.rows_at_once)]}

    # Batches

    def get_train_dataloader(self) -> DataLoader[Any]:
        # A generator of its own: a loader otherwise draws from the global one at the start of each epoch.
        return DataLoader(
            self.work.train,  # type: ignore[arg-type]
            batch_sampler=self.sampler,
            collate_fn=self.collate_pieces,
            generator=torch.Generator(),
        )

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Any]:
        """The batches of one optimizer step, and the count that their loss sums are divided by."""
        del device
        self.pace.start()
        batches = [next(epoch_iterator) for _ in range(num_batches)]
        self._batches = [piece for batch in batches for piece in batch["pieces"]]
        self.progress.tokens += sum(batch["tokens"] for batch in self._batches)
        return batches, float(sum(batch["count"] for batch in self._batches))

    # One step

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: float | Tensor | None = None
    ) -> Tensor:
        if self.tuner.replaces_step:
            return self._replaced_step(model, num_items_in_batch)
        total = torch.zeros((), device=self.args.device)
        for piece in inputs["pieces"]:
            computed = model(self._prepare_inputs(piece), num_items_in_batch)
            self.accelerator.backward(computed["loss"])
            for name, value in computed["metrics"].items():
                self._metrics[name] = self._metrics.get(name, torch.zeros_like(value)) + value
            total = total + computed["loss"].detach()
        return total

    def _replaced_step(self, model: nn.Module, count: Any) -> Tensor:
        """The method's own optimizer step, taken once, when the last batch of the step is reached."""
        if not self.accelerator.sync_gradients:
            return torch.zeros((), device=self.args.device)

        @torch.no_grad()
        def loss() -> Tensor:
            parts = [model(self._prepare_inputs(batch), count)["loss"] for batch in self._batches]
            return torch.stack(parts).sum()

        return self.tuner.step(self.work.computation.model, loss, self.state.global_step).detach()

    def _clip_grad_norm(self, model: nn.Module) -> Tensor | None:
        del model
        assert self.optimizer is not None
        if not self.tuner.replaces_step:
            self.tuner.after_backward(self.work.computation.model, self.state.global_step)
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm: Tensor = self.accelerator.clip_grad_norm_(trained, self.args.max_grad_norm)
        if not torch.isfinite(norm + self._tr_loss):
            # Without gradients the optimizer leaves the weights alone.
            self.work.computation.zero_grad(set_to_none=True)
        self._grad_norm = norm
        return norm

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        del model
        groups = self.tuner.param_groups(self.work.computation.model, self.work.plan.settings)
        self.optimizer = make_optimizer(self.work.plan, groups)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        settings = self.work.plan.settings
        assert self.optimizer is not None
        self.lr_scheduler = get_scheduler(
            _SCHEDULES[settings.schedule],
            optimizer or self.optimizer,
            num_warmup_steps=round(settings.warmup * num_training_steps),
            num_training_steps=num_training_steps,
        )
        self._created_lr_scheduler = True
        return self.lr_scheduler

    # The boundary between two steps

    def _maybe_log_save_evaluate(
        self, tr_loss: Tensor, *args: Any, learning_rate: float | None = None, **kwargs: Any
    ) -> None:
        del args, kwargs
        if self.state.global_step == self._reported:
            return  # the Trainer asks once more at the end of an epoch
        self._reported = self.progress.step = self.state.global_step
        self._report(tr_loss.item(), learning_rate)
        tr_loss.zero_()
        best = self._evaluation_due() and self._evaluate_heldout()
        if best or self.pace.save_due():
            self.save_checkpoint()
        self._obey()
        if not self.stopped:
            self.lending.turn()

    def _report(self, loss: float, learning_rate: float | None) -> None:
        tokens = sum(batch["tokens"] for batch in self._batches)
        took, step = self.pace.stepped(tokens), self.progress.step
        norm = float("nan") if self._grad_norm is None else self._grad_norm.item()
        values = {
            "loss": loss,
            "lr": learning_rate,
            "grad_norm": norm,
            "tokens_per_second": tokens / took.seconds,
            "step_seconds": took.seconds,
            "step_joules": took.joules,
            "memory_bytes": peak_memory_bytes(self.work.device),
            "tokens": self.progress.tokens,
            "epoch": self.state.epoch,
            "seconds_left": (self.total - step) * (self.pace.step_seconds or took.seconds),
            "chat_bytes": self.lending.cache_bytes or None,
            **{name: value.item() for name, value in self._metrics.items()},
        }
        self._metrics = {}
        for name, value in values.items():
            if value is not None:
                self.work.sink.metric(step, name, float(value))
        self.work.sink.phase("training", step / self.total)
        self._watch(loss, norm)

    def _watch(self, loss: float, norm: float) -> None:
        """Raises StudioError `loss_not_finite` when several steps in a row could not be used."""
        if isfinite(loss) and isfinite(norm):
            self.progress.loss = loss
            self._not_finite = 0
            return
        self._not_finite += 1
        self.work.sink.event("loss_not_finite", {"step": self.progress.step, "in_a_row": self._not_finite})
        if self._not_finite == NOT_FINITE_LIMIT:
            raise StudioError("loss_not_finite", step=self.progress.step)

    def _evaluation_due(self) -> bool:
        if not self.work.heldout or not self.progress.step:
            return False
        every = self.work.plan.settings.eval_every
        return self.progress.step == self.total or (every is not None and self.progress.step % every == 0)

    def make_up_evaluation(self) -> None:
        """Go through an evaluation of the present step that a stop cut short, before the run goes on."""
        if self.progress.evaluated_step == self.progress.step or not self._evaluation_due():
            return
        with self.accelerator.autocast():  # what the Trainer does to the model once training begins
            if self._evaluate_heldout():
                self._write_best()

    def _evaluate_heldout(self) -> bool:
        """Loss per learned token over the held-out rows; true if it is the lowest so far.

        A stop is not kept waiting: the evaluation is left, and made up for when the run goes on.
        """
        self.work.sink.phase("evaluating", None)
        loss = self.heldout_loss()
        if loss is None:
            return False
        self.progress.evaluated_step = self.progress.step
        self.work.sink.metric(self.progress.step, "eval_loss", loss)
        if not isfinite(loss) or not self.progress.evaluated(loss):
            return False
        self.work.sink.event("best", {"step": self.progress.step, "eval_loss": loss})
        return True

    def heldout_loss(self) -> float | None:
        """Sum over the learned tokens of all held-out rows, divided by their number; None once the run is to
        stop."""
        order = sorted(self.work.heldout, key=lambda e: -e.length)
        total, count = 0.0, 0.0
        with undisturbed(self.work.computation):
            for rows in pieces(order, self.work.rows_at_once):
                if self.work.control.stopping():
                    return None
                self.lending.turn()
                batch = self.collate(rows)
                total += self.model_wrapped(self._prepare_inputs(batch), 1.0)["loss"].item()
                count += float(batch["count"])
        return total / count

    def _obey(self) -> None:
        """Pause or end as the person wishes."""
        work = self.work
        wish = work.control.wish()
        if wish == "pause":
            self.save_checkpoint()
            work.sink.event("paused", {"step": self.progress.step})
            work.control.wait_while_paused(self.lending.turn_while_paused)
            wish = work.control.wish()
            work.sink.event("continued", {"step": self.progress.step})
        if wish == "stop":
            self.save_checkpoint()
            self.stopped = True
            self.control.should_training_stop = True

    # Checkpoints

    def save_checkpoint(self) -> None:
        """Write a complete checkpoint of the present step, then drop those that are no longer kept."""
        work, step = self.work, self.progress.step
        work.sink.phase("saving", None)
        began = self.pace.now()
        checkpoint.require_room(work.checkpoints, self.checkpoint_bytes())
        folder = checkpoint.checkpoint_folder(work.checkpoints, step)
        checkpoint.write_folder(
            folder,
            self._fill_checkpoint,
            {**work.manifest, "step": step, "progress": self.progress.as_dict()},
        )
        if self.progress.best_step == step:
            self._write_best()
        checkpoint.prune(work.checkpoints, work.plan.settings.keep_checkpoints, self.progress.best_step)
        seconds = self.pace.now() - began
        self.pace.saved(seconds)
        work.sink.event("checkpoint", {"step": step, "seconds": seconds})

    def _write_best(self) -> None:
        best = {"step": self.progress.best_step, "eval_loss": self.progress.best_eval_loss}
        write_json(self.work.checkpoints.parent / "best.json", best)

    def _fill_checkpoint(self, folder: Path) -> None:
        adapter = folder / checkpoint.ADAPTER
        adapter.mkdir()
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        self.tuner.save(self.work.computation.model, adapter)
        state = {
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.lr_scheduler.state_dict(),
            "random": random_state(),
            "method": self.tuner.state_dict(),
        }
        torch.save(state, folder / checkpoint.STATE)
        self.state.save_to_json(str(folder / _TRAINER_STATE))

    def checkpoint_bytes(self) -> int:
        """Trained weights three times: themselves and up to two moments."""
        trained = (p for p in self.work.computation.parameters() if p.requires_grad)
        return 3 * sum(p.numel() * p.element_size() for p in trained)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Nothing: the method has read its weights when it was put onto the base."""

    def _load_optimizer_and_scheduler(self, checkpoint_path: str | None) -> None:
        if checkpoint_path is None:
            return
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        state = checkpoint.read_state(Path(checkpoint_path))
        self.optimizer.load_state_dict(state["optimizer"])
        self.lr_scheduler.load_state_dict(state["schedule"])
        self.tuner.load_state_dict(state["method"])

    def _load_rng_state(self, checkpoint_path: str | None) -> None:
        if checkpoint_path is not None:
            set_random_state(checkpoint.read_state(Path(checkpoint_path))["random"])

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Nothing: reporting is done at the step boundary."""


def _arguments(work: Work, total: int) -> TrainingArguments:
    settings = work.plan.settings
    args = TrainingArguments(
        output_dir=str(work.checkpoints),
        max_steps=total,
        per_device_train_batch_size=work.batch,
        gradient_accumulation_steps=settings.accumulation,
        max_grad_norm=settings.grad_clip or float("inf"),
        seed=settings.seed,
        bf16=settings.precision == "mixed",
        use_cpu=work.device == "cpu",
        save_strategy="no",
        logging_strategy="no",
        eval_strategy="no",
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        remove_unused_columns=False,
        report_to=[],
    )
    # Several GPUs in one process would make the Trainer wrap the model for all of them.
    args._n_gpu = min(args.n_gpu, 1)
    return args
