"""What torch's caching allocator takes from a GPU for a row of allocations (c10/cuda/CUDACachingAllocator).

Sizes are rounded to 512 bytes. Up to 1 MiB come from segments of 2 MiB, up to 10 MiB from segments of 20 MiB,
larger ones from segments of their own size, rounded to 2 MiB. The smallest free block that is large enough is
taken, and split if enough is left; neighbours that are free become one. Nothing is given back. No torch.

A block is a number, all that is known of it an entry of a list: thousands are taken for one estimate.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

_ROUND = 512
_SMALL = 2**20
_SMALL_SEGMENT = 2 * 2**20
_LARGE_SEGMENT = 20 * 2**20
_OWN_SEGMENT = 10 * 2**20
_BITS = 24  # of a free block's key, size and number, that are the number
_NUMBER = (1 << _BITS) - 1


class Allocator:
    """`reserved` is what was taken from the device so far, `largest` the largest block that was asked for.
    Requests below `least` bytes are passed over."""

    def __init__(self, least: int = 1) -> None:
        self.reserved = self.largest = 0
        self._least = least
        self._free: tuple[list[int], list[int]] = ([], [])  # keys, ascending: of large and of small segments
        # By block. The first one is the neighbour that is not there, and what passed-over requests get.
        self._size = [0]  # below nothing while it is in use
        self._is_small = [False]
        self._before = [0]  # its neighbours in the segment
        self._after = [0]

    def take(self, size: int) -> int:
        """A block for `size` bytes; 0 for too few."""
        return self._run((size,), [])[0]

    def give(self, block: int) -> None:
        """A block that is no longer used."""
        self._run((~0,), [block])

    def hold(self, sizes: Sequence[int]) -> None:
        """Blocks that stay."""
        self._run(sizes, [])

    def play(self, log: Sequence[int]) -> None:
        """The takings and givings of a step (`Takings`), and then everything given back."""
        blocks = self._run(log, [])
        self._run([~number for number, block in enumerate(blocks) if block], blocks)

    def _run(self, log: Sequence[int], blocks: list[int]) -> list[int]:
        """Take blocks for the sizes of a log, and give those back that it names by their place in `blocks`;
        what was given back is 0 there. One loop without calls: it runs ten thousand times for a step."""
        frees, sizes, is_small, befores, afters = (
            self._free,
            self._size,
            self._is_small,
            self._before,
            self._after,
        )
        least = self._least
        if (most := max(log, default=0)) >= least:
            self.largest = max(self.largest, -(-most // _ROUND) * _ROUND)
        for entry in log:
            if entry < 0:
                block = blocks[~entry]
                if not block:
                    continue
                blocks[~entry] = 0
                free, size, before, after = (
                    frees[is_small[block]],
                    -sizes[block],
                    befores[block],
                    afters[block],
                )
                if (more := sizes[before]) > 0:
                    size += more
                    del free[bisect_left(free, more << _BITS | before)]
                    befores[block] = before = befores[before]
                    afters[before] = block
                if (more := sizes[after]) > 0:
                    size += more
                    del free[bisect_left(free, more << _BITS | after)]
                    afters[block] = after = afters[after]
                    befores[after] = block
                sizes[block] = size
                insort(free, size << _BITS | block)
                continue
            if entry < least:
                blocks.append(0)
                continue
            size = -(-entry // _ROUND) * _ROUND
            small = size <= _SMALL
            free = frees[small]
            at = bisect_left(free, size << _BITS)
            if at == len(free):
                self._segment(size, small)
                at = bisect_left(free, size << _BITS)
            key = free.pop(at)
            block, rest = key & _NUMBER, (key >> _BITS) - size
            blocks.append(block)
            if rest > _SMALL or (small and rest):
                other, after = len(sizes), afters[block]
                sizes.append(rest)
                is_small.append(small)
                befores.append(block)
                afters.append(after)
                befores[after] = afters[block] = other
                insort(free, rest << _BITS | other)
                rest = 0
            sizes[block] = -size - rest
        return blocks

    def _segment(self, size: int, small: bool) -> None:
        """A free block from the device, large enough for `size` bytes."""
        if small:
            whole = _SMALL_SEGMENT
        elif size < _OWN_SEGMENT:
            whole = _LARGE_SEGMENT
        else:
            whole = -(-size // _SMALL_SEGMENT) * _SMALL_SEGMENT
        self.reserved += whole
        insort(self._free[small], whole << _BITS | len(self._size))
        self._size.append(whole)
        self._is_small.append(small)
        self._before.append(0)
        self._after.append(0)
