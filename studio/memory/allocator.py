"""What torch's caching allocator takes from a GPU for a row of allocations (c10/cuda/CUDACachingAllocator).

Sizes are rounded to 512 bytes. Up to 1 MiB come from segments of 2 MiB, up to 10 MiB from segments of 20 MiB,
larger ones from segments of their own size, rounded to 2 MiB. The smallest free block that is large enough is
taken, and split if enough is left; neighbours that are free become one. Nothing is given back. No torch.

A block is a number, all that is known of it an entry of a list: thousands are taken for one estimate.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

_ROUND = 512
_SMALL = 2**20
_SMALL_SEGMENT = 2 * 2**20
_LARGE_SEGMENT = 20 * 2**20
_OWN_SEGMENT = 10 * 2**20
_NONE = -1  # no block: a request that is passed over, a neighbour that is not there
_BITS = 24  # of a free block's key, size and number, that are the number


class Allocator:
    """`reserved` is what was taken from the device so far, `largest` the largest block that was asked for.
    Requests below `least` bytes are passed over."""

    def __init__(self, least: int = 1) -> None:
        self.reserved = self.largest = 0
        self._least = least
        self._free: tuple[list[int], list[int]] = ([], [])  # keys, ascending: of large and of small segments
        # By block.
        self._size: list[int] = []
        self._is_small: list[bool] = []
        self._is_free: list[bool] = []
        self._before: list[int] = []  # its neighbours in the segment
        self._after: list[int] = []

    def take(self, size: int) -> int:
        """A block for `size` bytes; -1 for too few."""
        if size < self._least:
            return _NONE
        size = -(-size // _ROUND) * _ROUND
        if size > self.largest:
            self.largest = size
        small = size <= _SMALL
        free = self._free[small]
        at = bisect_left(free, size << _BITS)
        if at < len(free):
            key = free.pop(at)
            block, rest = key & (1 << _BITS) - 1, (key >> _BITS) - size
            self._is_free[block] = False
        else:
            block = self._segment(size, small)
            rest = self._size[block] - size
        if rest > _SMALL or (small and rest):
            self._split(block, rest)
        return block

    def give(self, block: int) -> None:
        """A block that is no longer used."""
        if block == _NONE:
            return
        size, free = self._size[block], self._free[self._is_small[block]]
        before, after = self._before[block], self._after[block]
        if before != _NONE and self._is_free[before]:
            size += self._forget(before, free)
            self._join(self._before[before], block)
        if after != _NONE and self._is_free[after]:
            size += self._forget(after, free)
            self._join(block, self._after[after])
        self._size[block], self._is_free[block] = size, True
        insort(free, size << _BITS | block)

    def play(self, log: Iterable[int]) -> None:
        """The takings and givings of a step (`Takings`), and then everything given back."""
        blocks: list[int] = []
        for entry in log:
            if entry >= 0:
                blocks.append(self.take(entry))
            else:
                self.give(blocks[~entry])
                blocks[~entry] = _NONE
        for block in blocks:
            self.give(block)

    def _segment(self, size: int, small: bool) -> int:
        if small:
            whole = _SMALL_SEGMENT
        elif size < _OWN_SEGMENT:
            whole = _LARGE_SEGMENT
        else:
            whole = -(-size // _SMALL_SEGMENT) * _SMALL_SEGMENT
        self.reserved += whole
        return self._new(whole, small, False)

    def _new(self, size: int, small: bool, free: bool) -> int:
        self._size.append(size)
        self._is_small.append(small)
        self._is_free.append(free)
        self._before.append(_NONE)
        self._after.append(_NONE)
        return len(self._size) - 1

    def _split(self, block: int, rest: int) -> None:
        """Make its last `rest` bytes a free block."""
        small = self._is_small[block]
        other = self._new(rest, small, True)
        self._join(other, self._after[block])
        self._join(block, other)
        self._size[block] -= rest
        insort(self._free[small], rest << _BITS | other)

    def _join(self, before: int, after: int) -> None:
        """Make neighbours of two blocks, one of which may not be there."""
        if before != _NONE:
            self._after[before] = after
        if after != _NONE:
            self._before[after] = before

    def _forget(self, block: int, free: list[int]) -> int:
        """A free block becomes a part of its neighbour; its size."""
        size = self._size[block]
        self._is_free[block] = False
        del free[bisect_left(free, size << _BITS | block)]
        return size
