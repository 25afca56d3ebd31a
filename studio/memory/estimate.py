"""The memory of a training step by arithmetic: milliseconds, no torch.

A step of the model runs on a tape of sizes (`studio.memory.tape`), with few layers twice; what grows with
the number of layers grows evenly, so the peak of any depth follows. Where it does not, the step runs with all
of them.
"""

from __future__ import annotations

from studio.memory.beginning import begun
from studio.memory.lasting import lasting_bytes, paged_bytes
from studio.memory.need import Need
from studio.memory.reserved import LEAST, context, interval
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
) -> Need:
    """What one step of a resolved plan needs on the model with these sizes.

    `learned`: the share of a row's tokens that carry loss; `switches`: what another program would do
    otherwise; `capacity`: bytes that the device has in all, beyond which an allocator gives back what it
    holds unused. With several `devices` the result is that of each.
    """
    work = Workload(plan, facts, learned, switches)
    lasting = lasting_bytes(work)
    log = Takings(LEAST) if work.device == "cuda" else None
    moments = {
        place: {name: parts[name] + lasting.get(name, 0) for name in PARTS}
        for place, parts in _peaks(work, log).items()
    }
    # What a method begins with comes before anything is shared.
    start = {"start": dict.fromkeys(PARTS, 0) | begun(work, lasting["weights"])}
    each = per_device(moments, work, lasting, devices, sharding) | start
    place, worst = max(each.items(), key=lambda entry: sum(entry[1].values()))
    whole, tensors = dict(worst), sum(worst.values())
    # What several devices exchange is not played back: it is more or less than what one would take.
    beside = tensors - max(sum(parts.values()) for parts in (moments | start).values())
    whole["context"] = context(work)
    paged = whole["paged"] = paged_bytes(work) // (devices if sharding == "fsdp" else 1)
    parts = {name: size for name, size in whole.items() if size}

    def reserved() -> tuple[int, int]:
        low, high = interval(work, lasting, log, tensors, beside, capacity)
        return low, high + paged  # it may have been moved out, all of it

    return Need("estimate", parts, place, reserved)


def _peaks(work: Workload, log: Takings | None) -> Peaks:
    """Peaks of a step, without what lives all the time, for the model's own number of layers. The log is of
    as many as stand for all."""
    layers = work.facts.layers
    if layers <= WRITTEN or not work.alike:
        return _peaks_with(work, layers, log)
    short, longer = _peaks_with(work, WRITTEN - 1), _peaks_with(work, WRITTEN, log)
    found = {
        place: {
            name: low + (layers - WRITTEN + 1) * (longer[place][name] - low) for name, low in parts.items()
        }
        for place, parts in short.items()
    }
    if any(size < 0 for parts in found.values() for size in parts.values()):
        return _peaks_with(work, layers)  # the worst moment of a place was another one with a layer more
    return found


def _peaks_with(work: Workload, layers: int, log: Takings | None = None) -> Peaks:
    peaks = Step(work, layers, log).run()
    return {place: dict(zip(PARTS, sizes, strict=True)) for place, sizes in peaks.items()}
