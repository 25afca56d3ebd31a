"""Puts a side network beside a model: hooks read each decoder layer and replace what the head reads.

The model stays transformers' own, so its `generate` works: with padding, a cache, beams. Keys and values of
the side network are further layers of the same cache object, and are reordered, cut and repeated with it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer

from studio.errors import StudioError
from studio.models.anatomy import Anatomy
from studio.train.side.blocks import Rope, rope
from studio.train.side.network import SideNetwork

_ALL = slice(None)


@dataclass
class _Pass:
    """One forward pass: what its rungs share, and the side state so far."""

    state: Tensor
    rope: Rope
    mask: Tensor | None
    cache: list[DynamicLayer] | None


class Ladder:
    """A side network at work beside a model. With `enabled` off the model computes as if alone."""

    def __init__(self, anatomy: Anatomy, network: SideNetwork, enabled: bool = True) -> None:
        self.network = network
        self.enabled = enabled
        self._layers = len(anatomy.layers)
        self._anatomy, self._decoder = anatomy, anatomy.decoder
        self._accepted = inspect.signature(anatomy.decoder.forward)
        self._mask: Tensor | None = None
        self._positions: Tensor | None = None
        self._tokens: Tensor | None = None
        self._pass: _Pass | None = None
        self._grad: bool | None = None
        self._rows: slice | Tensor = _ALL
        self._own: Cache | None = None
        layers = anatomy.layers
        self._handles = [
            self._decoder.register_forward_pre_hook(self._enter, with_kwargs=True),
            layers[0].register_forward_pre_hook(self._begin, with_kwargs=True),
            *(
                layers[at].register_forward_hook(partial(self._climb, rung))
                for rung, at in enumerate(network.shape.taps)
            ),
            self._decoder.register_forward_hook(self._leave),
        ]

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def off(self) -> AbstractContextManager[None]:
        """The model without its side network."""
        return self._switched(False)

    def on(self) -> AbstractContextManager[None]:
        """The model with its side network."""
        return self._switched(True)

    @contextmanager
    def over(self, rows: slice | Tensor, cache: Cache) -> Iterator[None]:
        """The model with its side network for these rows of a batch, and without it for the others. Keys and
        values of the side network are in `cache`, whose rows are these, instead of behind the model's."""
        before = self._rows, self._own
        self._rows, self._own = rows, cache
        try:
            with self.on():
                yield
        finally:
            self._rows, self._own = before

    @contextmanager
    def _switched(self, enabled: bool) -> Iterator[None]:
        before, self.enabled = self.enabled, enabled
        try:
            yield
        finally:
            self.enabled = before

    @contextmanager
    def backbone_without_gradient(self) -> Iterator[None]:
        """The backbone records nothing for a backward pass; the side network does, if gradients are on
        outside."""
        self._grad = torch.is_grad_enabled()
        try:
            with torch.no_grad():
                yield
        finally:
            self._grad = None

    def _gradient(self) -> Any:
        return torch.set_grad_enabled(torch.is_grad_enabled() if self._grad is None else self._grad)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self.enabled:
            return
        # A backbone that is only read has no dropout and computes no activation twice.
        if module.training:
            module.eval()
        given = self._accepted.bind_partial(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        self._mask, self._positions = given.get("attention_mask"), given.get("position_ids")
        self._tokens = given.get("input_ids")
        if self._tokens is None and self.network.pointer is not None:
            raise StudioError("side_needs_tokens")
        if self._mask is not None and (not isinstance(self._mask, Tensor) or self._mask.ndim != 2):
            raise StudioError("side_mask_unknown")
        self._mask, self._tokens = self._of_rows(self._mask), self._of_rows(self._tokens)
        if self._positions is not None and len(self._positions) > 1:
            self._positions = self._of_rows(self._positions)

    def _of_rows(self, batch: Tensor | None) -> Tensor | None:
        return None if batch is None else batch[self._rows]

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del module
        if not self.enabled:
            return
        given = (*args, *kwargs.values())
        embeddings: Tensor = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        cache = next((value for value in given if isinstance(value, Cache)), None)
        past = 0 if cache is None else int(cache.get_seq_length())
        embeddings = embeddings[self._rows]
        with self._gradient():
            state = self.network.first(embeddings.detach())
        positions, mask = _positions_and_mask(self._positions, self._mask, past, embeddings)
        self._pass = _Pass(
            state,
            rope(positions, self.network.shape.head_dim, state.dtype),
            mask,
            None if cache is None else self._side_layers(cache, past),
        )

    def _side_layers(self, cache: Cache, past: int) -> list[DynamicLayer]:
        """The side network's layers of a cache, behind the model's own.

        Raises StudioError `cache_without_side` for a cache that was filled while the side network was off.
        """
        shape = self.network.shape
        first = self._layers
        if self._own is not None:
            cache, first = self._own, 0
        wanted = first + len(shape.taps) + bool(shape.pointers)
        while len(cache.layers) < wanted:
            cache.layers.append(DynamicLayer())  # type: ignore[no-untyped-call]
        side: Any = cache.layers[first:wanted]
        if side[0].get_seq_length() != past:
            raise StudioError("cache_without_side", tokens=past)
        return list(side)

    def _climb(self, rung: int, module: nn.Module, args: Any, output: Any) -> None:
        del module, args
        if not self.enabled:
            return
        now = self._pass
        assert now is not None, "a layer ran outside of its decoder"
        tap = output[0] if isinstance(output, tuple) else output
        cache = None if now.cache is None else now.cache[rung]
        with self._gradient():
            now.state = self.network.rung(
                rung, now.state, tap[self._rows].detach(), now.rope, now.mask, cache
            )

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        del module, args
        if not self.enabled:
            return
        now, self._pass = self._pass, None
        assert now is not None, "the decoder ran none of its layers"
        hidden = output.last_hidden_state.detach()
        cache = None if now.cache is None else now.cache[-1]
        with self._gradient():
            mixed = self.network.output(
                now.state, hidden[self._rows], self._tokens, self._table(), now.mask, cache
            )
        if len(mixed) < len(hidden):  # the others keep what the model itself says
            whole = hidden.clone()
            whole[self._rows] = mixed
            mixed = whole
        output.last_hidden_state = mixed

    def _table(self) -> Tensor:
        head: Any = self._anatomy.head
        weight: Tensor = head.weight
        return weight.detach()


def _positions_and_mask(
    positions: Tensor | None, mask: Tensor | None, past: int, like: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Positions (B or 1, S), and where each of S new tokens may look among `past + S` (None: up to itself).

    `mask` (B, past + S) marks real tokens. A padding token may see itself, so that its softmax is over
    something.
    """
    length = like.shape[1]
    if mask is not None and bool(mask.all()):
        mask = None
    if positions is None:
        if mask is None:
            positions = torch.arange(past, past + length, device=like.device)[None]
        else:
            positions = (mask.long().cumsum(-1) - 1).clamp_min(0)[:, -length:]
    if mask is None and (past == 0 or length == 1):
        return positions, None
    columns = torch.arange(past + length, device=like.device)
    rows = columns[past:, None]
    seen = (columns <= rows)[None, None]
    if mask is not None:
        seen = seen & (mask.bool()[:, None, None, :] | (columns == rows)[None, None])
    return positions, seen
