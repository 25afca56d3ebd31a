"""The panes of one question: what is asked of whom, and a thread for each that reads its answer. No torch."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from backend.api.chat import ChatDelta, Pane, Proof, Sampling, Steps
from backend.chat.announcement import Announcement
from backend.chat.client import Call, EngineGone
from studio.errors import StudioError
from studio.names import ModelName


@dataclass(frozen=True)
class Known:
    """A pane whose model is there, and the name of the base that answers for it."""

    pane: Pane
    name: ModelName
    base: str

    @property
    def tuned(self) -> bool:
        return str(self.name) != self.base


@dataclass(frozen=True)
class PaneFailed:
    """Why a pane has no (further) answer."""

    pane: int
    error: StudioError


FromPane = ChatDelta | PaneFailed | None
"""A piece, what went wrong, or None: the pane is done."""


def orders(panes: Mapping[int, Known], sampling: Sampling) -> dict[int, dict[str, Any]]:
    """The body of the request for each pane."""
    templates: dict[str, str] = {}
    for known in panes.values():
        if known.tuned:
            own = f"run:{known.name.value}" if known.name.kind == "run" else str(known.name)
            templates.setdefault(known.base, own)
    return {number: _body(known, sampling, templates.get(known.base)) for number, known in panes.items()}


def _body(known: Known, sampling: Sampling, template_of: str | None) -> dict[str, Any]:
    body = {
        "messages": [dict(message) for message in known.pane.messages],
        **asdict(sampling),
        "stream_options": {"include_usage": True},
    }
    if known.tuned:
        return {**body, "model": str(known.name)}
    template = {} if template_of is None else {"template_of": template_of}
    return {**body, "model": "base", **template}


class Once:
    """Gives what `find` gives, or raises what it raises, to all who ask, and looks for it once."""

    def __init__(self, find: Callable[[], Announcement]) -> None:
        self._find = find
        self._lock = threading.Lock()
        self._found: Announcement | StudioError | None = None

    def __call__(self) -> Announcement:
        with self._lock:
            if self._found is None:
                try:
                    self._found = self._find()
                except StudioError as error:
                    self._found = error
        if isinstance(self._found, StudioError):
            raise self._found
        return self._found


class Reader(threading.Thread):
    """Reads the answer of one pane into a queue: deltas, what went wrong if anything did, then None.

    Args:
        number: The pane's.
        engine: Finds who is asked; called in this thread.
        gone: What it means that it broke off.
        body: What is asked.
        pieces: Where all panes' pieces go.
    """

    def __init__(
        self,
        number: int,
        engine: Callable[[], Announcement],
        gone: Callable[[Announcement], StudioError],
        body: dict[str, Any],
        pieces: queue.SimpleQueue[FromPane],
    ) -> None:
        super().__init__(name=f"chat-{number}", daemon=True)
        self._number = number
        self._engine = engine
        self._gone = gone
        self._body = body
        self._pieces = pieces
        self._call: Call | None = None
        self._cancelled = False

    def run(self) -> None:
        """Thread main."""
        try:
            engine = self._engine()
            try:
                self._read(engine)
            except EngineGone:
                raise self._gone(engine) from None
        except StudioError as error:
            self._pieces.put(PaneFailed(self._number, error))
        finally:
            self._pieces.put(None)

    def cancel(self) -> None:
        """Let go of the answer, from any thread."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    def _read(self, engine: Announcement) -> None:
        self._call = Call(engine)
        if self._cancelled:  # before there was a call to cancel
            return
        finish: str | None = None
        for chunk in self._call.stream(self._body):
            if "steps" in chunk and "proof" not in chunk:
                self._pieces.put(ChatDelta(self._number, "", steps=_steps(chunk)))
            for choice in chunk["choices"]:
                if text := choice["delta"].get("content"):
                    self._pieces.put(ChatDelta(self._number, text))
                finish = choice["finish_reason"] or finish
            if "proof" in chunk:
                self._pieces.put(_end(self._number, finish, chunk))


def _end(number: int, finish: str | None, chunk: Mapping[str, Any]) -> ChatDelta:
    """A pane's last piece, out of the chunk with the usage."""
    return ChatDelta(
        number,
        "",
        done=True,
        finish_reason=finish,
        tokens=chunk["usage"]["completion_tokens"],
        **chunk["timings"],
        proof=Proof(**chunk["proof"]),
        steps=_steps(chunk),
    )


def _steps(chunk: Mapping[str, Any]) -> Steps:
    if "steps" not in chunk:
        return None
    first, last = chunk["steps"]
    return first, last
