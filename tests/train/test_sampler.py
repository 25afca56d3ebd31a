"""Batch order as a pure function."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from studio.train.sampler import POOL_BATCHES, EpochBatches, epoch_batches

LENGTHS = [Random(i).randrange(10, 400) for i in range(1000)]


def _padding(batches: list[list[int]]) -> float:
    """Share of the positions that are padding."""
    full = sum(max(LENGTHS[row] for row in batch) * len(batch) for batch in batches)
    return 1 - sum(LENGTHS) / full


def test_every_row_once_per_epoch() -> None:
    for batch in (1, 4, 7):
        batches = epoch_batches(0, 3, LENGTHS, batch)
        assert sorted(row for rows in batches for row in rows) == list(range(1000))
        assert len(batches) == -(-1000 // batch)


def test_same_order_for_same_seed_and_epoch_and_another_for_others() -> None:
    assert epoch_batches(5, 2, LENGTHS, 4) == epoch_batches(5, 2, LENGTHS, 4)
    assert epoch_batches(5, 2, LENGTHS, 4) != epoch_batches(5, 3, LENGTHS, 4)
    assert epoch_batches(5, 2, LENGTHS, 4) != epoch_batches(6, 2, LENGTHS, 4)


def test_order_is_the_same_on_every_machine() -> None:
    assert epoch_batches(0, 0, [5, 3, 9, 1, 7], 2) == [[2, 4], [3], [0, 1]]
    assert epoch_batches(0, 1, [5, 3, 9, 1, 7], 2) == [[3], [2, 4], [0, 1]]


def test_similar_lengths_together() -> None:
    shuffled = list(range(1000))
    Random(0).shuffle(shuffled)
    unsorted = [shuffled[i : i + 8] for i in range(0, 1000, 8)]
    assert _padding(unsorted) > 0.4
    assert _padding(epoch_batches(0, 1, LENGTHS, 8)) < 0.06


def test_first_batch_holds_the_longest_row() -> None:
    assert max(LENGTHS[row] for row in epoch_batches(0, 0, LENGTHS, 4)[0]) == max(LENGTHS)


def test_batches_of_an_epoch_do_not_go_from_long_to_short() -> None:
    longest = [max(LENGTHS[row] for row in batch) for batch in epoch_batches(0, 1, LENGTHS, 4)]
    falls = sum(a >= b for a, b in pairwise(longest))
    assert 0.35 < falls / len(longest) < 0.65
    assert POOL_BATCHES * 4 < 1000  # more than one pool was in play


def test_sampler_turns_the_page() -> None:
    sampler = EpochBatches(1, LENGTHS, 4)
    assert list(sampler) == epoch_batches(1, 0, LENGTHS, 4)
    sampler.set_epoch(2)
    assert list(sampler) == epoch_batches(1, 2, LENGTHS, 4)
    assert len(sampler) == 250
