"""The one thread that touches the model: loads it, then answers tickets token by token."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backend.chat import runs
from backend.chat.announcement import log_file
from backend.chat.protocol import Timings
from backend.chat.ticket import Accepted, Ended, Failed, Piece, Ticket
from backend.chat_api import Proof
from backend.inputs import template_hash
from studio.data.render import Renderer
from studio.errors import StudioError
from studio.generate.request import BASE, Request, Token
from studio.generate.text import AnswerText
from studio.identity import adapter_identity
from studio.names import ModelName, parse

if TYPE_CHECKING:
    from backend.chat.base import Loaded
    from studio.generate.decode import Decoder

log = logging.getLogger("studio.chat")
QUEUE_LIMIT = 64


@dataclass(eq=False)
class _Answer:
    """A ticket that has a row in the decoder."""

    ticket: Ticket
    text: AnswerText
    tokens: int = 0
    first: float | None = None
    last: float = field(default_factory=time.monotonic)

    def timings(self) -> Timings:
        if self.first is None:
            return Timings(None, None)
        span = self.last - self.first
        speed = (self.tokens - 1) / span if self.tokens > 1 and span > 0 else None
        return Timings(self.first - self.ticket.arrived, speed)


class Answering(threading.Thread):
    """Answers the tickets of `inbox` with one base and what its runs learned.

    Args:
        base: Canonical name of the base.
        folder: The home's folder of runs.
        load: Brings the base into memory; called in this thread.
    """

    def __init__(self, base: str, folder: Path, load: Callable[[], Loaded]) -> None:
        super().__init__(name="answering", daemon=True)
        self._base = base
        self._runs = folder
        self._load = load
        self._inbox: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._answers: dict[tuple[Decoder, int], _Answer] = {}
        self._renderers: dict[tuple[Path, int], Renderer] = {}
        self.ready = threading.Event()
        self.ended = threading.Event()
        self.failure: StudioError | None = None
        self.idle_since = time.monotonic()

    def submit(self, ticket: Ticket) -> None:
        """Put a ticket in line.

        Raises:
            StudioError: `chat_queue_full`, or why the engine is ending.
        """
        if self.ended.is_set():
            raise self.failure or StudioError("chat_engine_ending")
        if self._inbox.qsize() >= QUEUE_LIMIT:
            raise StudioError("chat_queue_full", limit=QUEUE_LIMIT)
        self._inbox.put(ticket)
        if self.ended.is_set():  # it ended between the first look and the put
            self._fail_all(self.failure or StudioError("chat_engine_ending"))

    @property
    def working(self) -> bool:
        """Whether any ticket waits or is being answered."""
        return bool(self._answers) or not self._inbox.empty() or not self.ready.is_set()

    def end(self) -> None:
        """End the thread between two tokens; open tickets fail with `chat_engine_ending`."""
        self._inbox.put(None)

    def run(self) -> None:
        """Thread main."""
        failure = StudioError("chat_engine_ending")
        try:
            loaded = self._load()
            self.ready.set()
            self._serve(loaded)
        except StudioError as error:
            log.error("can't answer: %s", error)
            failure = self.failure = error
        except Exception as error:
            log.exception("the model's thread ended")
            log_path = str(log_file(self._runs.parent, self._base))
            failure = self.failure = StudioError(
                "chat_engine_failed", base=self._base, log=log_path, detail=repr(error)
            )
        finally:
            self.ready.set()
            self.ended.set()
            self._fail_all(failure)

    def _serve(self, loaded: Loaded) -> None:
        while True:
            if not self._take_in(loaded):
                return
            for (decoder, row), answer in list(self._answers.items()):
                if answer.ticket.cancelled.is_set():
                    decoder.cancel(row)
                    del self._answers[decoder, row]
            for decoder in loaded.decoders:
                for token in decoder.step():
                    self._hand_out(decoder, token)
            self.idle_since = time.monotonic()

    def _take_in(self, loaded: Loaded) -> bool:
        """Give waiting tickets a row; waits for one when there is nothing to decode. False: end."""
        while True:
            try:
                ticket = self._inbox.get(block=not self._answers)
            except queue.Empty:
                return True
            if ticket is None:
                return False
            if ticket.cancelled.is_set():
                continue
            try:
                self._admit(loaded, ticket)
            except StudioError as error:
                ticket.events.put(Failed(error))
            except FileNotFoundError as error:
                # A run was deleted, or a checkpoint pruned, between two looks at its folder.
                log.warning("a file went away: %s", error)
                run = ticket.order.template_of or ticket.order.model
                ticket.events.put(Failed(StudioError("run_files_gone", run=run)))

    def _admit(self, loaded: Loaded, ticket: Ticket) -> None:
        order = ticket.order
        adapter, renderer, decoder = BASE, loaded.renderer, loaded.decoder
        learned: str | None = None
        if order.template_of is not None:
            renderer = self._renderer(self._own_run(order.template_of).value)
        if order.model != "base":
            name = self._own_run(order.model)
            folder = runs.adapter_folder(self._runs, name)
            if runs.trained_on(folder) != loaded.hash:
                # Its base was replaced since: over other weights the adapter would answer nonsense.
                raise StudioError("run_base_changed", run=name.value, base=self._base)
            learned = adapter_identity(folder, self._runs.parent / "cache" / "hashes.json")
            renderer = self._renderer(name.value)
            method, params = runs.method_of(self._runs, name.value)
            if method.served(params) == "batched":
                adapter = loaded.adapters.require(folder, decoder.adapters_in_use())
            else:
                decoder = loaded.tuned.require(folder, method, params)
        ids = tuple(renderer.encode_prompt(order.messages))
        request = Request(ids, order.sampling, renderer.stop_ids, order.max_tokens, adapter)
        row = decoder.add(request)
        self._answers[decoder, row] = _Answer(ticket, AnswerText(renderer.detokenizer(), order.stop))
        proof = Proof(loaded.hash, learned, template_hash(renderer))
        ticket.events.put(Accepted(len(ids), proof))

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

    def _hand_out(self, decoder: Decoder, token: Token) -> None:
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
            events.put(Ended(finish, answer.tokens, answer.timings()))

    def _fail_all(self, error: StudioError) -> None:
        for answer in self._answers.values():
            answer.ticket.events.put(Failed(error))
        self._answers = {}
        with contextlib.suppress(queue.Empty):
            while True:
                if (ticket := self._inbox.get_nowait()) is not None:
                    ticket.events.put(Failed(error))
