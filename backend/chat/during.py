"""Chat with a run while it trains: the worker answers for `run:ID`, as the chat engine does for a base.

The run's own thread decodes, between two steps (`studio.train.lending`); threads of its own take requests in
and send answers out. The run announces itself in the home while it can be asked, and withdraws when it ends.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING

from backend.api.chat import Proof
from backend.chat import runs
from backend.chat.announcement import announce, withdraw
from backend.chat.answers import Answers, Voice
from backend.chat.protocol import Limits, Order
from backend.chat.server import Backend, ChatServer
from backend.home import Home
from backend.hosts import listen
from backend.inputs import template_hash
from backend.sentences import kept
from studio.data.render import Renderer
from studio.errors import StudioError
from studio.identity import json_hash

if TYPE_CHECKING:
    from studio.generate.decode import Decoder
    from studio.generate.request import Token
    from studio.train.lending import Lending

log = logging.getLogger("studio.chat")
_GRACE_SECONDS = 5.0  # for what is being sent when the run ends
_BASE = "base"
LIMITS = Limits()


class RunChat(Answers):
    """Fulfils `studio.train.lending.Guest` for one run of a home."""

    def __init__(self, home: Home, run: str, base_hash: str) -> None:
        super().__init__(StudioError("chat_run_ended", run=run))
        self._home, self._run, self._name, self._base_hash = home, run, f"run:{run}", base_hash
        self._learned: tuple[int, str] | None = None  # step, hash

    def arrive(self, lending: Lending) -> None:
        """See `Guest`."""
        self._lending = lending
        token = secrets.token_urlsafe(32)
        backend = Backend(token, self.submit, self._models, limits=LIMITS, sentences=kept(self._home))
        self._server = ChatServer(backend, listen("127.0.0.1", 0, 0))
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="http", daemon=True).start()
        announce(self._home.root, self._name, self._server.url, token, time.time())

    def leave(self) -> None:
        """See `Guest`. Whoever asks from now on is sent to the chat engine."""
        withdraw(self._home.root, self._name)
        self.finish()
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._server.open_requests and time.monotonic() < deadline:
            time.sleep(0.02)
        self._server.shutdown()
        self._server.server_close()

    def bring(self) -> None:
        """See `Guest`."""
        self.take_in()

    def take(self, decoder: Decoder, tokens: list[Token]) -> None:
        """See `Guest`."""
        for token in tokens:
            self.hand_out(decoder, token)

    def refuse(self, error: StudioError) -> None:
        """See `Guest`."""
        log.warning("an answer was given up: %s", error)
        self.fail_answers(error)

    @property
    def step(self) -> int:
        """How many steps the weights have seen that answer now."""
        return self._lending.step()

    def learned(self, decoder: Decoder) -> str | None:
        """Of the weights as they are after this step; of a state too large to be read between two steps, the
        run and the step stand for it."""
        if decoder is self._lending.decoders.get(_BASE):
            return None
        step = self.step
        if self._learned is None or self._learned[0] != step:
            state = self._lending.state_hash() or json_hash({"run": self._run, "step": step})
            self._learned = step, state
        return self._learned[1]

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer.from_folder(runs.tokenizer_folder(self._home.runs, self._run))

    def _models(self) -> list[str]:
        return [self._name, *([_BASE] if _BASE in self._lending.decoders else [])]

    def _voice(self, order: Order) -> Voice:
        known = order.model in self._models() and order.template_of in (None, self._name)
        if not known:
            raise StudioError("chat_model_unknown", model=order.model, base=self._name)
        side = _BASE if order.model == _BASE else "tuned"
        proof = Proof(self._base_hash, None, template_hash(self._renderer))
        return Voice(self._lending.decoders[side], self._renderer, proof)
