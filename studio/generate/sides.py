"""Side networks beside one base model, chosen per row of a batch.

A forward pass of the base serves all rows; each side network reads what the layers gave for its own rows, and
replaces what the head reads there. Its keys and values are in a cache of its own, which has these rows only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import Cache

if TYPE_CHECKING:
    from studio.train.tuner import RowSwitch

_PREFIX = "side:"


def is_side(name: str) -> bool:
    """Whether a row's adapter of this name is a side network."""
    return name.startswith(_PREFIX)


class SidePool:
    """Holds side networks, and drops the one unused longest when there are too many.

    Args:
        device: The base's.
        limit: How many are held at once; more while that many are in use.
    """

    def __init__(self, device: torch.device, limit: int = 8) -> None:
        self._device = device
        self._limit = limit
        self._held: dict[str, RowSwitch] = {}
        self._names: dict[tuple[str, int], str] = {}  # (folder, version) -> name, least recently used first
        self._count = 0

    def find(self, key: tuple[str, int]) -> str | None:
        """Name of the side network of this key (its folder and version), None if it is not there."""
        name = self._names.pop(key, None)
        if name is not None:
            self._names[key] = name
        return name

    def add(self, key: tuple[str, int], side: RowSwitch, in_use: Collection[str] = ()) -> str:
        """Name of a new side network beside the base. Those in use stay."""
        self._make_room(in_use)
        name = f"{_PREFIX}{self._count}"
        self._count += 1
        self._held[name] = side
        self._names[key] = name
        return name

    @contextmanager
    def at_work(self, rows: Sequence[str], caches: Mapping[str, Cache]) -> Iterator[None]:
        """Each side network is on for its rows of the next forward pass."""
        with ExitStack() as stack:
            for name in caches:
                places = [place for place, of_row in enumerate(rows) if of_row == name]
                stack.enter_context(self._held[name].over(self._index(places), caches[name]))
            yield

    def _index(self, places: list[int]) -> slice | Tensor:
        """Neighbours without a copy."""
        first, last = places[0], places[-1]
        if last - first + 1 == len(places):
            return slice(first, last + 1)
        return torch.tensor(places, device=self._device)

    def _make_room(self, in_use: Collection[str]) -> None:
        idle = [(key, name) for key, name in self._names.items() if name not in in_use]
        for key, name in idle[: max(0, len(self._names) - self._limit + 1)]:
            self._held.pop(name).remove()
            del self._names[key]
