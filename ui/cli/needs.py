"""Memory as a document and as lines of text: of a plan, and of answering or merging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from backend.api import Draft, FitProposal, MemoryLimits, MemoryNeed, PurposeNeed, Room
from ui.fragments import epoch
from ui.fragments.format import DASH, bytes_text
from ui.fragments.memory import (
    limit_cells,
    measured_lines,
    moment_text,
    parts_of,
    processes_text,
    proposal_words,
    shown_rooms,
    tokens_line,
)
from ui.words import Words

# Settings that memory depends on.
SETTINGS = (
    *("device", "precision", "adapter_dtype", "batch", "accumulation", "seq", "gradient_checkpointing"),
    *("optimizer", "optimizer_impl", "attention", "loss_kernel"),
)
# Modules with less of all tensors than this are told together.
_SMALL = 0.005


def document(
    draft: Draft,
    compared: Mapping[str, MemoryNeed],
    limits: Sequence[MemoryLimits],
    words: Words,
    exact: MemoryNeed | None = None,
) -> dict[str, Any]:
    """The fields of the chosen method's need, whether it fits per device, and what would make it fit. With a
    trace or a probe (`exact`) they are its own, and the estimate stands beside them."""
    assert draft.memory is not None
    body = _judged(exact or draft.memory, _rooms(draft, exact), words) | {
        "purpose": "train",
        "tokens_per_step": draft.tokens_per_step,
        **epoch.document(draft.epochs.get(draft.memory.method)),
        "settings": {key: draft.plan["settings"][key] for key in SETTINGS} | draft.plan["method_params"],
        "reasons": [
            {"key": key, "reason": words.reason(reason)}
            for key, reason in draft.reasons.items()
            if key in SETTINGS or key not in draft.plan["settings"]
        ],
        "make_fit": [_proposal(found, words) for found in draft.proposals or ()],
    }
    if exact is not None:
        body["estimate"] = need_document(draft.memory)
    elif draft.memory.probed is not None:
        body["probe"] = need_document(draft.memory.probed)
    if compared:
        most = {found.method: asdict(found) for found in limits}
        body["methods"] = [
            need_document(need)
            | {"method": id, "verdict": need.fits, "limits": most.get(id)}
            | epoch.document(draft.epochs.get(id))
            for id, need in compared.items()
        ]
    return body


def _rooms(draft: Draft, exact: MemoryNeed | None) -> tuple[Room, ...]:
    """What was measured on the chosen device says whether it fits there."""
    if exact is None or not draft.rooms or draft.rooms[0].device != draft.plan["settings"]["device"]:
        return draft.rooms
    return (replace(draft.rooms[0], fits=exact.fits), *draft.rooms[1:])


def purpose_document(found: PurposeNeed, words: Words) -> dict[str, Any]:
    """The same fields, as far as they apply, and the bytes that are written to disk."""
    return _judged(found.memory, found.rooms, words) | {
        "purpose": found.purpose,
        "settings": dict(found.settings),
        "reasons": [{"key": reason.code, "reason": words.reason(reason)} for reason in found.reasons],
        "disk_bytes": found.disk_bytes,
        "disk_free_bytes": found.disk_free_bytes,
    }


def _judged(need: MemoryNeed, rooms: Sequence[Room], words: Words) -> dict[str, Any]:
    return need_document(need) | {
        "notes": [{"key": note.code, "reason": words.reason(note)} for note in need.notes],
        "method": need.method or None,
        "verdict": need.fits,
        "moment": need.moment,
        "fits": {room.device: None if room.fits is None else room.fits != "no" for room in rooms},
        "devices": [_room(room) for room in rooms],
    }


def need_document(need: MemoryNeed) -> dict[str, Any]:
    """Bytes by part and in all; of a trace by module too."""
    body: dict[str, Any] = {
        "source": need.source,
        "peak_allocated_bytes": need.allocated_bytes,
        "reserved_bytes": list(need.reserved_bytes),
        "components": dict(need.parts),
        "needed_bytes": need.needed_bytes,
        "calibration": need.calibration
        and {"factor": need.calibration.factor, "runs": need.calibration.runs},
        "trainable_params": need.trainable_params,
        "total_params": need.total_params,
    }
    if need.modules:
        body["at"] = need.at
        body["modules"] = [
            {"module": row.module, "bytes": row.bytes, "parts": dict(row.parts)} for row in need.modules
        ]
    return body


def _room(room: Room) -> dict[str, Any]:
    return {
        "device": room.device,
        "name": room.name,
        "total_bytes": room.total_bytes,
        "free_bytes": room.free_bytes,
        "verdict": room.fits,
        "processes": [asdict(process) for process in room.processes],
    }


def _proposal(found: FitProposal, words: Words) -> dict[str, Any]:
    what, price = proposal_words(words, found)
    return {
        "what": what,
        "price": price,
        "method": found.method,
        "settings": dict(found.settings),
        "needed_bytes": found.needed_bytes,
        "gain_bytes": found.gain_bytes,
        "verdict": found.fits,
    }


def text(
    draft: Draft,
    compared: Mapping[str, MemoryNeed],
    limits: Sequence[MemoryLimits],
    words: Words,
    exact: MemoryNeed | None = None,
) -> str:
    """As lines for a person."""
    assert draft.memory is not None
    need = exact or draft.memory
    tell = words.text
    judged = verdict_text(need, draft, words)
    lines = [f"{draft.plan['model']}, {need.method}: {judged}", *_need_lines(need, words)]
    if exact is not None:
        lines.append(tell("memory.estimated", estimated=bytes_text(draft.memory.allocated_bytes)))
    lines += filter(None, [tokens_line(tell, draft), epoch.line(tell, draft.epochs, need.method)])
    lines += _room_lines(draft.rooms, words)
    lines += _method_lines(compared, limits, words)
    if draft.proposals and need.fits != "yes":
        lines += [f"{tell('fit.title')}:", *(_proposal_line(found, words) for found in draft.proposals)]
    elif draft.proposals is not None and need.fits == draft.memory.fits == "no":
        lines.append(tell("fit.none"))
    return "\n".join(lines)


def purpose_text(found: PurposeNeed, words: Words) -> str:
    """Its parts, what has to be free, and what was taken for granted."""
    need, tell = found.memory, words.text
    titles = (need.method or tell("memory.untouched"), tell(f"memory.purpose.{found.purpose}"))
    judged = verdict_text(need, found, words)
    lines = [f"{found.model}, {', '.join(titles)}: {judged}", *_need_lines(need, words)]
    if found.disk_bytes is not None:
        sizes = {"disk": bytes_text(found.disk_bytes), "free": bytes_text(found.disk_free_bytes)}
        lines.append(tell("memory.disk", **sizes))
    lines += [words.reason(reason) for reason in found.reasons]
    return "\n".join([*lines, *_room_lines(found.rooms, words)])


def _need_lines(need: MemoryNeed, words: Words) -> list[str]:
    tell = words.text
    low, high = need.reserved_bytes
    lines = {
        name: f"  {tell(f'memory.part.{name}'):22}{bytes_text(size):>9}"
        for name, size in parts_of(need).items()
    }
    beyond = [lines.pop(name) for name in ("context", "reserve") if name in lines]
    return [
        *lines.values(),
        f"  {tell('memory.allocated'):22}{bytes_text(need.allocated_bytes):>9}",
        *beyond,
        *_module_lines(need, words),
        tell("memory.moment", moment=_moment(need, words)),
        tell("memory.reserved", low=bytes_text(low), high=bytes_text(high)),
        *measured_lines(tell, need),
        *map(words.reason, need.notes),
    ]


def _moment(need: MemoryNeed, words: Words) -> str:
    moment = moment_text(words.text, need.moment)
    return f"{moment} ({need.at})" if need.at else moment


def _module_lines(need: MemoryNeed, words: Words) -> list[str]:
    """What lives in each module of a traced step, the largest part of each named; small ones together."""
    if not need.modules:
        return []
    tell, small = words.text, _SMALL * need.allocated_bytes
    lines = [f"{tell('memory.modules')}:"]
    for row in need.modules:
        if row.bytes >= small:
            held = [f"{tell(f'memory.part.{p}').lower()} {bytes_text(n)}" for p, n in _by_size(row.parts)]
            lines.append(f"  {row.module:44}{bytes_text(row.bytes):>9}  {', '.join(held)}")
    rest = sum(row.bytes for row in need.modules if row.bytes < small)
    return [*lines, f"  {tell('memory.modules.rest'):44}{bytes_text(rest):>9}"]


def _by_size(parts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(parts.items(), key=lambda part: part[1], reverse=True)


def verdict_text(need: MemoryNeed, of: Draft | PurposeNeed, words: Words) -> str:
    """Whether it fits on its device, or why that can't be said."""
    if need.fits is not None:
        return words.text(f"fits.{need.fits}")
    device = (of.plan["settings"] if isinstance(of, Draft) else of.settings)["device"]
    here = any(room.device == device for room in of.rooms)
    return words.text("fits.free_unknown" if here else "fits.no_device", device=device)


def _room_lines(rooms: Sequence[Room], words: Words) -> list[str]:
    return [_room_line(room, words) for room in shown_rooms(rooms)]


def _room_line(room: Room, words: Words) -> str:
    free = words.text("system.free_of", free=bytes_text(room.free_bytes), total=bytes_text(room.total_bytes))
    line = f"{room.device}  {room.name}: {free}"
    if room.processes:
        line += f", {words.text('memory.others', others=processes_text(room.processes))}"
    return line


def _method_lines(needs: Mapping[str, MemoryNeed], limits: Sequence[MemoryLimits], words: Words) -> list[str]:
    """One line per method: what it takes, whether it fits, and the most that does."""
    most = {found.method: limit_cells(words.text, found) for found in limits}
    names = [words.text(f"limits.{name}").lower() for name in ("batch", "seq", "model")]
    lines = []
    for id, need in needs.items():
        fits = words.text(f"fits.{need.fits}") if need.fits else DASH
        line = f"  {id:8}{bytes_text(need.needed_bytes):>9}  {fits:8}"
        cells = most.get(id, ())
        rest = ", ".join(f"{name} {cell}" for name, cell in zip(names, cells, strict=False))
        lines.append(f"{line}  {rest}".rstrip())
    return lines


def _proposal_line(found: FitProposal, words: Words) -> str:
    what, price = proposal_words(words, found)
    given = [f"--method {found.method}"] if found.method else []
    given += [f"--set {key}={_value(value)}" for key, value in found.resolved.items()]
    gain = words.text("fit.gain", gain=bytes_text(found.gain_bytes), needed=bytes_text(found.needed_bytes))
    return f"  {what}: {gain}. {price}\n    {' '.join(given)}"


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
