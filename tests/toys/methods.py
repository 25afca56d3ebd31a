"""Two toy methods that prove the contract: one uses every hook of a step with a backward pass, one has
none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from studio.methods import Dimensions, Method, MethodMemory
from studio.models.anatomy import Anatomy, Hidden
from studio.params import param
from studio.train.tuner import Batch, Tuner, TunerContext

HOOKS = ("before_step", "after_backward", "after_step", "on_epoch")


@dataclass(frozen=True)
class ShiftParams:
    scale: float = param(0.1, "Size of the first shift.", low=0, high=10)


def memory(dimensions: Dimensions, params: Any, settings: Any) -> MethodMemory:
    del params, settings
    return MethodMemory(((dimensions.hidden,),), 4)


class ShiftTuner(Tuner):
    """Adds one trained vector to the final hidden states; every second entry is masked, so it stays as drawn.

    `calls` counts the hooks and is part of the state, so a resumed run must show the counts of an
    undisturbed one.
    """

    def __init__(self, params: ShiftParams) -> None:
        super().__init__(params)
        self.calls = dict.fromkeys(HOOKS, 0)
        self.mask = torch.zeros(0)
        self.untuned_loss = 0.0
        self.off = False

    def prepare(self, model: nn.Module, context: TunerContext) -> nn.Module:
        width = context.anatomy.config.hidden_size
        shift = self.params.scale * torch.randn(width, generator=context.generator)
        model.register_parameter("shift", nn.Parameter(shift))
        self.mask = torch.arange(width) % 2
        batches = list(context.calibration_batches(2))
        self.untuned_loss = sum(context.loss(batch).item() for batch in batches) / len(batches)
        return model

    def save(self, model: nn.Module, folder: Path) -> None:
        save_file({"shift": cast(Tensor, model.shift).detach()}, folder / "shift.safetensors")

    def load(self, model: nn.Module, folder: Path, context: TunerContext | None = None) -> nn.Module:
        weights = load_file(folder / "shift.safetensors")["shift"]
        model.register_parameter("shift", nn.Parameter(weights, requires_grad=context is not None))
        return model

    @contextmanager
    def _switched_off(self) -> Iterator[None]:
        self.off = True
        try:
            yield
        finally:
            self.off = False

    def disabled(self, model: nn.Module) -> Any:
        del model
        return self._switched_off()

    def hidden(self, anatomy: Anatomy, batch: Batch) -> Hidden:
        hidden = super().hidden(anatomy, batch)
        return hidden if self.off else Hidden(hidden.states + anatomy.model.shift)  # type: ignore[operator]

    def param_groups(self, model: nn.Module, settings: Any) -> list[dict[str, Any]]:
        return [{"params": [model.shift], "lr": 2 * settings.lr, "weight_decay": 0.0}]

    def extra_loss(self, model: nn.Module) -> Tensor:
        return 0.01 * cast(Tensor, model.shift).square().sum()

    def before_step(self, model: nn.Module, step: int) -> None:
        del model
        assert step == self.calls["before_step"]
        self.calls["before_step"] += 1

    def after_backward(self, model: nn.Module, step: int) -> None:
        assert step == self.calls["after_backward"]
        self.calls["after_backward"] += 1
        cast(Tensor, cast(nn.Parameter, model.shift).grad).mul_(self.mask)

    def after_step(self, model: nn.Module, step: int) -> None:
        assert step == self.calls["after_step"]
        self.calls["after_step"] += 1
        with torch.no_grad():
            cast(Tensor, model.shift).clamp_(-1.0, 1.0)

    def on_epoch(self, model: nn.Module, epoch: int) -> None:
        del model
        assert epoch == self.calls["on_epoch"]
        self.calls["on_epoch"] += 1

    def state_dict(self) -> dict[str, Any]:
        return {"calls": dict(self.calls), "mask": self.mask, "untuned_loss": self.untuned_loss}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.calls, self.mask = state["calls"], state["mask"]
        self.untuned_loss = state["untuned_loss"]


class SearchTuner(ShiftTuner):
    """The same vector, moved without gradients: against the slope along one random direction (MeZO)."""

    replaces_step = True

    def __init__(self, params: ShiftParams) -> None:
        super().__init__(params)
        self.generator = torch.Generator().manual_seed(7)

    @torch.no_grad()
    def step(self, model: nn.Module, loss: Callable[[], Tensor], step: int) -> Tensor:
        del step
        shift = cast(Tensor, model.shift)
        direction = torch.randn(shift.shape, generator=self.generator)
        shift += 0.01 * direction
        above = loss()
        shift -= 0.02 * direction
        below = loss()
        shift += 0.01 * direction
        shift -= 0.1 * (above - below) / 0.02 * direction / shift.numel()
        return (above + below) / 2

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.generator.set_state(state["generator"])


def _toy(id: str, tuner: str) -> Method:
    return Method(
        id=id,
        title="Toy",
        summary="Moves one vector.",
        params=ShiftParams,
        torch=f"tests.toys.methods:{tuner}",
        memory=memory,
        quantised_base=False,
        mergeable=False,
        trains_base=False,
        rewrites_base=False,
        serving="switched",
    )


TOYS = (_toy("toy_shift", "ShiftTuner"), _toy("toy_search", "SearchTuner"))
