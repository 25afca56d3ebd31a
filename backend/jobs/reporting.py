"""The two ends that a kind sees of its worker: a sink for what it reports, a control that brings wishes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from backend.store.writer import Writer
from studio.train.events import Wish

log = logging.getLogger("studio.worker")
# How long a checkpoint may be held up so that the curve up to it is in the store before it.
_FLUSH_SECONDS = 2.0
_LOG_EVERY_SECONDS = 2.0
_LOOK_SECONDS = 0.05  # how often a paused job looks whether there is something else to do


_WISHES: dict[str, Wish | None] = {"pause": "pause", "stop": "stop", "continue": None}


class StoreSink:
    """Fulfils `studio.train.events.EventSink`: into the writer's queue, and the gist of it into the log."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._phase = ""
        self._logged = 0.0

    def metric(self, step: int, name: str, value: float) -> None:
        """One number of a step."""
        self._writer.metric(step, name, value)
        if name == "eval_loss" or (name == "loss" and time.monotonic() - self._logged > _LOG_EVERY_SECONDS):
            self._logged = time.monotonic()
            log.info("step %d: %s %.4f", step, name, value)

    def event(self, kind: str, body: Mapping[str, Any]) -> None:
        """Something that happened once."""
        self._writer.event(kind, body)
        log.info("%s %s", kind, dict(body))

    def phase(self, name: str, progress: float | None = None) -> None:
        """What is being done; `progress` 0..1 within the phase."""
        self._writer.phase(name, progress)
        if name == "saving" and self._phase != name:
            # Were the process killed between a checkpoint and the next flush, the resumed run would start
            # after steps that are in no curve.
            self._writer.wait_written(_FLUSH_SECONDS)
        if name != self._phase:
            self._phase = name
            log.info("phase %s", name)


class WorkerControl:
    """Fulfils `studio.train.events.Control`: read by the training thread, set by the main thread."""

    def __init__(self, on_pause: Callable[[], None], on_continue: Callable[[], None]) -> None:
        self._wish: Wish | None = None
        self._changed = threading.Condition()
        self._on_pause = on_pause
        self._on_continue = on_continue

    def set(self, wish: str) -> None:
        """A wish as the control table has it: `pause`, `continue` or `stop`. Stop is for good."""
        with self._changed:
            if self._wish != "stop":
                self._wish = _WISHES[wish]
            self._changed.notify_all()

    def wish(self) -> Wish | None:
        """`pause`, `stop` or None."""
        return self._wish

    def stopping(self) -> bool:
        """Whether the wish is `stop`."""
        return self._wish == "stop"

    def wait_while_paused(self, meanwhile: Callable[[], bool]) -> None:
        """Block until the person wants the run to go on, or to stop; see `studio.train.events.Control`."""
        self._on_pause()
        while self._wish == "pause":
            if not meanwhile():
                with self._changed:
                    self._changed.wait_for(lambda: self._wish != "pause", _LOOK_SECONDS)
        if self._wish != "stop":
            self._on_continue()
