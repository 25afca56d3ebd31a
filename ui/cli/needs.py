"""Memory as a document and as lines of text: of a plan, and of answering or merging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from backend.api import Draft, FitProposal, MemoryLimits, MemoryNeed, PurposeNeed, Room
from ui.fragments.format import bytes_text, count_text
from ui.fragments.memory import (
    limit_cells,
    moment_text,
    parts_of,
    processes_text,
    proposal_words,
    shown_rooms,
)
from ui.words import Words

# Settings that memory depends on.
SETTINGS = (
    *("device", "precision", "adapter_dtype", "batch", "accumulation", "seq", "gradient_checkpointing"),
    *("optimizer", "optimizer_impl", "attention", "loss_kernel"),
)


def document(
    draft: Draft, compared: Mapping[str, MemoryNeed], limits: Sequence[MemoryLimits], words: Words
) -> dict[str, Any]:
    """The fields of the chosen method's need, whether it fits per device, and what would make it fit."""
    assert draft.memory is not None
    body = _judged(draft.memory, draft.rooms) | {
        "purpose": "train",
        "tokens_per_step": draft.tokens_per_step,
        "settings": {key: draft.plan["settings"][key] for key in SETTINGS} | draft.plan["method_params"],
        "reasons": [
            {"key": key, "reason": words.reason(reason)}
            for key, reason in draft.reasons.items()
            if key in SETTINGS or key not in draft.plan["settings"]
        ],
        "make_fit": [_proposal(found, words) for found in draft.proposals],
    }
    if compared:
        most = {found.method: asdict(found) for found in limits}
        body["methods"] = [
            need_document(need) | {"method": id, "verdict": need.fits, "limits": most.get(id)}
            for id, need in compared.items()
        ]
    return body


def purpose_document(found: PurposeNeed, words: Words) -> dict[str, Any]:
    """The same fields, as far as they apply, and the bytes that are written to disk."""
    return _judged(found.memory, found.rooms) | {
        "purpose": found.purpose,
        "settings": dict(found.settings),
        "reasons": [{"key": reason.code, "reason": words.reason(reason)} for reason in found.reasons],
        "disk_bytes": found.disk_bytes,
        "disk_free_bytes": found.disk_free_bytes,
    }


def _judged(need: MemoryNeed, rooms: Sequence[Room]) -> dict[str, Any]:
    return need_document(need) | {
        "method": need.method or None,
        "verdict": need.fits,
        "moment": need.moment,
        "fits": {room.device: None if room.fits is None else room.fits != "no" for room in rooms},
        "devices": [_room(room) for room in rooms],
    }


def need_document(need: MemoryNeed) -> dict[str, Any]:
    """Bytes by part and in all."""
    return {
        "source": need.source,
        "peak_allocated_bytes": need.allocated_bytes,
        "reserved_bytes": list(need.reserved_bytes),
        "components": dict(need.parts),
        "trainable_params": need.trainable_params,
        "total_params": need.total_params,
    }


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
    draft: Draft, compared: Mapping[str, MemoryNeed], limits: Sequence[MemoryLimits], words: Words
) -> str:
    need = draft.memory
    assert need is not None
    tell = words.text
    lines = [f"{draft.plan['model']}, {need.method}: {_fits(need, words)}", *_need_lines(need, words)]
    lines.append(_tokens(draft, words))
    lines += _room_lines(draft.rooms, words)
    lines += _method_lines(compared, limits, words)
    if draft.proposals:
        lines += [f"{tell('fit.title')}:", *(_proposal_line(found, words) for found in draft.proposals)]
    elif need.fits == "no":
        lines.append(tell("fit.none"))
    return "\n".join(lines)


def purpose_text(found: PurposeNeed, words: Words) -> str:
    """Its parts, what has to be free, and what was taken for granted."""
    need, tell = found.memory, words.text
    titles = (need.method or tell("memory.untouched"), tell(f"memory.purpose.{found.purpose}"))
    lines = [f"{found.model}, {', '.join(titles)}: {_fits(need, words)}", *_need_lines(need, words)]
    if found.disk_bytes is not None:
        sizes = {"disk": bytes_text(found.disk_bytes), "free": bytes_text(found.disk_free_bytes)}
        lines.append(tell("memory.disk", **sizes))
    lines += [words.reason(reason) for reason in found.reasons]
    return "\n".join([*lines, *_room_lines(found.rooms, words)])


def _need_lines(need: MemoryNeed, words: Words) -> list[str]:
    tell = words.text
    low, high = need.reserved_bytes
    parts = [(name, size) for name, size in parts_of(need).items() if name not in ("context", "reserve")]
    return [
        *(f"  {tell(f'memory.part.{name}'):22}{bytes_text(size):>9}" for name, size in parts),
        f"  {tell('memory.allocated'):22}{bytes_text(need.allocated_bytes):>9}",
        tell("memory.moment", moment=moment_text(tell, need.moment)),
        tell("memory.reserved", low=bytes_text(low), high=bytes_text(high)),
    ]


def _fits(need: MemoryNeed, words: Words) -> str:
    return words.text(f"fits.{need.fits or 'unknown'}")


def _tokens(draft: Draft, words: Words) -> str:
    settings = draft.plan["settings"]
    rows = settings["batch"] * settings["accumulation"]
    return words.text("memory.tokens", tokens=count_text(draft.tokens_per_step), rows=rows)


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
        line = f"  {id:8}{bytes_text(need.needed_bytes):>9}  {_fits(need, words):8}"
        cells = most.get(id, ())
        rest = ", ".join(f"{name} {cell}" for name, cell in zip(names, cells, strict=False))
        lines.append(f"{line}  {rest}".rstrip())
    return lines


def _proposal_line(found: FitProposal, words: Words) -> str:
    what, price = proposal_words(words, found)
    given = [f"--method {found.method}"] if found.method else []
    given += [f"--set {key}={_value(value)}" for key, value in found.settings.items() if value is not None]
    gain = words.text("fit.gain", gain=bytes_text(found.gain_bytes), needed=bytes_text(found.needed_bytes))
    return f"  {what}: {gain}. {price}\n    {' '.join(given)}"


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
