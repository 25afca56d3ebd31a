"""Real steps of a plan on its device, with made-up rows of the longest length: the truth about its memory and
its time.

It needs the model's weights and holds what a run would hold, so it belongs into a process of its own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from studio.cost import Spent
from studio.memory.measured import Measured
from studio.memory.need import PARTS, Need
from studio.memory.process import beside_allocator
from studio.memory.rehearsal import Rehearsal, prepared
from studio.memory.tracker import MADE_IN, StorageTracker
from studio.models.anatomy import Anatomy
from studio.models.load import load_model, weights_dtype
from studio.plan import Plan, methods
from studio.train.energy import energy_meter
from studio.train.gauge import Gauge
from studio.train.progress import Pace
from studio.train.shortage import refusing_lack_of_memory


@dataclass(frozen=True)
class Probed:
    """The step as a `Need` (source `probe`), as a run would measure it, and what it took."""

    need: Need
    measured: Measured
    spent: Spent


def probe(plan: Plan, model_folder: Path, device: str, learned: float) -> Need:
    """What a step of a resolved plan takes on `device`; see `measure`."""
    return measure(plan, model_folder, device, learned).need


def measure(plan: Plan, model_folder: Path, device: str, learned: float) -> Probed:
    """Take three steps of a resolved plan: only from the second on there is an optimizer state, and counting
    slows it down, so the third is timed.

    `learned` is the share of a row's tokens that carry loss. Tensors are counted by part in the second step;
    on a GPU, what its allocator counted beyond them is workspace inside kernels. `reserved` is what the
    allocator held at most, on a processor what became resident, and the context beside it: what a GPU's
    driver counts for the process beyond the allocator, on a processor what the process held before. Raises
    StudioError `memory_full`, and what loading the model or preparing the method may raise.
    """
    assert plan.settings.batch is not None
    gauge = Gauge(plan, device, plan.settings.batch)
    with refusing_lack_of_memory(gauge):
        rehearsal = _rehearsal(plan, model_folder, gauge, learned)
        rehearsal.step()
        tracker = StorageTracker(vocabulary=Anatomy(rehearsal.base).config.vocab_size)
        with tracker:
            rehearsal.hold(tracker)
            rehearsal.hold_optimizer(tracker)
            tracker.restart_peak()
            rehearsal.step(tracker)
        measured = gauge.measured()
        spent = _timed(rehearsal)
    return Probed(_need(tracker, measured, gauge), measured, spent)


def _timed(rehearsal: Rehearsal) -> Spent:
    """What one more step takes."""
    settings, device = rehearsal.plan.settings, rehearsal.device
    assert settings.batch is not None
    assert settings.seq is not None
    pace = Pace(meter=energy_meter(device))
    pace.start()
    rehearsal.step()
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return pace.stepped(settings.batch * settings.accumulation * settings.seq)


def _rehearsal(plan: Plan, model_folder: Path, gauge: Gauge, learned: float) -> Rehearsal:
    method = methods.get(plan.method)
    trains_base = method.capable("trains_base", plan.method_params)
    base = gauge.model = load_model(
        model_folder,
        dtype=weights_dtype(plan.settings.precision or "fp32", trains_base),
        device=gauge.device,
        attention=plan.settings.attention,
        quantisation=method.base_quantisation(plan.method_params),
    )
    torch.manual_seed(plan.settings.seed)
    gauge.model, tuner = prepared(plan, base)
    rehearsal = gauge.holder = Rehearsal(plan, base, gauge.model, tuner, gauge.device, learned)
    return rehearsal


def _need(tracker: StorageTracker, measured: Measured, gauge: Gauge) -> Need:
    parts = Counter[str]()
    for name, size in tracker.peak_parts.items():
        parts[MADE_IN.get(name, name)] += size
    held, low, high = measured.peak, gauge.before, gauge.before
    if measured.reserved is not None:
        parts["workspace"] += max(0, measured.peak - tracker.peak)
        held = measured.reserved
        low, high = beside_allocator(gauge.device)
    parts["context"] = (low + high) // 2
    found = {name: parts[name] for name in PARTS if parts[name]}
    return Need("probe", found, tracker.moment, (held + low, held + high))
