"""What every tab shares: the facade, the words, the place for messages, and the one handler decorator.

The decorator is one of the studio's three boundaries for broad exceptions: what a person can mend becomes a
designed message with cause and remedy; anything else is a bug and becomes a short one with the log's path.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from backend.api import Facade
from studio.errors import StudioError
from ui.fragments import message
from ui.fragments.text import Text
from ui.live import Followed
from ui.words import Words

log = logging.getLogger("studio.screen")
Updates = dict[Any, Any]  # component -> its new value or gr.update


@dataclass(frozen=True)
class Page:
    """The frame around the tabs. `query` is a hidden box through which an event learns the page's address;
    `followed`, the live views of the tabs."""

    facade: Facade
    words: Words
    notice: gr.HTML
    query: gr.Textbox
    followed: list[Followed] = field(default_factory=list)

    @property
    def text(self) -> Text:
        return self.words.text

    @property
    def log_path(self) -> Path:
        return self.facade.home / "screen.log"

    def handler(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap an event's function (or generator) that returns (yields) a dict of updates."""

        if inspect.isgeneratorfunction(fn):

            @functools.wraps(fn)
            def stream(*args: Any, **kwargs: Any) -> Iterator[Updates]:
                try:
                    yield from fn(*args, **kwargs)
                except Exception as error:  # noqa: BLE001 (a boundary, see the module's first lines)
                    yield self._told(error)

            return stream

        @functools.wraps(fn)
        def call(*args: Any, **kwargs: Any) -> Updates:
            try:
                return fn(*args, **kwargs) or {self.notice: gr.skip()}
            except Exception as error:  # noqa: BLE001 (a boundary, see the module's first lines)
                return self._told(error)

        return call

    def _told(self, error: Exception) -> Updates:
        if isinstance(error, StudioError):
            cause, remedy = self.words.error(error)
        else:
            log.error("a bug in a handler of the screen", exc_info=error)
            cause = self.text("screen.bug.message")
            remedy = self.text("screen.bug.remedy", log=str(self.log_path))
        return {self.notice: message.notice(self.text, cause, remedy)}
