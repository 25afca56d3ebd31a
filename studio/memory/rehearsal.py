"""One training step as a run takes it, with made-up rows: what is traced, probed and benchmarked.

It holds what a run holds (model, method, objective, optimizer) and calls what a run calls, in its order,
without the loop's bookkeeping.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from studio.data.render import Encoded
from studio.memory.tracker import StorageTracker, tensors_of
from studio.models.anatomy import Anatomy
from studio.models.families import Family
from studio.plan import Plan, methods, objectives
from studio.train.objective import Computation, Example, Forward, Models, make_objective
from studio.train.optim import make_optimizer
from studio.train.run import on_device
from studio.train.tuner import Tuner, TunerContext, make_tuner


def prepared(plan: Plan, base: nn.Module, family: Family | None = None) -> tuple[nn.Module, Tuner]:
    """The model that a fresh run would train, and its tuner; `family` where it is not one of those known.

    There are neither training rows nor numbers to look at, so trained weights begin in their method's usual
    way: a step holds the same, whatever they began with, but for what `rewrites_base` keeps.
    """
    plan = replace(plan, method_params=_plainly_begun(plan.method_params))
    tuner = make_tuner(plan)
    context = TunerContext(
        plan, Anatomy(base, family), torch.Generator(), lambda _: iter(()), lambda _: torch.zeros(())
    )
    tuned = tuner.prepare(base, context)
    if plan.settings.gradient_checkpointing:
        base.activation_checkpointing_enable()  # type: ignore[operator]
    return tuned, tuner


def _plainly_begun(params: Any) -> Any:
    """Method params with the default of `init`, if they have one."""
    usual = {field.name: field.default for field in fields(params) if field.name == "init"}
    return replace(params, **usual)


class Rehearsal:
    """A plan at work on a model that `prepared` gave, of the same `family`. `learned` is the share of
    each row's tokens, at its end, that carry loss."""

    def __init__(
        self,
        plan: Plan,
        base: nn.Module,
        tuned: nn.Module,
        tuner: Tuner,
        device: str,
        learned: float,
        family: Family | None = None,
    ) -> None:
        self.plan, self.base, self.tuner, self.device = plan, base, tuner, device
        anatomy = Anatomy(base, family)
        forward = Models(Forward(anatomy, tuner, plan.settings.loss_kernel), None)
        self.computation = Computation(tuned.train(), tuner, make_objective(plan), forward)
        self.optimizer = make_optimizer(plan, tuner.param_groups(tuned, plan.settings))
        self.trained = [p for p in tuned.parameters() if p.requires_grad]
        self.batch = self._batch(anatomy.config.vocab_size, learned)

    def _batch(self, vocabulary: int, learned: float) -> dict[str, Any]:
        """Rows of the longest length with the same tokens over and over."""
        settings = self.plan.settings
        assert settings.batch is not None
        assert settings.seq is not None
        first = settings.seq - max(1, round(learned * settings.seq))
        ids = [number % vocabulary for number in range(settings.seq)]
        encoded = Encoded(ids, [number >= first for number in range(settings.seq)], truncated=False)
        streams = dict.fromkeys(objectives.get(self.plan.objective).streams, encoded)
        rows = [Example(streams, dict.fromkeys(streams, 1.0), {})] * settings.batch
        batch = self.computation.objective.collate(rows, pad_id=0)
        return dict(on_device(batch, self.device))

    def step(self, tracker: StorageTracker | None = None) -> None:
        """One optimizer step; a tracker learns which phase of it makes what."""

        def phase(name: str) -> AbstractContextManager[None]:
            return tracker.part(name) if tracker else nullcontext()

        settings = self.plan.settings
        for number in range(settings.accumulation):
            del number
            with phase("forward"), self._autocast():
                loss = self.computation(self.batch, float(self.batch["count"]))["loss"]
            with phase("backward"):
                loss.backward()
        with phase("backward"):
            self.tuner.after_backward(self.computation.model, 0)
            torch.nn.utils.clip_grad_norm_(self.trained, settings.grad_clip or float("inf"))
        with phase("optimizer step"):
            self.optimizer.step()
        self.optimizer.zero_grad()

    def make_optimizer_state(self) -> None:
        """What a first step leaves behind, without its passes through the model."""
        for parameter in self.trained:
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def hold(self, tracker: StorageTracker) -> None:
        """Tell a tracker what lives before the first step, and which gradients belong to what trains."""
        # Backwards, so that a table that the head shares is the embeddings'.
        for path, module in reversed(list(self.computation.named_modules())):
            tracker.hold(tensors_of(module, recurse=False), "weights", path)
        for parameter in self.trained:
            path = self._owners[parameter]
            tracker.hold([parameter.data], "adapter" if self._beside else "weights", path)
            parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                lambda p, path=path: tracker.hold([p.grad] if p.grad is not None else [], "gradients", path)
            )
        tracker.hold(_tensors(self.batch), "activations", "inputs")

    def hold_optimizer(self, tracker: StorageTracker) -> None:
        """Tell a tracker which tensors are the optimizer's state, once a step has made it."""
        for parameter, kept in self.optimizer.state.items():
            held = (value for value in kept.values() if isinstance(value, Tensor))
            tracker.hold(held, "optimizer", self._owners.get(parameter, ""))

    @cached_property
    def _owners(self) -> dict[Tensor, str]:
        """The module that each parameter belongs to, the first where several share it."""
        found: dict[Tensor, str] = {}
        for path, module in self.computation.named_modules():
            for parameter in module.parameters(recurse=False):
                found.setdefault(parameter, path)
        return found

    @property
    def _beside(self) -> bool:
        """Whether what trains was added to the base."""
        return not methods.get(self.plan.method).capable("trains_base", self.plan.method_params)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.plan.settings.precision != "mixed":
            return nullcontext()
        return torch.autocast(self.device.partition(":")[0], torch.bfloat16)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, Tensor):
        yield value
