"""Training runs of the tests: a tiny model, a run folder, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from studio.models.load import load_model
from studio.plan import Plan, methods
from studio.train.progress import Pace
from studio.train.run import TrainResult, train
from tests.toys.watch import Boundary, Killed, Recorder


@dataclass
class Ran:
    """A finished run: its result (None if it was killed), what it reported, and the base as loaded."""

    result: TrainResult | None
    recorder: Recorder
    model: nn.Module
    untouched: dict[str, Tensor]  # clones of the base's parameters, by name, from before training
    base: dict[str, Tensor]  # the very same parameters, after training

    def base_changes(self) -> list[str]:
        """Names of base parameters that training changed, in any bit."""
        return [name for name, clone in self.untouched.items() if not torch.equal(self.base[name], clone)]


def run_plan(
    plan: Plan,
    model_folder: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: Callable[[int, nn.Module], Any] = lambda *_: None,
    save_every: int | None = None,
) -> Ran:
    """Train; `at(boundary, model)` is called at each step boundary, `save_every` replaces the clock for
    checkpoints."""
    loaded: list[nn.Module] = []
    kept: dict[str, Tensor] = {}

    def load(folder: Path, **settings: Any) -> nn.Module:
        model = load_model(folder, **settings)
        loaded.append(model)
        if len(loaded) == 1:
            kept.update(model.named_parameters())
        return model

    recorder = Recorder()
    boundary = Boundary(lambda n: at(n, loaded[0]))
    with monkeypatch.context() as patch:
        patch.setattr("studio.train.run.load_model", load)
        patch.setattr(Pace, "save_due", lambda _: _due(recorder, save_every))
        result: TrainResult | None = None
        untouched = {
            n: p.clone() for n, p in load_model(model_folder, **_load_settings(plan)).named_parameters()
        }
        with suppress(Killed):
            result = train(plan, model_folder=model_folder, folder=folder, sink=recorder, control=boundary)
    return Ran(result, recorder, loaded[0], untouched, {n: p.detach() for n, p in kept.items()})


def _due(recorder: Recorder, save_every: int | None) -> bool:
    return save_every is not None and max(recorder.metrics["loss"]) % save_every == 0


def _load_settings(plan: Plan) -> dict[str, Any]:
    dtype = torch.float32 if plan.settings.precision == "fp32" else torch.bfloat16
    return {
        "dtype": dtype,
        "device": "cpu",
        "attention": plan.settings.attention,
        "quantisation": methods.get(plan.method).base_quantisation(plan.method_params),
    }


def kill_at(boundary: int) -> Callable[[int, nn.Module], None]:
    """End the run at this step boundary as if its process had been killed."""

    def at(n: int, model: nn.Module) -> None:
        del model
        if n == boundary:
            raise Killed

    return at


def saved_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of the safetensors files in a folder."""
    return {k: v for file in sorted(folder.glob("*.safetensors")) for k, v in load_file(file).items()}


def assert_same_bits(left: Path, right: Path) -> None:
    """Two adapters hold the same tensors, bit for bit."""
    ours, theirs = saved_tensors(left), saved_tensors(right)
    assert ours.keys() == theirs.keys()
    assert ours
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
