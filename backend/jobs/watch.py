"""Looks after the jobs as long as the screen runs, whether or not a page is open."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)
EVERY_SECONDS = 1.0


class Watch:
    """Calls `look` every second in a thread of its own until `end`."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop looking; returns when the last look is over."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            self._turn()

    def _turn(self) -> None:
        """A boundary where every exception is caught: one bad look must not end the watching."""
        try:
            self._look()
        except Exception:
            log.exception("looking after the jobs failed")
