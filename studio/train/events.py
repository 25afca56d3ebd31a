"""How a training run reports, and how it is asked to pause or stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

Wish = Literal["pause", "stop"]


class EventSink(Protocol):
    """Takes what a run reports; calls come from the training thread, several per step."""

    def metric(self, step: int, name: str, value: float) -> None:
        """A number after optimizer step `step` (the first one is 1).

        Names: loss, eval_loss, lr, grad_norm, tokens_per_second, step_seconds, step_joules (of the whole
        device; where it can be read), memory_bytes (peak), tokens (cumulative), epoch, seconds_left,
        chat_bytes (keys and values of answers, where there are any), and the objective's own.
        """

    def event(self, kind: str, body: dict[str, Any]) -> None:
        """Something happened: memory_predicted, rows_skipped, resumed, checkpoint, best, paused, continued,
        loss_not_finite."""

    def phase(self, name: str, progress: float | None) -> None:
        """What the run is at (loading, encoding, training, evaluating, saving), and how far (0..1)."""


class Control(Protocol):
    """How a run learns what the person wants."""

    def wish(self) -> Wish | None:
        """What the person wants now; asked at every step boundary."""

    def stopping(self) -> bool:
        """Whether the wish is to stop; asked between two batches of an evaluation."""

    def wait_while_paused(self, meanwhile: Callable[[], bool]) -> None:
        """Return when the run shall go on or stop. Until then `meanwhile` is called again and again, without
        a pause as long as it says that it had something to do."""
