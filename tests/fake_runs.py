"""Runs of the fake facade: their curves as a function of the step, and the values a plan gets by default."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from studio.errors import Reason
from studio.plan import Settings


@dataclass
class FakeRun:
    """One run: `elapsed` simulated seconds of training so far, and since when more are being added."""

    id: str
    model: str
    dataset: str
    state: str
    planned: int = 300
    step_seconds: float = 0.15
    elapsed: float = 0.0
    since: float | None = None
    created: float = 0.0
    started: float | None = None
    ended: float | None = None
    error: Mapping[str, Any] | None = None
    attempt: int = 1
    plan: dict[str, Any] = field(default_factory=dict)

    @property
    def eval_every(self) -> int:
        return max(1, self.planned // 12)

    def loss(self, step: int) -> float:
        noise = random.Random(f"{self.id}/{step}").gauss(0, 0.07)
        return 0.35 + 2.7 * math.exp(-5 * step / self.planned) + noise

    def eval_loss(self, step: int) -> float:
        late = max(0.0, step / self.planned - 0.7)
        return 0.52 + 2.5 * math.exp(-5 * step / self.planned) + 0.9 * late * late

    def lr(self, step: int) -> float:
        warm = max(1, round(0.03 * self.planned))
        share = (step - warm) / max(1, self.planned - warm)
        return 1e-3 * (step / warm if step < warm else 0.5 * (1 + math.cos(math.pi * share)))

    def value(self, name: str, step: int) -> float:
        wave = random.Random(f"{self.id}/{name}/{step}").random()
        match name:
            case "loss":
                return self.loss(step)
            case "eval_loss":
                return self.eval_loss(step)
            case "lr":
                return self.lr(step)
            case "grad_norm":
                return 0.4 + 1.5 * math.exp(-4 * step / self.planned) + 0.3 * wave
            case "tokens_per_second":
                return 2400 + 300 * wave
            case "step_seconds":
                return self.step_seconds * (0.95 + 0.1 * wave)
            case "memory_bytes":
                return 612e6 + 2e6 * min(step, 10)
        raise ValueError(f"no metric is named {name}")


def best_step(run: FakeRun, step: int) -> int | None:
    """Step of the lowest evaluation loss so far, None before the first evaluation."""
    steps = range(run.eval_every, step + 1, run.eval_every)
    return min(steps, key=run.eval_loss, default=None)


def choose(settings: Settings, rows: int) -> tuple[Settings, dict[str, Reason]]:
    """Every open setting filled with a plausible value and a reason."""
    automatic: dict[str, tuple[Any, Reason]] = {
        "device": ("cpu", Reason("device_no_gpu", {"cores": 2})),
        "precision": ("fp32", Reason("precision_small_model", {})),
        "batch": (8, Reason("batch_cpu", {"batch": 8, "cores": 2})),
        "seq": (128, Reason("seq_longest_row", {"seq": 128, "longest": 121})),
        "lr": (1e-3, Reason("lr_by_width", {"hidden": 192})),
        "optimizer_impl": ("fused", Reason("optimizer_impl_fused", {})),
        "adapter_dtype": ("fp32", Reason("adapter_dtype_fp32", {})),
    }
    chosen = {k: v for k, v in automatic.items() if getattr(settings, k) is None}
    settings = dataclasses.replace(settings, **{k: value for k, (value, _) in chosen.items()})
    reasons = {k: reason for k, (_, reason) in chosen.items()}
    batch = settings.batch or 8
    if settings.steps is None:
        epochs = settings.epochs or 6.0
        steps = max(1, math.ceil(rows / batch * epochs))
        if settings.epochs is None:
            reasons["epochs"] = Reason("epochs_few_rows", {"rows": rows, "epochs": 6})
        settings = dataclasses.replace(settings, steps=steps, epochs=epochs)
    if settings.eval_every is None:
        every = max(1, (settings.steps or 12) // 12)
        settings = dataclasses.replace(settings, eval_every=every)
        reasons["eval_every"] = Reason("eval_every_share", {"every": every, "steps": settings.steps})
    return settings, reasons
