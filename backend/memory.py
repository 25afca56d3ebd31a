"""The memory of a plan as the screen and the command line show it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from backend.api import FitProposal, HardwareReport, MemoryLimits, MemoryNeed, Room
from backend.calibration import Known
from studio.data.check import TokenStats
from studio.defaults import cpu_has_bf16, largest_step
from studio.errors import StudioError
from studio.memory import fit
from studio.memory.changes import Histogram
from studio.memory.estimate import estimate
from studio.memory.fit import Case
from studio.memory.need import Need
from studio.memory.switches import Switches
from studio.memory.verdict import UNMEASURED, Experience, verdict
from studio.models import catalogue
from studio.models.config import ModelFacts
from studio.plan import Plan, methods, optimizers


def fast_bf16(device: str) -> bool:
    """Every GPU that the studio's torch can use computes bfloat16 at full speed."""
    return cpu_has_bf16() if device == "cpu" else True


def free_bytes(hardware: HardwareReport, device: str) -> int | None:
    """Memory that is free on a device now."""
    if device == "cpu":
        return hardware.ram_available_bytes
    return next((d.free_bytes for d in hardware.devices if d.key == device), None)


def capacity(hardware: HardwareReport, device: str) -> int | None:
    """All that a GPU has, as far as it is here; a processor's memory is the system's, which gives back."""
    return next((d.total_bytes for d in hardware.devices if d.key == device), None)


def capability(hardware: HardwareReport, device: str) -> tuple[int, int] | None:
    """A GPU's compute capability, as far as it is here."""
    return next((d.capability for d in hardware.devices if d.key == device), None)


def card(hardware: HardwareReport, device: str) -> str | None:
    """The name of the GPU that a device is now, as torch calls it too; None for a processor, Apple's GPU
    (which is the machine's) and what is not there."""
    return next((d.name for d in hardware.devices if d.key == device and d.key.startswith("cuda")), None)


def barred(device: str) -> frozenset[str]:
    """Methods and optimizers that need bitsandbytes, where it isn't installed or not made for the device."""
    if importlib.util.find_spec("bitsandbytes") is not None and not device.startswith("mps"):
        return frozenset()
    in_4_bit = frozenset(id for id, method in methods.all().items() if method.quantisation is not None)
    return in_4_bit | frozenset(id for id, o in optimizers.all().items() if o.package == "bitsandbytes")


def unable(device: str) -> dict[str, StudioError]:
    """The methods that a device can't run, by id, and why."""
    found = {id: methods.all()[id] for id in sorted(barred(device) & methods.all().keys())}
    if device.startswith("mps"):
        return {
            id: StudioError("quantisation_device", method=m.title, device=device) for id, m in found.items()
        }
    return {id: StudioError("bitsandbytes_missing", method=m.title) for id, m in found.items()}


def histogram(tokens: TokenStats | None) -> Histogram:
    """Rows by length, as far as they were measured."""
    return tuple((bucket["upto"], bucket["rows"]) for bucket in tokens.histogram) if tokens else ()


def learned_share(tokens: TokenStats | None) -> float:
    """The share of tokens that carry loss; all of them where it is not known."""
    return tokens.learned / tokens.total if tokens and tokens.total else 1.0


def elsewhere(case: Case, other: Mapping[str, Any]) -> MemoryNeed:
    """What the plan takes as another program would run it, or on each of several devices. `other` may hold
    `kbit_casts`, `outputs_alive`, `loss_kernel`, `devices` and `sharding`."""
    return of_case(case, _elsewhere(case, other))


def rooms_elsewhere(case: Case, hardware: HardwareReport, other: Mapping[str, Any]) -> tuple[Room, ...]:
    """See `rooms`, of what `elsewhere` takes."""
    return _rooms(case, hardware, lambda there: _elsewhere(there, other).reserved[1])


def _elsewhere(case: Case, other: Mapping[str, Any]) -> Need:
    plan = largest_step(case.plan, case.facts.rows, case.facts.most_tokens)
    switches = Switches(
        kbit_casts="all" if other.get("kbit_casts") else "no",
        outputs_alive=bool(other.get("outputs_alive")),
    )
    if kernel := other.get("loss_kernel"):
        plan = plan.with_settings(loss_kernel=kernel)
    return estimate(
        plan,
        case.model,
        case.facts.learned,
        switches,
        case.facts.capacity,
        devices=other.get("devices", 1),
        sharding=other.get("sharding", "ddp"),
        capability=case.facts.capability,
    )


def need(case: Case, known: Known) -> MemoryNeed:
    """What the plan takes by the estimate, and what measurements say of that."""
    calibration, probed = known.calibrations.get(case.plan.method), known.probed.get(case.plan.method)
    found = shown(case.plan, case.model, case.need(), case.facts.free_bytes, case.experience)
    return replace(found, calibration=calibration, probed=of_case(case, probed) if probed else None)


def of_case(case: Case, found: Need) -> MemoryNeed:
    """What was found for a case, as it is shown."""
    return shown(case.plan, case.model, found, case.facts.free_bytes)


def shown(
    plan: Plan,
    facts: ModelFacts,
    found: Need,
    free: int | None,
    experience: Experience = UNMEASURED,
) -> MemoryNeed:
    """What was found for a plan, as it is shown."""
    terms = methods.get(plan.method).memory(facts, plan.method_params, plan.settings)
    assert facts.parameters is not None
    trained = terms.trainable_params
    added = 0 if methods.get(plan.method).capable("trains_base", plan.method_params) else trained
    return MemoryNeed(
        method=plan.method,
        parts=found.parts,
        moment=found.moment,
        allocated_bytes=found.allocated,
        reserved_bytes=found.reserved,
        trainable_params=trained,
        total_params=facts.parameters + added,
        fits=verdict(experience.needed(found), free),
        source=found.source,
        modules=found.modules,
        at=found.at,
        measured_need=experience.needed(found),
        notes=facts.notes,
    )


def by_method(case: Case) -> tuple[Case, ...]:
    """The plan with each method, the chosen one first and the others as they are by default; those that can't
    run here are left out."""
    chosen = case.plan.method
    others = [id for id in methods.all() if id != chosen and id not in case.barred]
    return (case, *(case.by(id) for id in others))


def rooms(case: Case, hardware: HardwareReport) -> tuple[Room, ...]:
    """The chosen device, the usable GPUs, the processor: what is free there and whether the plan fits."""
    return _rooms(case, hardware, Case.needed)


def rooms_by(hardware: HardwareReport, chosen: str, needed: Callable[[Room], int]) -> tuple[Room, ...]:
    """The same for anything that takes `needed` bytes in each."""
    gpus = [device for device in hardware.devices if device.usable]
    processor = Room(
        "cpu", hardware.cpu_name, hardware.ram_total_bytes, hardware.ram_available_bytes, (), None
    )
    found = [
        *(Room(d.key, d.name, d.total_bytes, d.free_bytes, d.processes, None) for d in gpus),
        processor,
    ]
    found.sort(key=lambda room: room.device != chosen)
    return tuple(replace(room, fits=verdict(needed(room), room.free_bytes)) for room in found)


def _rooms(case: Case, hardware: HardwareReport, needed: Callable[[Case], int]) -> tuple[Room, ...]:
    """GPUs of one kind need the same, as far as they have it."""

    def there(room: Room) -> Case:
        bytes_there = capacity(hardware, room.device)
        if room.device.partition(":")[0] == case.facts.device.partition(":")[0]:
            facts = replace(case.facts, capacity=bytes_there, capability=capability(hardware, room.device))
            return replace(case, facts=facts)
        return case.there(
            room.device,
            room.free_bytes,
            fast_bf16(room.device),
            bytes_there,
            capability(hardware, room.device),
        )

    return rooms_by(hardware, case.facts.device, lambda room: needed(there(room)))


def proposals(case: Case) -> tuple[FitProposal, ...]:
    """What would make it fit; nothing where it does, or where what is free is not known."""
    if case.facts.free_bytes is None:
        return ()
    return tuple(
        FitProposal(
            what=tuple(step.what for step in found.steps),
            price=tuple(step.price for step in found.steps),
            settings=found.settings,
            resolved=found.resolved,
            method=found.method,
            needed_bytes=found.needed,
            gain_bytes=found.gain,
            fits=found.verdict,
        )
        for found in fit.proposals(case)
    )


def limits(cases: Iterable[Case]) -> list[MemoryLimits]:
    """The most that fits, per method; nothing where what is free is not known."""
    return [_limits(case) for case in cases if case.facts.free_bytes is not None]


def _limits(case: Case) -> MemoryLimits:
    found = fit.limits(case, _proposed())
    title = next((entry.title for entry in catalogue.entries() if entry.name == found.model), None)
    return MemoryLimits(case.plan.method, found.batch, found.seq, found.whole_context, title)


def _proposed() -> Iterable[tuple[str, ModelFacts]]:
    return ((entry.name, entry.facts) for entry in catalogue.entries())
