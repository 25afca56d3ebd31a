"""The decode loop: rows with their own prompt, sampling, stops and adapter, one forward pass per token for
all.

A prompt is always read alone, without padding. Rows then decode together, left padded, with the positions
that they would have alone, joining and leaving between tokens. So that an answer does not depend on what
shares its batch, rows share one only in 32 bit, where that changes a logit by about one part in a million; in
16 bit the last digits that depend on the batch's size decide between near-equal tokens, and there rows take
turns (`rows_may_share`).

A decoder that combines several sources (a second model, the same one with other adapters) is a further row
per source whose logits meet before the draw; `_Row` is the place for that.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from studio.errors import Reason, StudioError
from studio.generate import cache as caches
from studio.generate.adapters import AdapterPool
from studio.generate.request import BASE, Finish, Request, Token
from studio.generate.sampling import RowSampler, logprobs
from studio.generate.sides import SidePool, is_side
from studio.models.anatomy import context_of

# Frequencies of these depend on the longest row of the batch, so a row there is answered alone.
_ROPE_BY_LENGTH = frozenset({"dynamic", "longrope"})


def generate(model: Any, requests: Sequence[Request], adapters: AdapterPool | None = None) -> Iterator[Token]:
    """Answer all requests, streaming: `Token.row` is the index in `requests`. Close the iterator to cancel.

    Args:
        model: A transformers causal language model in eval mode.
        requests: One per row.
        adapters: The adapters that the requests name.

    Raises:
        StudioError: as `Decoder.add`; what ends a single row comes in its last `Token`.
    """
    decoder = Decoder(model, adapters)
    for request in requests:
        decoder.add(request)
    while decoder.busy:
        yield from decoder.step()


def context_length(model: Any) -> int | None:
    """Longest sequence in tokens, None where the architecture knows no limit."""
    return context_of(model.config.get_text_config())


def rows_may_share(model: Any) -> tuple[bool, Reason]:
    """Whether rows of this model may share a forward pass without changing each other's answers, and why."""
    dtype = next(model.parameters()).dtype
    if dtype is not torch.float32:
        return False, Reason("rows_in_turn_precision", {"precision": str(dtype).removeprefix("torch.")})
    if kinds := _ropes_by_length(model):
        return False, Reason("rows_in_turn_rope", {"rope": min(kinds)})
    if not caches.can_join(caches.empty(model)):
        return False, Reason("rows_in_turn_cache", {"model_type": model.config.model_type})
    return True, Reason("rows_together")


def rope_changes_with_length(model: Any) -> bool:
    """Whether what a model makes of positions depends on the longest text that it has read lately."""
    return bool(_ropes_by_length(model))


def _ropes_by_length(model: Any) -> frozenset[str]:
    parameters = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    return _ROPE_BY_LENGTH & _rope_kinds(parameters)


def _rope_kinds(parameters: Mapping[str, Any]) -> set[str]:
    """Rope types of a config, whose parameters may be given per kind of layer."""
    kinds = {str(parameters["rope_type"])} if "rope_type" in parameters else set()
    for value in parameters.values():
        if isinstance(value, Mapping):
            kinds |= _rope_kinds(value)
    return kinds


@dataclass(eq=False)
class _Row:
    number: int
    request: Request
    sampler: RowSampler
    left: int  # tokens it may still get
    length: int = 0  # tokens in the cache
    last: int = -1  # the newest token, not yet in the cache

    def take(self, logits: Tensor) -> Token:
        """Draw the next token from logits (V,)."""
        try:
            self.last = self.sampler.choose(logits)
        except StudioError as error:
            return Token(self.number, None, "failed", error)
        self.left -= 1
        finish: Finish | None = None
        if self.last in self.request.stop_ids:
            finish = "stop"
        elif self.left == 0:
            finish = "length"
        top = self.request.logprobs
        said = None if top is None else logprobs(logits, self.last, top)
        return Token(self.number, self.last, finish, logprobs=said)


class Decoder:
    """Answers rows token by token; rows can be added and cancelled between any two steps.

    A row's adapter is one of `adapters`, one of `sides`, or `BASE`. Every forward pass runs inside
    `around()`, which may switch something on.

    Not for several threads: whoever calls it is the one that touches the model.
    """

    def __init__(
        self,
        model: Any,
        adapters: AdapterPool | None = None,
        max_rows: int = 8,
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
        sides: SidePool | None = None,
    ) -> None:
        self.model = model
        self._sides = sides
        self._around = around
        self._adapters = adapters
        self._max_rows = max_rows
        self.shared, self.shared_reason = rows_may_share(model)
        self.context = context_length(model)
        self._device = next(model.parameters()).device
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_keep = "logits_to_keep" in accepted
        self._waiting: list[_Row] = []
        self._batches: list[_Batch] = []
        self._added = 0

    @property
    def busy(self) -> bool:
        """Whether any row still waits or decodes."""
        return bool(self._waiting or self._batches)

    @property
    def cache_bytes(self) -> int:
        """Keys and values of all rows that decode."""
        return sum(batch.cache_bytes for batch in self._batches)

    def add(self, request: Request) -> int:
        """Queue a row; gives its number, counted from 0.

        Raises:
            StudioError: `prompt_empty`, or `prompt_too_long` (tokens, context) if no room is left for an
                answer.
        """
        return self.add_all([request])[0]

    def add_all(self, requests: Sequence[Request]) -> list[int]:
        """Queue all of these rows or, where one is refused, none. Raises as `add`."""
        rows = [self._row(number, request) for number, request in enumerate(requests, self._added)]
        self._waiting += rows
        self._added += len(rows)
        return [row.number for row in rows]

    def _row(self, number: int, request: Request) -> _Row:
        if not request.ids:
            raise StudioError("prompt_empty")
        room = sys.maxsize if request.max_tokens is None else request.max_tokens
        if self.context is not None:
            free = self.context - len(request.ids)
            if free <= 0:
                raise StudioError("prompt_too_long", tokens=len(request.ids), context=self.context)
            room = min(room, free)
        return _Row(number, request, RowSampler(request.sampling, request.ids), room)

    def cancel(self, number: int) -> None:
        """Take a row out, wherever it stands; a row that has ended is no error."""
        self._waiting = [row for row in self._waiting if row.number != number]
        for batch in self._batches:
            batch.keep([row for row in batch.rows if row.number != number])
        self._batches = [batch for batch in self._batches if batch.rows]

    def adapters_in_use(self) -> frozenset[str]:
        """Names of the adapters and side networks that waiting or decoding rows need."""
        rows = [*self._waiting, *(row for batch in self._batches for row in batch.rows)]
        return frozenset(row.request.adapter for row in rows)

    def step(self) -> list[Token]:
        """One more token for every decoding row, and the first one of at most one waiting row.

        Reading one prompt at a time keeps the others' answers flowing.
        """
        tokens: list[Token] = []
        with torch.inference_mode():
            for batch in self._batches:
                tokens += batch.step(self)
            if self._waiting and sum(len(batch.rows) for batch in self._batches) < self._max_rows:
                tokens.append(self._admit(self._waiting.pop(0)))
            ended = {token.row for token in tokens if token.finish is not None}
            if ended:
                for batch in self._batches:
                    batch.keep([row for row in batch.rows if row.number not in ended])
                self._batches = [batch for batch in self._batches if batch.rows]
        return tokens

    def _admit(self, row: _Row) -> Token:
        cache = caches.empty(self.model)
        ids = torch.tensor([row.request.ids])
        name = row.request.adapter
        sides: dict[str, Cache] = {name: DynamicCache()} if is_side(name) else {}
        logits = self.forward(ids, cache, None, None, [name], sides)
        row.length = len(row.request.ids)
        token = row.take(logits[0])
        batch = _Batch([row], cache, sides)
        if self.shared and self._batches:
            self._batches[0].join(batch)
        else:
            self._batches.append(batch)
        return token

    def forward(
        self,
        ids: Tensor,
        cache: DynamicCache,
        mask: Tensor | None,
        positions: Tensor | None,
        adapters: Sequence[str],
        sides: Mapping[str, Cache],
    ) -> Tensor:
        """Logits (B, V) at the last position of ids (B, T), whose keys and values are added to `cache`, and
        for each side network to the one of its name."""
        device = self._device
        arguments: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
        if mask is not None:
            arguments["attention_mask"] = mask.to(device)
        if positions is not None and self._takes_positions:
            arguments["position_ids"] = positions.to(device)
        if self._takes_keep:
            arguments["logits_to_keep"] = 1
        if self._adapters is not None:
            self._adapters.select([BASE if is_side(name) else name for name in adapters])
        beside = self._sides.at_work(adapters, sides) if self._sides is not None else nullcontext()
        with self._around(), beside:
            logits: Tensor = self.model(ids.to(device), **arguments).logits[:, -1]
        return logits


class _Batch:
    """Rows that decode in one forward pass."""

    def __init__(self, rows: list[_Row], cache: DynamicCache, sides: dict[str, Cache]) -> None:
        self.rows = rows
        self._cache = cache
        self._sides = sides  # of the rows of each side network, in their order, as long as `cache`

    @property
    def cache_bytes(self) -> int:
        return sum(map(caches.size_bytes, (self._cache, *self._sides.values())))

    def step(self, decoder: Decoder) -> list[Token]:
        ids = torch.tensor([[row.last] for row in self.rows])
        lengths = torch.tensor([[row.length] for row in self.rows])
        total = self._cache.get_seq_length() + 1
        mask = None
        if any(row.length + 1 != total for row in self.rows):
            mask = (torch.arange(total) >= total - 1 - lengths).long()
        names = [row.request.adapter for row in self.rows]
        logits = decoder.forward(ids, self._cache, mask, lengths, names, self._sides)
        for row in self.rows:
            row.length += 1
        return [row.take(scores) for row, scores in zip(self.rows, logits, strict=True)]

    def join(self, other: _Batch) -> None:
        caches.join(self._cache, other._cache)
        for name, cache in other._sides.items():
            if name in self._sides:
                caches.join(self._sides[name], cache)
            else:
                self._sides[name] = cache
        for cache in self._sides.values():
            caches.resize(cache, self._cache.get_seq_length())
        self.rows += other.rows

    def keep(self, rows: list[_Row]) -> None:
        """Keep these of its rows, and no more padding than the longest of them needs."""
        if rows and len(rows) < len(self.rows):
            total = max(row.length for row in rows)
            caches.keep(self._cache, [self.rows.index(row) for row in rows], total)
            for name in list(self._sides):
                own = [row for row in self.rows if row.request.adapter == name]
                if kept := [own.index(row) for row in own if row in rows]:
                    caches.keep(self._sides[name], kept, total)
                else:
                    del self._sides[name]
        self.rows = rows
