"""One choice of a request while its tokens come: text, log-probabilities, time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from backend.api.chat import Steps
from backend.chat.replies import Candidate, Timings, TokenSaid
from backend.chat.ticket import Ended, Failed, Piece, Ticket
from studio.data.render import Renderer
from studio.generate.text import AnswerText

if TYPE_CHECKING:
    from studio.generate.request import Logprobs, Token


class Answer:
    """Turns a row's tokens into its ticket's events.

    A token's log-probability goes out with the text that the token starts in, so nothing is told of what a
    stop string cuts off.
    """

    def __init__(self, ticket: Ticket, index: int, renderer: Renderer) -> None:
        self.ticket = ticket
        self._index = index
        self._renderer = renderer
        self._text = AnswerText(renderer.detokenizer(), ticket.order.stop)
        self._said: list[TokenSaid] = []  # not told yet
        self._tokens = 0
        self._steps: Steps = None
        self._adapter: str | None = None
        self._first: float | None = None
        self._last = time.monotonic()

    @property
    def begun(self) -> bool:
        """Whether a token has come."""
        return self._first is not None

    def take(self, token: Token, step: int | None, adapter: str | None = None) -> bool:
        """Tell the ticket what this token brings; True if the choice is complete with it. `step`: of the run
        whose weights made it, where they train; `adapter`: a hash of these, told with the first token."""
        if token.error is not None:
            self.ticket.events.put(Failed(token.error))
            return True
        assert token.id is not None
        self._last = time.monotonic()
        self._first = self._first or self._last
        self._adapter = self._adapter or adapter
        self._tokens += 1
        if step is not None:
            self._steps = (self._steps[0] if self._steps else step, step)
        piece, finish = "", token.finish
        if finish != "stop":
            if token.logprobs is not None:
                self._said.append(self._entry(token.id, token.logprobs))
            piece = self._text.push(token.id)
        if self._text.stopped:
            finish = "stop"
        if finish is not None:
            piece += self._text.finish()
        said = self._told(finish is not None)
        if piece or said:
            self.ticket.events.put(Piece(self._index, piece, said))
        if finish is not None:
            ended = Ended(self._index, finish, self._tokens, self._timings(), self._steps, self._adapter)
            self.ticket.events.put(ended)
        return finish is not None

    def _entry(self, id: int, logprobs: Logprobs) -> TokenSaid:
        own, *top = (
            Candidate(*self._renderer.spell(token), logprob)
            for token, logprob in ((id, logprobs.own), *logprobs.top)
        )
        return TokenSaid(own, self._text.length, tuple(top))

    def _told(self, ends: bool) -> tuple[TokenSaid, ...]:
        """The entries whose text is out, at the end all that no stop string cut off."""
        whole = ends and not self._text.stopped
        told = tuple(said for said in self._said if whole or said.offset < self._text.shown)
        self._said = self._said[len(told) :]
        return told

    def _timings(self) -> Timings:
        assert self._first is not None
        span = self._last - self._first
        speed = (self._tokens - 1) / span if self._tokens > 1 and span > 0 else None
        return Timings(self._first - self.ticket.arrived, speed)
