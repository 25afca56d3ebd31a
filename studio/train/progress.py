"""Where a run stands, and its pace: the numbers that are reported, and when a checkpoint is due."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from studio.cost import Spent
from studio.train.energy import EnergyMeter, no_meter

CHECKPOINT_SHARE = 0.03  # of the time may go into checkpoints
FIRST_INTERVAL = 10.0  # seconds between checkpoints while they are cheap


@dataclass
class Progress:
    """What a run has reached; part of every checkpoint. Losses are None before the first one, or not
    finite. `evaluated_step` is that of the newest evaluation that was gone through."""

    step: int = 0
    loss: float | None = None
    eval_loss: float | None = None
    best_step: int | None = None
    best_eval_loss: float | None = None
    tokens: int = 0
    evaluated_step: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def evaluated(self, eval_loss: float) -> bool:
        """Take note of an evaluation after the present step; true if it is the best so far."""
        self.eval_loss = eval_loss
        if self.best_eval_loss is not None and eval_loss >= self.best_eval_loss:
            return False
        self.best_step, self.best_eval_loss = self.step, eval_loss
        return True


@dataclass
class Pace:
    """What steps take, and the seconds of checkpoints. `now` is a clock in seconds, `meter` that of the
    device's energy."""

    now: Any = time.monotonic
    meter: EnergyMeter = field(default_factory=no_meter)
    step_seconds: float | None = None  # smoothed
    spent: Spent | None = None  # of all steps but the first, which warms up
    save_seconds: float | None = None  # of the last checkpoint
    _began: float = field(default=0.0)
    _saved: float = field(default=0.0)

    def start(self) -> None:
        """The loop begins, or goes on after something that is not training."""
        self.meter.start()
        self._began = self.now()
        self._saved = self._saved or self._began

    def stepped(self, tokens: int) -> Spent:
        """A step over `tokens` tokens ended; what it took."""
        seconds: float = self.now() - self._began
        step = Spent(1, tokens, seconds, self.meter.joules())
        if self.step_seconds is None:
            self.step_seconds = seconds
        else:
            self.step_seconds = 0.9 * self.step_seconds + 0.1 * seconds
            self.spent = step if self.spent is None else self.spent + step
        return step

    def saved(self, seconds: float) -> None:
        """A checkpoint was written and took so long."""
        self.save_seconds, self._saved = seconds, self.now()

    def save_due(self) -> bool:
        """Whether the next checkpoint is due: every 10 s while cheap, later so that they take 3% of the
        time."""
        interval = max(FIRST_INTERVAL, (self.save_seconds or 0.0) / CHECKPOINT_SHARE)
        return bool(self.now() - self._saved >= interval)


def peak_memory_bytes(device: str) -> int:
    """Most memory that this process held so far: on the GPU where it trains on one, else resident."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():
        # Not getrusage: its peak starts at that of the parent that forked this process.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))
