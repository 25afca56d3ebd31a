"""What a tuning method supplies to the loop.

A method derives from `Tuner` and overrides what it needs; the loop calls every hook of every method. What it
saves is always a change against the untouched base model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from studio.methods import added_itemsize
from studio.models.anatomy import Anatomy, Hidden
from studio.plan import Plan, methods
from studio.registry import load_part

if TYPE_CHECKING:
    from transformers import Cache

Batch = dict[str, Any]


@dataclass(frozen=True)
class TunerContext:
    """What a method may use while it is put onto a model.

    `generator` is seeded from the plan and serves this purpose only. `calibration_batches(n)` yields the
    rows of the first n training batches on the model's device, where memory is short in smaller batches;
    `loss(batch)` is the objective's loss per learned token on one of them, before the method changed
    anything. `token_id(text)` is the number of a token in the run's vocabulary, None if it has none such;
    `whole_base()` loads the base once more onto the CPU, not quantised.
    """

    plan: Plan
    anatomy: Anatomy
    generator: torch.Generator
    calibration_batches: Callable[[int], Iterator[Batch]]
    loss: Callable[[Batch], Tensor]
    token_id: Callable[[str], int | None] = lambda _: None
    whole_base: Callable[[], nn.Module] | None = None


class Switch(Protocol):
    """Something beside a shared model: on inside `on()`, gone after `remove()`."""

    def on(self) -> AbstractContextManager[None]: ...
    def remove(self) -> None: ...


@runtime_checkable
class RowSwitch(Switch, Protocol):
    """One that can be on for some rows of a forward pass and off for the others."""

    def over(self, rows: slice | Tensor, cache: Cache) -> AbstractContextManager[None]:
        """On for these rows alone. `cache` is theirs: it has room for layers of the switch's own."""
        ...


class Tuner:
    """One method at work on one model. `params` are the method's own.

    A method without a backward pass sets `replaces_step` and does a whole optimizer step in `step`.
    """

    replaces_step = False

    def __init__(self, params: Any) -> None:
        self.params = params

    def prepare(self, model: nn.Module, context: TunerContext) -> nn.Module:
        """Put a fresh, trainable form of the method onto a frozen base and return the model to train."""
        raise NotImplementedError(type(self).__name__)

    def save(self, model: nn.Module, folder: Path) -> None:
        """Write what was learned, as a change against the untouched base, into the existing `folder`."""
        raise NotImplementedError(type(self).__name__)

    def load(self, model: nn.Module, folder: Path, context: TunerContext | None = None) -> nn.Module:
        """Put what `save` wrote onto an untouched base: trainable if there is a context, else for use."""
        raise NotImplementedError(type(self).__name__)

    def beside(self, model: nn.Module, folder: Path) -> Switch:
        """What `save` wrote, put beside a base that others use too, and off until it is switched on. Only for
        methods declared `switched`."""
        raise NotImplementedError(type(self).__name__)

    def interpolate(
        self, model: nn.Module, folder: Path, weight: float, base: Mapping[str, Tensor]
    ) -> nn.Module:
        """Give `model` the weights between those of `base`, by name (at 0), and what `save` wrote (at 1). It
        may be the base itself. Only for methods declared `trains_base`."""
        raise NotImplementedError(type(self).__name__)

    def merge(self, model: nn.Module) -> nn.Module:
        """The base with the change folded into its weights. Only for methods declared `mergeable`."""
        raise NotImplementedError(type(self).__name__)

    def disabled(self, model: nn.Module) -> AbstractContextManager[None] | None:  # noqa: ARG002
        """A context in which `model` computes as the untouched base; None if the method can't be switched
        off."""
        return None

    def active(self, model: nn.Module) -> Any:  # noqa: ARG002
        """What of the method is switched on: equal again after whatever switched some of it off."""
        return None

    def hidden(self, anatomy: Anatomy, batch: Batch) -> Hidden:
        """Final hidden states under this method; methods with towers of their own override it."""
        return anatomy.hidden(batch["input_ids"], batch["attention_mask"])

    def param_groups(self, model: nn.Module, settings: Any) -> list[dict[str, Any]]:
        """Parameter groups for the optimizer; by default all trainable ones, vectors without weight decay."""
        trainable = [p for p in model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trainable if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def extra_loss(self, model: nn.Module) -> Tensor | None:  # noqa: ARG002
        """A term added once per optimizer step to the objective's loss per token."""
        return None

    def before_step(self, model: nn.Module, step: int) -> None:
        """Before the forward passes of optimizer step `step` (from 0)."""

    def after_backward(self, model: nn.Module, step: int) -> None:
        """After the gradients of a step are whole, before they are clipped."""

    def after_step(self, model: nn.Module, step: int) -> None:
        """After the optimizer changed the weights."""

    def on_epoch(self, model: nn.Module, epoch: int) -> None:
        """At the start of each pass over the rows (from 0); not again when a run goes on in its middle."""

    def step(self, model: nn.Module, loss: Callable[[], Tensor], step: int) -> Tensor:
        """A whole optimizer step of a method that sets `replaces_step`.

        `loss()` computes the loss of the step's batches without gradients, as often as it is asked. Returns
        the loss to report.
        """
        raise NotImplementedError(type(self).__name__)

    def state_dict(self) -> dict[str, Any]:
        """State that is no parameter and that resuming needs: tensors and plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""


def trained_dtype(settings: Any) -> torch.dtype:
    """The dtype of weights that a method adds: 32 bit unless the plan says otherwise."""
    return torch.bfloat16 if added_itemsize(settings) == 2 else torch.float32


def make_tuner(plan: Plan) -> Tuner:
    """The tuner of the plan's method."""
    tuner: Tuner = load_part(methods.get(plan.method).torch)(plan.method_params)
    return tuner
