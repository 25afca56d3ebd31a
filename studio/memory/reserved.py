"""What a run takes from its device beyond the tensors that live: an allocator's holdings, a driver's context.

On a GPU the allocations of two steps are played back through torch's allocator. Where its smallest free block
that fits is found again each time, that is what it takes; once the largest block is not found again, it is
taken a second time: that is the upper end. No torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod

from studio.memory.allocator import Allocator
from studio.memory.cards import Capability, context_bytes
from studio.memory.need import Need
from studio.memory.sharding import gathered, split_up
from studio.memory.step import Step, scratch
from studio.memory.takings import Takings
from studio.memory.workload import Workload
from studio.models.config import ModelFacts
from studio.models.weights import weights_of

SLACK = 0.03  # of what was played back: alignments and small tensors that the tape does not have
LEAST = 2**19  # tensors below this come from segments of their own, and are a small part of all


def context(work: Workload) -> int:
    """Bytes that the process has beside its tensors, midway between what is known."""
    low, high = context_bytes(work.device, work.capability)
    return (low + high) // 2


def interval(
    work: Workload,
    lasting: Mapping[str, int],
    log: Takings | None,
    tensors: int,
    beside: int,
) -> tuple[int, int]:
    """(least, most) bytes taken from the device. `log` is of a step (None: not on a GPU); `tensors` are what
    lives at the peak, `beside` those of them that are not in the log and come on top of it."""
    low, high = context_bytes(work.device, work.capability)
    if log is None:
        return tensors + low, int(tensors * 1.15) + high
    allocator = Allocator(LEAST)
    largest = _play(allocator, work, lasting, _entries(work, log))
    played = allocator.reserved + beside
    # Never less than the tensors: what a method begins with, say, is not played back.
    least = max(int(played * (1 - SLACK)), tensors) + low
    most = max(int((played + largest) * (1 + SLACK)), tensors) + high
    return least, most


def on_card(need: Need, device: str, capacity: int | None, capability: Capability | None = None) -> Need:
    """The same on a GPU with so many bytes in all, where that is known: before it gives up, the allocator
    gives back what it holds unused, and asks again."""
    if capacity is None or device != "cuda":
        return need
    tensors = need.allocated
    low, high = context_bytes(device, capability)

    def interval() -> tuple[int, int]:
        # No upper end is below this: where that is too much already, nothing has to be played back.
        if tensors + high <= capacity and need.reserved[1] <= capacity:
            return need.reserved
        return tensors + low, max(capacity, tensors + low)

    return replace(need, interval=interval)


def _play(allocator: Allocator, work: Workload, lasting: Mapping[str, int], log: list[int]) -> int:
    """Run the allocations of a run's first steps; the largest one of a step."""
    if work.shards > 1:
        # Buffers of whole layers come again and again in the same sizes.
        allocator.hold(gathered(work, lasting["weights"]))
        lasting = {**lasting, **split_up(lasting, work.shards)}
    sizes = [prod(shape) * work.terms.itemsize // work.shards for shape in work.terms.trainable]
    allocator.hold([*_weights(lasting["weights"], work.facts), *(sizes if lasting["adapter"] else ())])
    allocator.largest = 0
    allocator.play(log)
    if lasting["optimizer"] > lasting["weights"] // 10:
        # It came after the first step, and is in the way of the second.
        share = lasting["optimizer"] / max(1, sum(sizes))
        allocator.hold([int(size * share) for size in sizes])
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
    return [*entries, *(size // work.shards for size in scratch(work))]


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
