"""The memory of a training step by arithmetic: milliseconds, no torch.

A step of the model runs on a tape of sizes (`studio.memory.tape`). Where all layers do the same, five of them
run, and one stands for all that are between; else the step runs with all of them.
"""

from __future__ import annotations

from dataclasses import replace

from studio.memory.beginning import begun
from studio.memory.cards import Capability
from studio.memory.lasting import lasting_bytes, paged_bytes
from studio.memory.need import Need
from studio.memory.reserved import LEAST, context, interval, on_card
from studio.memory.sharding import Peaks, Sharding, per_device
from studio.memory.step import Step
from studio.memory.switches import STUDIO, Switches
from studio.memory.takings import WRITTEN, Takings
from studio.memory.tape import PARTS
from studio.memory.workload import Workload
from studio.models.config import ModelFacts
from studio.plan import Plan


def estimate(
    plan: Plan,
    facts: ModelFacts,
    learned: float,
    switches: Switches = STUDIO,
    capacity: int | None = None,
    devices: int = 1,
    sharding: Sharding = "ddp",
    capability: Capability | None = None,
) -> Need:
    """What one step of a resolved plan needs on the model with these sizes.

    `learned`: the share of a row's tokens that carry loss; `switches`: what another program would do
    otherwise; `capacity`: bytes that the device has in all, beyond which an allocator gives back what it
    holds unused. With several `devices` the result is that of each. `capability`: of the GPU, where known.
    """
    split = devices > 1 and sharding == "fsdp"
    work = Workload(plan, facts, learned, switches, devices if split else 1, capability)
    lasting = lasting_bytes(work)
    log = Takings(LEAST) if work.device == "cuda" else None
    moments = {
        place: {name: parts[name] + lasting.get(name, 0) for name in PARTS}
        for place, parts in _peaks(work, log).items()
    }
    # What a method begins with comes before anything is shared.
    start = {"start": dict.fromkeys(PARTS, 0) | begun(replace(work, shards=1), lasting["weights"])}
    each = per_device(moments, work, lasting, devices, sharding) | start
    place, worst = max(each.items(), key=lambda entry: sum(entry[1].values()))
    whole, tensors = dict(worst), sum(worst.values())
    # What copies exchange is not played back: it is more than what one would take.
    beside = 0 if split else tensors - max(sum(parts.values()) for parts in (moments | start).values())
    whole["context"] = context(work)
    paged = whole["paged"] = paged_bytes(work) // (devices if sharding == "fsdp" else 1)
    parts = {name: size for name, size in whole.items() if size}

    def reserved() -> tuple[int, int]:
        low, high = interval(work, lasting, log, tensors, beside)
        return low, high + paged  # it may have been moved out, all of it

    return on_card(Need("estimate", parts, place, reserved), work.device, capacity, capability)


def _peaks(work: Workload, log: Takings | None) -> Peaks:
    """Peaks of a step, without what lives all the time. The log is of as many layers as stand for all."""
    layers = work.facts.layers
    ran = WRITTEN if work.alike and layers > WRITTEN else layers
    peaks = Step(work, ran, log).run()
    return {place: dict(zip(PARTS, sizes, strict=True)) for place, sizes in peaks.items()}
