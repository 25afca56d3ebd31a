"""Batch order: rows of similar length together, the batches in random order.

The order is a pure function of (seed, epoch, lengths), so a run that goes on after a stop needs no state for
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TypeVar

Row = TypeVar("Row")

# Batches sorted by length together: wide enough to save padding, narrow enough to stay random.
POOL_BATCHES = 50


def epoch_batches(seed: int, epoch: int, lengths: Sequence[int], batch: int) -> list[list[int]]:
    """Row numbers of each batch of an epoch; every row occurs once, the last batch may be smaller.

    In the first epoch the batch with the longest row comes first, so that a lack of memory shows at once.
    """
    random = Random(f"{seed}/{epoch}")
    order = list(range(len(lengths)))
    random.shuffle(order)
    pool = batch * POOL_BATCHES
    batches: list[list[int]] = []
    for start in range(0, len(order), pool):
        rows = sorted(order[start : start + pool], key=lambda row: -lengths[row])
        batches += [rows[i : i + batch] for i in range(0, len(rows), batch)]
    random.shuffle(batches)
    if epoch == 0 and batches:
        longest = max(range(len(batches)), key=lambda i: max(lengths[row] for row in batches[i]))
        batches[0], batches[longest] = batches[longest], batches[0]
    return batches


def steps_per_epoch(rows: int, batch: int, accumulation: int) -> int:
    """Optimizer steps in one pass over the rows."""
    batches = -(-rows // batch)
    return -(-batches // accumulation)


def pieces(rows: Sequence[Row], size: int) -> list[Sequence[Row]]:
    """Rows in runs of `size`, in their order; the last may be shorter."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]


class EpochBatches:
    """`epoch_batches` as the batch sampler of a data loader; `set_epoch` turns the page."""

    def __init__(self, seed: int, lengths: Sequence[int], batch: int) -> None:
        self.seed, self.lengths, self.batch_size, self.epoch = seed, lengths, batch, 0
        self.drop_last = False

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(epoch_batches(self.seed, self.epoch, self.lengths, self.batch_size))
