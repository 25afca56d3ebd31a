"""Rows of key/value caches put together and taken apart, left padded.

A batch's cache is a transformers `DynamicCache`; `total` is its length in positions, padding included. Row
b's own positions are the last ones. A layer with a sliding window keeps only the last `window - 1` positions
of `total`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


class WindowLayer(DynamicSlidingWindowLayer):  # type: ignore[no-untyped-call]
    """Keeps a window alone: transformers' own layer holds a whole prompt, of which it looks at the end, until
    the next token."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """As that of transformers."""
        seen = super().update(key_states, value_states, *args, **kwargs)
        keys, values = self.keys, self.values
        if keys is None or values is None or key_states.shape[-2] == 1:
            return seen
        if keys.shape[-2] < seen[0].shape[-2]:
            self.keys, self.values = keys.clone(), values.clone()
        return seen


def empty(model: Any) -> DynamicCache:
    """A cache for `model`, with sliding layers where the model has them."""
    cache = DynamicCache(config=model.config)
    cache.layers = [
        WindowLayer(layer.sliding_window) if type(layer) is DynamicSlidingWindowLayer else layer
        for layer in cache.layers
    ]
    return cache


def can_join(cache: DynamicCache) -> bool:
    """Whether rows of such a cache can be put together: plain and sliding attention layers, no recurrent
    state.
    """
    return all(type(layer) in (DynamicLayer, WindowLayer) for layer in cache.layers)


def size_bytes(cache: Any) -> int:
    """Of the keys and values in it."""
    filled = [layer for layer in cache.layers if layer.keys is not None]
    return sum(int(states.nbytes) for layer in filled for states in (layer.keys, layer.values))


def join(cache: Any, other: Any) -> None:
    """Append the rows of `other` to `cache` in place; the shorter of the two is padded with zeros on the
    left.
    """
    total = max(cache.get_seq_length(), other.get_seq_length())
    for layer, more in zip(cache.layers, other.layers, strict=True):
        _resize(layer, total)
        _resize(more, total)
        layer.keys = torch.cat([layer.keys, more.keys])
        layer.values = torch.cat([layer.values, more.values])


def keep(cache: Any, rows: Sequence[int], total: int) -> None:
    """Keep these rows in place, in this order, and their last `total` positions."""
    for layer in cache.layers:
        index = torch.tensor(rows, device=layer.keys.device)
        layer.keys = layer.keys.index_select(0, index)
        layer.values = layer.values.index_select(0, index)
        _resize(layer, total)


def resize(cache: Any, total: int) -> None:
    """Cut or zero pad all rows on the left to `total` positions, in place."""
    for layer in cache.layers:
        _resize(layer, total)


def _resize(layer: Any, total: int) -> None:
    kept = total
    if isinstance(layer, DynamicSlidingWindowLayer):
        kept = min(total, layer.sliding_window - 1)
        layer.cumulative_length = total
    layer.keys = _last(layer.keys, kept)
    layer.values = _last(layer.values, kept)


def _last(states: Tensor, length: int) -> Tensor:
    """(B, H, T, D) -> (B, H, length, D): cut or zero padded on the left."""
    missing = length - states.shape[-2]
    if missing <= 0:
        return states[..., -missing:, :]
    return torch.nn.functional.pad(states, (0, 0, missing, 0))
