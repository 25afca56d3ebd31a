"""Measuring the memory of one run: what lives all the time exactly, the rest by the highest mark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil
import torch
from torch import Tensor, nn

from studio.data.render import Encoded
from studio.memory.cards import Card
from studio.memory.estimate import estimate
from studio.memory.measured import STEP, Measured
from studio.memory.need import Need
from studio.memory.tracker import tensors_of
from studio.models.config import ModelFacts
from studio.plan import Plan, methods
from studio.train.objective import Example, learned_tokens
from studio.train.progress import Progress, peak_memory_bytes
from studio.train.sampler import epoch_batches, pieces


@dataclass(frozen=True)
class Prediction:
    """What a run was estimated to need, and for what: `plan` with the largest batch that goes through the
    model at once, `learned` the share of its tokens that carry loss, `card` the GPU."""

    need: Need
    plan: Plan
    facts: ModelFacts
    learned: float
    card: Card


class Holder(Protocol):
    """Who makes the optimizer: the loop, or a rehearsal of its step."""

    optimizer: Any


class Lent(Protocol):
    """What others hold beside a model that is lent to them."""

    most_cache_bytes: int


class Gauge:
    """Set up before the model is loaded. What else there is, is told to it once it is there: `model`,
    `holder`, `predicted`, `lending`, and the `progress` that counts steps.

    `micro_batch`: rows per forward pass.
    """

    def __init__(self, plan: Plan, device: str, micro_batch: int) -> None:
        self.plan, self.device, self.micro_batch = plan, device, micro_batch
        self.model: nn.Module | None = None
        self.holder: Holder | None = None
        self.progress: Progress | None = None
        self.predicted: Prediction | None = None
        self.lending: Lent | None = None
        forget_peak(device)
        self.before = held_bytes(device)
        self.free = free_bytes(device)

    def measured(self) -> Measured:
        """As of now, the highest mark since the beginning."""
        weights, adapter = self._model()
        parts = {"weights": weights, "adapter": adapter, "optimizer": _bytes(self._optimizer_state())}
        # Keys and values of answers are not what the plan was estimated for.
        lent = self.lending.most_cache_bytes if self.lending else 0
        peak = peak_memory_bytes(self.device) - self.before - lent
        parts[STEP] = max(0, peak - sum(parts.values()))
        reserved = torch.cuda.max_memory_reserved(self.device) if self.device.startswith("cuda") else None
        return Measured(parts, peak, reserved)

    def _model(self) -> tuple[int, int]:
        """Bytes of the base, and of what the method trains beside it."""
        if self.model is None:
            return 0, 0
        whole = _bytes(tensors_of(self.model))
        if methods.get(self.plan.method).capable("trains_base", self.plan.method_params):
            return whole, 0
        adapter = _bytes(p.data for p in self.model.parameters() if p.requires_grad)
        return whole - adapter, adapter

    def _optimizer_state(self) -> Iterator[Tensor]:
        if self.holder is None or self.holder.optimizer is None:
            return
        for kept in self.holder.optimizer.state.values():
            yield from (value for value in kept.values() if isinstance(value, Tensor))


def _bytes(tensors: Iterator[Tensor]) -> int:
    """Of storages, each counted once."""
    storages = {s._cdata: s.nbytes() for s in (tensor.untyped_storage() for tensor in tensors)}
    return sum(storages.values())


def forget_peak(device: str) -> None:
    """Let the highest mark be what is held now. Where the system does not offer that, it stays."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return
    marks = Path("/proc/self/clear_refs")
    if marks.exists():
        marks.write_text("5")  # proc_pid_clear_refs(5): resets VmHWM


def held_bytes(device: str) -> int:
    """What this process holds now: tensors on a GPU, else resident memory."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def free_bytes(device: str) -> int:
    """What could still be taken from the device, or from the machine's memory."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def predict(
    plan: Plan, facts: ModelFacts, rows: Sequence[Example], micro_batch: int | None, card: Card
) -> Prediction | None:
    """The estimate for the longest rows that the run will meet, on this card; None if the model's size is
    unknown, or where in it the method trains."""
    if facts.parameters is None or not _known(plan, facts):
        return None
    assert plan.settings.batch is not None
    # The batch with the longest row comes first.
    first = epoch_batches(plan.settings.seed, 0, [row.length for row in rows], plan.settings.batch)[0]
    longest = [rows[number] for number in pieces(first, micro_batch or plan.settings.batch)[0]]
    seq = max(row.length for row in longest)
    learned = sum(learned_tokens(_longest_stream(row)) for row in longest) / (len(longest) * seq)
    met = plan.with_settings(batch=len(longest), seq=seq)
    need = estimate(met, facts, learned, capacity=card.capacity, capability=card.capability)
    return Prediction(need, met, facts, learned, card)


def _known(plan: Plan, facts: ModelFacts) -> bool:
    method = methods.get(plan.method)
    terms = method.memory(facts, plan.method_params, plan.settings)
    beside = terms.ranks or terms.side or terms.trains_embeddings or terms.trains_head
    return bool(beside) or method.capable("trains_base", plan.method_params)


def _longest_stream(row: Example) -> Encoded:
    return max(row.streams.values(), key=lambda encoded: len(encoded.ids))
