"""What torch's caching allocator takes from a GPU for a row of allocations (c10/cuda/CUDACachingAllocator).

Sizes are rounded to 512 bytes. Up to 1 MiB come from segments of 2 MiB, up to 10 MiB from segments of 20 MiB,
larger ones from segments of their own size, rounded to 2 MiB. The smallest free block that is large enough is
taken, and split if enough is left; neighbours that are free become one. Nothing is given back. No torch.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable

_ROUND = 512
_SMALL = 2**20
_SMALL_SEGMENT = 2 * 2**20
_LARGE_SEGMENT = 20 * 2**20
_OWN_SEGMENT = 10 * 2**20


class Block:
    """A stretch of a segment. `before` and `after` are its neighbours there."""

    __slots__ = ("after", "before", "free", "number", "size", "small")

    def __init__(self, size: int, small: bool, number: int) -> None:
        self.size, self.small, self.number = size, small, number
        self.free = False
        self.before: Block | None = None
        self.after: Block | None = None


class Allocator:
    """`reserved` is what was taken from the device so far, `largest` the largest block that was asked for.
    Requests below `least` bytes are passed over."""

    def __init__(self, least: int = 1) -> None:
        self.reserved = self.largest = 0
        self._least = least
        self._free: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
        self._blocks: dict[int, Block] = {}
        self._count = 0

    def take(self, size: int) -> Block | None:
        """A block for `size` bytes; None for too few."""
        if size < self._least:
            return None
        size = -(-size // _ROUND) * _ROUND
        self.largest = max(self.largest, size)
        small = size <= _SMALL
        free = self._free[small]
        at = bisect_left(free, (size, 0))
        if at < len(free):
            block = self._blocks.pop(free.pop(at)[1])
            block.free = False
        else:
            block = self._segment(size, small)
        rest = block.size - size
        if rest >= _ROUND if small else rest > _SMALL:
            self._split(block, size)
        return block

    def give(self, block: Block | None) -> None:
        """A block that is no longer used."""
        if block is None:
            return
        for other in (block.before, block.after):
            if other is not None and other.free:
                self._forget(other)
                block.size += other.size
                if other is block.before:
                    block.before = other.before
                    if block.before:
                        block.before.after = block
                else:
                    block.after = other.after
                    if block.after:
                        block.after.before = block
        block.free = True
        self._blocks[block.number] = block
        insort(self._free[block.small], (block.size, block.number))

    def play(self, log: Iterable[int]) -> None:
        """The takings and givings of a tape (`Tape.log`), and then everything given back."""
        blocks: list[Block | None] = []
        for entry in log:
            if entry >= 0:
                blocks.append(self.take(entry))
            else:
                self.give(blocks[~entry])
                blocks[~entry] = None
        for block in blocks:
            self.give(block)

    def _segment(self, size: int, small: bool) -> Block:
        if small:
            whole = _SMALL_SEGMENT
        elif size < _OWN_SEGMENT:
            whole = _LARGE_SEGMENT
        else:
            whole = -(-size // _SMALL_SEGMENT) * _SMALL_SEGMENT
        self.reserved += whole
        return self._new(whole, small)

    def _new(self, size: int, small: bool) -> Block:
        self._count += 1
        return Block(size, small, self._count)

    def _split(self, block: Block, size: int) -> None:
        rest = self._new(block.size - size, block.small)
        rest.before, rest.after = block, block.after
        if block.after:
            block.after.before = rest
        block.after, block.size = rest, size
        rest.free = True
        self._blocks[rest.number] = rest
        insort(self._free[rest.small], (rest.size, rest.number))

    def _forget(self, block: Block) -> None:
        del self._blocks[block.number]
        free = self._free[block.small]
        del free[bisect_left(free, (block.size, block.number))]
