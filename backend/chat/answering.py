"""Tickets in line and answers under way (`Answers`), and the chat engine's thread, which loads the model and
answers them (`Answering`). A worker answers with the same `Answers` between the steps of a run."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backend.chat import runs
from backend.chat.announcement import log_file
from backend.chat.protocol import Order, Steps, Timings
from backend.chat.ticket import Accepted, Ended, Failed, Piece, Ticket
from studio.data.render import Renderer
from studio.errors import StudioError
from studio.generate.request import BASE, Request, Token
from studio.generate.text import AnswerText
from studio.names import ModelName, parse

if TYPE_CHECKING:
    from backend.chat.base import Loaded
    from studio.generate.decode import Decoder

log = logging.getLogger("studio.chat")
QUEUE_LIMIT = 64


@dataclass(frozen=True)
class Voice:
    """Who answers an order: a decoder's rows under an adapter, in a template."""

    decoder: Decoder
    renderer: Renderer
    adapter: str = BASE


@dataclass(eq=False)
class _Answer:
    """A ticket that has a row in the decoder."""

    ticket: Ticket
    text: AnswerText
    steps: Steps = None
    tokens: int = 0
    first: float | None = None
    last: float = field(default_factory=time.monotonic)

    def timings(self) -> Timings:
        if self.first is None:
            return Timings(None, None)
        span = self.last - self.first
        speed = (self.tokens - 1) / span if self.tokens > 1 and span > 0 else None
        return Timings(self.first - self.ticket.arrived, speed)


class Answers(ABC):
    """Tickets in line and answers under way. Any thread may `submit`; all else is called by the one that
    touches the model.

    Args:
        ending: What a ticket gets that comes too late, or is cut off by the end.
    """

    def __init__(self, ending: StudioError) -> None:
        self._ending = ending
        self._inbox: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._answers: dict[tuple[Decoder, int], _Answer] = {}
        self.ended = threading.Event()

    def submit(self, ticket: Ticket) -> None:
        """Put a ticket in line.

        Raises:
            StudioError: `chat_queue_full`, or why no ticket is taken any more.
        """
        if self.ended.is_set():
            raise self._ending
        if self._inbox.qsize() + len(self._answers) >= QUEUE_LIMIT:
            raise StudioError("chat_queue_full", limit=QUEUE_LIMIT)
        self._inbox.put(ticket)
        if self.ended.is_set():  # it ended between the first look and the put
            self._fail_line(self._ending)

    @property
    def waiting(self) -> bool:
        """Whether any ticket waits or is being answered."""
        return bool(self._answers) or not self._inbox.empty()

    def take_in(self, wait: bool = False) -> bool:
        """Give waiting tickets a row, and take those of cancelled ones away. False: asked to end.

        Args:
            wait: Wait for a ticket where there is nothing to decode.
        """
        while True:
            try:
                ticket = self._inbox.get(block=wait and not self._answers)
            except queue.Empty:
                break
            if ticket is None:
                return False
            if not ticket.cancelled.is_set():
                self._admit(ticket)
        for (decoder, row), answer in list(self._answers.items()):
            if answer.ticket.cancelled.is_set():
                decoder.cancel(row)
                del self._answers[decoder, row]
        return True

    def hand_out(self, decoder: Decoder, token: Token) -> None:
        """Bring a new token to whom it belongs."""
        answer = self._answers[decoder, token.row]
        events = answer.ticket.events
        if token.error is not None:
            del self._answers[decoder, token.row]
            events.put(Failed(token.error))
            return
        assert token.id is not None
        answer.last = time.monotonic()
        answer.first = answer.first or answer.last
        answer.tokens += 1
        if (step := self.step) is not None:
            answer.steps = (answer.steps[0] if answer.steps else step, step)
        piece = "" if token.finish == "stop" else answer.text.push(token.id)
        finish = token.finish
        if answer.text.stopped and finish is None:
            decoder.cancel(token.row)
        if answer.text.stopped:
            finish = "stop"
        if finish is not None:
            piece += answer.text.finish()
        if piece:
            events.put(Piece(piece))
        if finish is not None:
            del self._answers[decoder, token.row]
            events.put(Ended(finish, answer.tokens, answer.timings(), answer.steps))

    def fail_answers(self, error: StudioError) -> None:
        """End all answers under way with this error."""
        for (decoder, row), answer in self._answers.items():
            decoder.cancel(row)
            answer.ticket.events.put(Failed(error))
        self._answers = {}

    def finish(self) -> None:
        """Take no further tickets and end those that are open."""
        self.ended.set()
        self.fail_answers(self._ending)
        self._fail_line(self._ending)

    @property
    def step(self) -> int | None:
        """How many steps the weights have seen that answer now; None where they do not train."""
        return None

    @abstractmethod
    def _voice(self, order: Order) -> Voice:
        """Who answers an order. Raises StudioError."""

    def _admit(self, ticket: Ticket) -> None:
        order = ticket.order
        try:
            voice = self._voice(order)
            ids = tuple(voice.renderer.encode_prompt(order.messages))
            stop_ids = voice.renderer.stop_ids
            row = voice.decoder.add(Request(ids, order.sampling, stop_ids, order.max_tokens, voice.adapter))
        except StudioError as error:
            ticket.events.put(Failed(error))
        except FileNotFoundError as error:
            # A run was deleted, or a checkpoint pruned, between two looks at its folder.
            log.warning("a file went away: %s", error)
            ticket.events.put(Failed(StudioError("run_files_gone", run=order.template_of or order.model)))
        else:
            text = AnswerText(voice.renderer.detokenizer(), order.stop)
            self._answers[voice.decoder, row] = _Answer(ticket, text)
            ticket.events.put(Accepted(len(ids), self.step))

    def _fail_line(self, error: StudioError) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                if (ticket := self._inbox.get_nowait()) is not None:
                    ticket.events.put(Failed(error))


class Answering(Answers, threading.Thread):
    """Answers the tickets of `inbox` with one base and what its runs learned.

    Args:
        base: Canonical name of the base.
        folder: The home's folder of runs.
        load: Brings the base into memory; called in this thread.
    """

    def __init__(self, base: str, folder: Path, load: Callable[[], Loaded]) -> None:
        Answers.__init__(self, StudioError("chat_engine_ending"))
        threading.Thread.__init__(self, name="answering", daemon=True)
        self._base = base
        self._runs = folder
        self._load = load
        self._renderers: dict[tuple[Path, int], Renderer] = {}
        self.ready = threading.Event()
        self.failure: StudioError | None = None
        self.idle_since = time.monotonic()

    @property
    def working(self) -> bool:
        """Whether any ticket waits or is being answered, or the base is being loaded."""
        return self.waiting or not self.ready.is_set()

    def end(self) -> None:
        """End the thread between two tokens; open tickets fail with `chat_engine_ending`."""
        self._inbox.put(None)

    def run(self) -> None:
        """Thread main."""
        try:
            self._loaded = self._load()
            self.ready.set()
            self._serve(self._loaded)
        except StudioError as error:
            log.error("can't answer: %s", error)
            self._ending = self.failure = error
        except Exception as error:
            log.exception("the model's thread ended")
            log_path = str(log_file(self._runs.parent, self._base))
            self._ending = self.failure = StudioError(
                "chat_engine_failed", base=self._base, log=log_path, detail=repr(error)
            )
        finally:
            self.ready.set()
            self.finish()

    def _serve(self, loaded: Loaded) -> None:
        while self.take_in(wait=True):
            for decoder in loaded.decoders:
                for token in decoder.step():
                    self.hand_out(decoder, token)
            self.idle_since = time.monotonic()

    def _voice(self, order: Order) -> Voice:
        loaded = self._loaded
        renderer = loaded.renderer
        if order.template_of is not None:
            renderer = self._renderer(self._own_run(order.template_of).value)
        if order.model == "base":
            return Voice(loaded.decoder, renderer)
        name = self._own_run(order.model)
        folder = runs.adapter_folder(self._runs, name)
        if runs.trained_on(folder) != loaded.hash:
            # Its base was replaced since: over other weights the adapter would answer nonsense.
            raise StudioError("run_base_changed", run=name.value, base=self._base)
        renderer = self._renderer(name.value)
        method, params = runs.method_of(self._runs, name.value)
        if method.served(params) != "batched":
            return Voice(loaded.tuned.require(folder, method, params), renderer)
        adapter = loaded.adapters.require(folder, loaded.decoder.adapters_in_use())
        return Voice(loaded.decoder, renderer, adapter)

    def _own_run(self, model: str) -> ModelName:
        if model.startswith("run:"):
            name = parse(model)
            if runs.base_of(self._runs, name.value) == self._base:
                return name
        raise StudioError("chat_model_unknown", model=model, base=self._base)

    def _renderer(self, run: str) -> Renderer:
        folder = runs.tokenizer_folder(self._runs, run)
        key = (folder, folder.stat().st_mtime_ns)
        if key not in self._renderers:
            self._renderers[key] = Renderer.from_folder(folder)
        return self._renderers[key]
