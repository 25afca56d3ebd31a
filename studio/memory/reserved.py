"""What a run takes from its device beyond the tensors that live: an allocator's holdings, a driver's context.

On a GPU the allocations of two steps are played back through torch's allocator. Where its smallest free block
that fits is found again each time, that is what it takes; once the largest block is not found again, it is
taken a second time: that is the upper end. No torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod

from studio.memory.allocator import Allocator
from studio.memory.sharding import gathered, split_up
from studio.memory.step import Step
from studio.memory.takings import Takings
from studio.memory.workload import Workload
from studio.models.config import ModelFacts
from studio.models.weights import weights_of

MIB = 2**20
# Driver, kernels and libraries of a process that has torch on a GPU: 141 MiB on a T4 (FitCheck), 400 to 560
# on an A100 (nvidia-smi less what the allocator held, published runs).
CONTEXT = {"cuda": (140 * MIB, 560 * MIB), "cpu": (500 * MIB, 900 * MIB), "mps": (500 * MIB, 900 * MIB)}
_SLACK = 0.03  # of what was played back: alignments and small tensors that the tape does not have
LEAST = 2**19  # tensors below this come from segments of their own, and are a small part of all


def context(work: Workload) -> int:
    """Bytes that the process has beside its tensors, midway between what is known."""
    low, high = CONTEXT[work.device]
    return (low + high) // 2


def interval(
    work: Workload,
    lasting: Mapping[str, int],
    log: Takings | None,
    tensors: int,
    beside: int,
    capacity: int | None,
) -> tuple[int, int]:
    """(least, most) bytes taken from the device. `log` is of a step (None: not on a GPU); `tensors` are what
    lives at the peak, `beside` those of them that are not in the log and come on top of it;
    `capacity` is all that the device has, where it is known."""
    low, high = CONTEXT[work.device]
    if log is None:
        return tensors + low, int(tensors * 1.15) + high
    allocator = Allocator(LEAST)
    largest = _play(allocator, work, lasting, _entries(work, log))
    played = allocator.reserved + beside
    # Never less than the tensors: what a method begins with, say, is not played back.
    least = max(int(played * (1 - _SLACK)), tensors) + low
    most = max(int((played + largest) * (1 + _SLACK)), tensors) + high
    if capacity is None or most <= capacity:
        return least, most
    # Before it gives up, the allocator gives back what it holds unused, and asks again.
    return tensors + low, max(capacity, tensors + low)


def _play(allocator: Allocator, work: Workload, lasting: Mapping[str, int], log: list[int]) -> int:
    """Run the allocations of a run's first steps; the largest one of a step."""
    if work.shards > 1:
        # Buffers of whole layers come again and again in the same sizes.
        for size in gathered(work, lasting["weights"]):
            allocator.take(size)
        lasting = {**lasting, **split_up(lasting, work.shards)}
    sizes = [prod(shape) * work.terms.itemsize // work.shards for shape in work.terms.trainable]
    for size in [*_weights(lasting["weights"], work.facts), *(sizes if lasting["adapter"] else ())]:
        allocator.take(size)
    allocator.largest = 0
    allocator.play(log)
    if lasting["optimizer"] > lasting["weights"] // 10:
        # It came after the first step, and is in the way of the second.
        share = lasting["optimizer"] / max(1, sum(sizes))
        for size in sizes:
            allocator.take(int(size * share))
        allocator.play(log)
    else:
        allocator.reserved += lasting["optimizer"]
    return allocator.largest


def _entries(work: Workload, log: Takings) -> list[int]:
    """What one step of the whole model takes and gives back, as `Allocator.play` takes it."""
    layers = work.facts.layers
    entries = log.flat() if log.layers == layers else log.repeated(layers)
    if entries is None:  # its layers differ after all
        whole = Takings(LEAST)
        Step(work, layers, whole).run()
        entries = whole.flat()
    return [*entries, *(size // work.shards for size in Step(work, layers).scratch())]


def _weights(total: int, facts: ModelFacts) -> Iterator[int]:
    """Sizes of the base's tensors: those of the layers alike, the rest as two tables."""
    matrices = [prod(shape) for shape in weights_of(facts).layer]
    assert facts.parameters is not None
    per_number, rest = total / facts.parameters, total
    for _ in range(facts.layers):
        for size in matrices:
            taken = min(rest, int(size * per_number))
            rest -= taken
            yield taken
    yield rest // 2
    yield rest - rest // 2
