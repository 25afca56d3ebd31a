"""Lending a model that trains, between two of its steps, to somebody who wants answers from it.

Training stays what it is without anybody asking, bit for bit: what answering changes (mode, `requires_grad`,
random generators) is put back, what it must not change (weights, what of the method is switched on) is looked
at before and after. Only time is given away, and of that a fixed share in the long run.

An answer may begin with the weights of one step and end with those of a later one. The keys and values that
earlier weights made of its tokens stay: making them anew would cost a whole pass over them at every step. So
an answer belongs to a range of steps, which is said with it; one step long, it is that of the frozen model.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch
from torch import nn

from studio.errors import StudioError
from studio.generate.decode import Decoder, rope_changes_with_length
from studio.generate.request import Request, Token
from studio.memory.generation import cache_bytes
from studio.models.config import ModelFacts
from studio.train.gauge import free_bytes
from studio.train.objective import Computation
from studio.train.shortage import is_out_of_memory
from studio.train.undisturbed import undisturbed

SHARE = 0.17  # of the time goes to answers while there are any: training keeps 83% of its pace
# Less than this is saved up until the next boundary: borrowing a model costs about as much as a token.
LEAST_SECONDS = 0.05
PAUSED_SECONDS = 0.1  # between two looks at whether a paused run shall go on
MOST_HASHED_BYTES = 64 * 2**20  # a fifth of a second on a slow processor
ROWS = 4  # answers that decode at a time; each holds keys and values while the run trains


class Guest(Protocol):
    """Somebody who wants answers. `waiting` is cheap; all others are called by the training thread only, and
    between `arrive` and `leave`."""

    @property
    def waiting(self) -> bool:
        """Whether there is anything to answer."""

    def arrive(self, lending: Lending) -> None:
        """Training begins: from now on there is a model to ask."""

    def leave(self) -> None:
        """Training has ended, or failed; open answers end here."""

    def bring(self) -> None:
        """Give the lending's decoders the rows that are wanted, and take out those that no longer are."""

    def take(self, decoder: Decoder, tokens: list[Token]) -> None:
        """New tokens of this decoder's rows."""

    def refuse(self, error: StudioError) -> None:
        """No row can be answered further, for this reason: take them all out."""


class Allowance:
    """How long answers may take, so that they get `share` of the time as long as there are any.

    What a slice took beyond what it had is owed: the next ones are shorter. `now` is a clock in seconds.
    """

    def __init__(self, share: float = SHARE, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = share / (1.0 - share)  # seconds earned by a second of training
        self._now = now
        self._since = now()
        self._seconds = 0.0

    def earned(self, asked: bool) -> float:
        """Seconds that may be spent now. Nothing is saved up as long as nobody asked."""
        self._seconds += self._rate * self._elapsed()
        if not asked:
            self._seconds = min(self._seconds, 0.0)
        return self._seconds

    def spent(self) -> None:
        """The time since `earned` went into answers."""
        self._seconds -= self._elapsed()

    def skipped(self) -> None:
        """The time since then was nobody's: the run was paused."""
        self._elapsed()

    def _elapsed(self) -> float:
        since, self._since = self._since, self._now()
        return self._since - since


class _LentDecoder(Decoder):
    """One that takes no row whose keys and values might leave training without memory."""

    def __init__(self, model: nn.Module, facts: ModelFacts, device: str, itemsize: int) -> None:
        super().__init__(model, max_rows=ROWS)
        self._facts, self._where, self._itemsize = facts, device, itemsize

    def add_all(self, requests: Sequence[Request]) -> list[int]:
        """Raises also StudioError `chat_no_room_in_run` (needed_bytes, free_bytes)."""
        needed = sum(map(self._needed, requests))
        # What training itself holds at its worst moment is not free: torch keeps it once it had it.
        free = free_bytes(self._where)
        if needed > free // 2:
            raise StudioError("chat_no_room_in_run", needed_bytes=needed, free_bytes=free)
        return super().add_all(requests)

    def _needed(self, request: Request) -> int:
        tokens = len(request.ids) + (request.max_tokens or self.context or 0)
        return cache_bytes(self._facts, self._itemsize, 1, min(tokens, self.context or tokens))


class Lending:
    """Lends the model of `computation` to `guest`; does nothing without one.

    `decoders` are those of the model as it trains, `tuned`, and, where its method can be switched off, of the
    `base` in it. `step()` is how many steps the weights have seen.
    """

    def __init__(
        self,
        guest: Guest | None,
        computation: Computation,
        facts: ModelFacts,
        device: str,
        autocast: bool,
        step: Callable[[], int],
    ) -> None:
        self._guest = guest
        self._computation, self._facts, self._device, self._autocast = computation, facts, device, autocast
        self.step = step
        self.decoders: dict[str, Decoder] = {}
        self._trained: set[str] = set()
        self.most_cache_bytes = 0
        self._allowance = Allowance()

    @property
    def cache_bytes(self) -> int:
        """Keys and values that answers hold now."""
        return sum(decoder.cache_bytes for decoder in self.decoders.values())

    @contextmanager
    def open(self) -> Iterator[None]:
        """The guest may ask within. Not where a long answer would change how the model reads a short row."""
        root = self._computation.models.policy.anatomy.model
        if self._guest is None or rope_changes_with_length(root):
            yield
            return
        dtype = torch.bfloat16 if self._autocast else next(root.parameters()).dtype
        sides = ["tuned"] if self._switched_off() is None else ["tuned", "base"]
        self.decoders = {
            side: _LentDecoder(root, self._facts, self._device, dtype.itemsize) for side in sides
        }
        self._trained = {name for name, p in self._computation.named_parameters() if p.requires_grad}
        self._allowance.skipped()
        self._guest.arrive(self)
        try:
            yield
        finally:
            self._guest.leave()
            self.decoders = {}

    def state_hash(self) -> str | None:
        """What has been learned up to this step, by content (sha256, hex); None if that is too much to be
        read between two steps."""
        own = {name: p for name, p in self._computation.named_parameters() if name in self._trained}
        if sum(parameter.nbytes for parameter in own.values()) > MOST_HASHED_BYTES:
            return None
        digest = hashlib.sha256(f"{self.step()}".encode())
        for name, parameter in own.items():
            digest.update(f"\0{name}\0{parameter.dtype}\0{tuple(parameter.shape)}\0".encode())
            numbers = parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(numbers.numpy().data)
        return digest.hexdigest()

    def turn(self) -> None:
        """Called between two steps, or two batches of an evaluation: answer for as long as was earned."""
        if not self.decoders or self._guest is None:
            return
        waiting = self._guest.waiting
        seconds = self._allowance.earned(waiting)
        if waiting and seconds >= LEAST_SECONDS:
            self._answer(self._guest, seconds)
            self._allowance.spent()

    def turn_while_paused(self) -> bool:
        """Answer for a moment, whatever was earned; whether there was anything to answer."""
        if not self.decoders or self._guest is None or not self._guest.waiting:
            return False
        self._answer(self._guest, PAUSED_SECONDS)
        self._allowance.skipped()
        return True

    def _answer(self, guest: Guest, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        try:
            with self._borrowed():
                guest.bring()
                while (busy := self._busy()) and time.monotonic() < deadline:
                    for left, (side, decoder) in zip(range(len(busy), 0, -1), busy.items(), strict=True):
                        until = deadline - (deadline - time.monotonic()) * (left - 1) / left
                        self._decode(guest, side, decoder, until)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            guest.refuse(StudioError("chat_memory_full"))
        self.most_cache_bytes = max(self.most_cache_bytes, self.cache_bytes)

    def _busy(self) -> dict[str, Decoder]:
        return {side: decoder for side, decoder in self.decoders.items() if decoder.busy}

    def _decode(self, guest: Guest, side: str, decoder: Decoder, until: float) -> None:
        """A token at least, so that no side waits for another for ever."""
        with (self._switched_off() if side == "base" else None) or nullcontext():
            guest.take(decoder, decoder.step())
            while decoder.busy and time.monotonic() < until:
                guest.take(decoder, decoder.step())

    def _switched_off(self) -> AbstractContextManager[None] | None:
        return self._computation.tuner.disabled(self._computation.model)

    @contextmanager
    def _borrowed(self) -> Iterator[None]:
        """The model as it answers: in evaluation mode, in the number format that it trains in."""
        before = self._state()
        kind = torch.device(self._device).type
        # One context for all tokens: weights that autocast narrows are narrowed once.
        narrowed = torch.autocast(kind, torch.bfloat16, enabled=self._autocast)
        with undisturbed(self._computation), narrowed:
            yield
        assert self._state() == before, "answering has changed the model that trains"

    def _state(self) -> tuple[Any, ...]:
        """All that training goes on from: equal before and after. A weight that was written to has another
        version, one that was replaced another place."""
        computation = self._computation
        return (
            [(p._version, p.data_ptr(), p.requires_grad, p.grad is None) for p in computation.parameters()],
            [module.training for module in computation.modules()],
            computation.tuner.active(computation.model),
            torch.get_rng_state().numpy().tobytes(),
            random.getstate(),
        )
