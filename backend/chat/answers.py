"""A line of requests and the answers under way, whoever owns the model that answers them."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.api.chat import Proof
from backend.chat.answer import Answer
from backend.chat.protocol import Order, Prompt
from backend.chat.ticket import Accepted, Failed, Ticket
from studio.data.render import Renderer
from studio.data.rows import Message
from studio.errors import StudioError
from studio.generate.request import BASE, Request, Token

if TYPE_CHECKING:
    from studio.generate.decode import Decoder

log = logging.getLogger("studio.chat")


@dataclass(frozen=True)
class Voice:
    """Who answers an order: a decoder's rows under an adapter, in a template."""

    decoder: Decoder
    renderer: Renderer
    proof: Proof
    adapter: str = BASE


class Answers(ABC):
    """Tickets in line and answers under way. Any thread may `submit`; all else is called by the one that
    touches the model.

    Args:
        ending: What a ticket gets that comes too late, or is cut off by the end.
    """

    def __init__(self, ending: StudioError) -> None:
        self._ending = ending
        self._inbox: queue.SimpleQueue[Ticket | None] = queue.SimpleQueue()
        self._answers: dict[tuple[Decoder, int], Answer] = {}
        self.ended = threading.Event()

    def submit(self, ticket: Ticket) -> None:
        """Put a ticket in line.

        Raises:
            StudioError: Why no ticket is taken any more.
        """
        if self.ended.is_set():
            raise self._ending
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
        if answer.take(token, self.step, None if answer.begun else self.learned(decoder)):
            del self._answers[decoder, token.row]
            decoder.cancel(token.row)  # a stop string ends it before the decoder knows

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

    def learned(self, decoder: Decoder) -> str | None:  # noqa: ARG002
        """A hash of the weights that answer now; None where they do not train."""
        return None

    @abstractmethod
    def _voice(self, order: Order) -> Voice:
        """Who answers an order. Raises StudioError."""

    def _admit(self, ticket: Ticket) -> None:
        order = ticket.order
        try:
            voice = self._voice(order)
            prompts = [_ids(prompt, voice.renderer) for prompt in order.prompts]
            rows = voice.decoder.add_all([_request(order, prompts, i, voice) for i in range(order.choices)])
        except StudioError as error:
            ticket.events.put(Failed(error))
        except FileNotFoundError as error:
            # A run was deleted, or a checkpoint pruned, between two looks at its folder.
            log.warning("a file went away: %s", error)
            ticket.events.put(Failed(StudioError("run_files_gone", run=order.template_of or order.model)))
        else:
            for index, row in enumerate(rows):
                self._answers[voice.decoder, row] = Answer(ticket, index, voice.renderer)
            ticket.events.put(Accepted(sum(map(len, prompts)), voice.proof, self.step))

    def _fail_line(self, error: StudioError) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                if (ticket := self._inbox.get_nowait()) is not None:
                    ticket.events.put(Failed(error))


def _request(order: Order, prompts: Sequence[tuple[int, ...]], index: int, voice: Voice) -> Request:
    return Request(
        prompts[index // order.n],
        order.sampling.of_row(index % order.n),
        voice.renderer.stop_ids,
        order.max_tokens,
        voice.adapter,
        order.logprobs,
    )


def _ids(prompt: Prompt, renderer: Renderer) -> tuple[int, ...]:
    """What the model reads: a conversation in its template, a text as it is, ids if there are such."""
    if isinstance(prompt, str):
        return tuple(renderer.encode_start(prompt))
    if isinstance(prompt[0], Message):
        return tuple(renderer.encode_prompt(prompt))
    if not 0 <= min(prompt) <= max(prompt) < renderer.vocab_size:
        last = renderer.vocab_size - 1
        raise StudioError("chat_field_wrong", field="prompt", expected=f"token ids from 0 to {last}")
    return prompt
