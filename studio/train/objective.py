"""What an objective supplies to the loop: how rows become a batch, and a batch a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from studio.data.render import Encoded
from studio.models.anatomy import Anatomy
from studio.plan import Plan, objectives
from studio.registry import load_part
from studio.train.loss import IGNORED, Losses, token_losses
from studio.train.tuner import Batch, Tuner


@dataclass(frozen=True)
class Example:
    """One row, encoded: token ids and learned flags of each stream that the objective reads."""

    streams: dict[str, Encoded]
    weights: dict[str, float]
    labels: dict[str, Any]

    @property
    def length(self) -> int:
        """Tokens of the longest stream."""
        return max(len(e.ids) for e in self.streams.values())


class Forward:
    """Token losses of one model: the tuned one, or with `context` the reference."""

    def __init__(
        self,
        anatomy: Anatomy,
        tuner: Tuner | None,
        kernel: str,
        context: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.anatomy = anatomy
        self._tuner, self._kernel, self._context = tuner, kernel, context

    def __call__(self, stream: Batch) -> Losses:
        """The loss of each learned token of one stream of a batch (see `pad`)."""
        with self._context():
            if self._tuner is None:
                hidden = self.anatomy.hidden(stream["input_ids"], stream["attention_mask"])
            else:
                hidden = self._tuner.hidden(self.anatomy, stream)
            return token_losses(self.anatomy, hidden, stream, self._kernel)


@dataclass(frozen=True)
class Models:
    """The models an objective declared: `policy` is the tuned one, `reference` the base."""

    policy: Forward
    reference: Forward | None


class Loss(ABC):
    """One objective at work. `params` are the objective's own."""

    def __init__(self, params: Any) -> None:
        self.params = params

    @abstractmethod
    def collate(self, examples: Sequence[Example], pad_id: int) -> Batch:
        """A batch of tensors; `batch["count"]` is what its loss sum will be divided by (a number)."""

    @abstractmethod
    def loss(self, forward: Models, batch: Batch) -> tuple[Tensor, Tensor | float, dict[str, Tensor]]:
        """(sum, count, metrics): the loss is sum / count over all batches of a step, and so is each
        metric."""


def pad(encoded: Sequence[Encoded], pad_id: int) -> Batch:
    """One stream of a batch: `input_ids`, `attention_mask`, `labels`, each (B, S), padded on the right.

    The first token of a row has no label: nothing predicts it.
    """
    width = max(len(e.ids) for e in encoded)
    ids = [e.ids + [pad_id] * (width - len(e.ids)) for e in encoded]
    mask = [[1] * len(e.ids) + [0] * (width - len(e.ids)) for e in encoded]
    labels = [
        [IGNORED]
        + [i if learned else IGNORED for i, learned in zip(e.ids[1:], e.learned[1:], strict=True)]
        + [IGNORED] * (width - len(e.ids))
        for e in encoded
    ]
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.tensor(mask),
        "labels": torch.tensor(labels),
    }


def learned_tokens(encoded: Encoded) -> int:
    """How many tokens of an encoded stream get a label."""
    return sum(encoded.learned[1:])


def make_objective(plan: Plan) -> Loss:
    """The plan's objective."""
    objective: Loss = load_part(objectives.get(plan.objective).torch)(plan.objective_params)
    return objective


class Computation(nn.Module):
    """The module that the loop wraps: its forward computes the loss, so that wrappers see one call per
    batch."""

    def __init__(self, model: nn.Module, tuner: Tuner, objective: Loss, models: Models) -> None:
        super().__init__()
        self.model = model
        self.tuner, self.objective, self.models = tuner, objective, models

    def forward(self, batch: Batch, count: float) -> dict[str, Any]:
        """`loss`: this batch's part of a step's loss, `sum / count`; `metrics`: parts of each metric
        alike."""
        total, own, metrics = self.objective.loss(self.models, batch)
        loss = total / count
        extra = self.tuner.extra_loss(self.model)
        if extra is not None:
            loss = loss + extra * (own / count)
        return {"loss": loss, "metrics": {name: value.detach() / count for name, value in metrics.items()}}
