"""The method's hooks at the Trainer's moments."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import TrainerCallback

from studio.train.sampler import steps_per_epoch

if TYPE_CHECKING:
    from studio.train.loop import Loop


class Hooks(TrainerCallback):
    """Calls the method's hooks at the Trainer's moments."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop

    def _call(self, hook: Callable[[nn.Module, int], None], number: int) -> None:
        hook(self.loop.work.computation.model, number)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        work = self.loop.work
        per_epoch = steps_per_epoch(len(work.train), work.batch, work.plan.settings.accumulation)
        epoch, into = divmod(state.global_step, per_epoch)
        # The Trainer tells a sampler its epoch only inside Accelerate's wrappers.
        self.loop.sampler.set_epoch(epoch)
        if into == 0:
            self._call(self.loop.tuner.on_epoch, epoch)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        self._call(self.loop.tuner.before_step, state.global_step)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        self._call(self.loop.tuner.after_step, state.global_step)
