"""`estimate`: what memory tuning would take, whether that fits, and what would make it fit."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from backend.api import Draft, Facade, FitProposal, MemoryLimits, MemoryNeed, Room
from ui.cli import train
from ui.cli.output import Output
from ui.cli.parser import Sub, UsageError
from ui.fragments import epoch
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

NAME = "estimate"
# Settings that memory depends on.
SETTINGS = (
    *("device", "precision", "adapter_dtype", "batch", "accumulation", "seq", "gradient_checkpointing"),
    *("optimizer", "optimizer_impl", "attention", "loss_kernel"),
)


def add(commands: Sub) -> None:
    parser = commands.add(NAME, "Say what memory tuning a model takes, before anything is loaded.")
    parser.add_argument("model", metavar="MODEL", help="starter, a folder, a config.json, a hub id")
    parser.add_argument("--data", metavar="DATASET", help="take the lengths of its rows: a sample or a file")
    train.add_settings(parser)
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="devices that train together")
    parser.add_argument("--sharding", choices=("ddp", "fsdp"), default="ddp", help="how they share")
    parser.add_argument("--methods", action="store_true", help="compare all methods")
    parser.add_argument(
        "--limits", action="store_true", help="the largest batch, length and model that fit, per method"
    )
    parser.set_defaults(run=run)


def run(options: Namespace, facade: Facade, output: Output) -> int:
    settings = train.read_settings(options)
    other = _other(options, settings)
    request = (options.model, options.data, options.method, settings, options.objective)
    draft = facade.estimate(*request, other)
    limits = facade.limits(*request) if options.limits else []
    compared = draft.method_needs if options.methods or options.limits else {}
    output.result(
        document(draft, compared, limits, output.words), text(draft, compared, limits, output.words)
    )
    return 0


def _other(options: Namespace, settings: dict[str, str]) -> dict[str, Any]:
    """What only an estimate can be asked, taken out of `settings`: other programs' ways, several devices."""
    other: dict[str, Any] = {}
    for name in ("kbit_casts", "outputs_alive"):
        if (text := settings.pop(name, "false").strip().lower()) not in ("true", "false"):
            raise UsageError(f"--set {name}: true or false, not {text}")
        if text == "true":
            other[name] = True
    if settings.get("loss_kernel") in ("fused", "fused_linear"):
        other["loss_kernel"] = settings.pop("loss_kernel")
    if options.gpus < 1:
        raise UsageError("--gpus: one at least")
    if options.gpus > 1:
        other |= {"devices": options.gpus, "sharding": options.sharding}
    return other


def document(
    draft: Draft, compared: Mapping[str, MemoryNeed], limits: Sequence[MemoryLimits], words: Words
) -> dict[str, Any]:
    """The fields of the chosen method's need, whether it fits per device, and what would make it fit."""
    assert draft.memory is not None
    body = need_document(draft.memory) | {
        "method": draft.memory.method,
        "verdict": draft.memory.fits,
        "moment": draft.memory.moment,
        "fits": {room.device: None if room.fits is None else room.fits != "no" for room in draft.rooms},
        "devices": [_room(room) for room in draft.rooms],
        "tokens_per_step": draft.tokens_per_step,
        **epoch.document(draft.epochs.get(draft.memory.method)),
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
            need_document(need)
            | {"method": id, "verdict": need.fits, "limits": most.get(id)}
            | epoch.document(draft.epochs.get(id))
            for id, need in compared.items()
        ]
    return body


def need_document(need: MemoryNeed) -> dict[str, Any]:
    """Bytes by part and in all."""
    return {
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
    low, high = need.reserved_bytes
    lines = [f"{draft.plan['model']}, {need.method}: {_fits(need, words)}"]
    lines += [f"  {tell(f'memory.part.{name}'):22}{bytes_text(size):>9}" for name, size in _tensors(need)]
    lines.append(f"  {tell('memory.allocated'):22}{bytes_text(need.allocated_bytes):>9}")
    lines.append(tell("memory.moment", moment=moment_text(tell, need.moment)))
    lines.append(tell("memory.reserved", low=bytes_text(low), high=bytes_text(high)))
    lines.append(_tokens(draft, words))
    lines += filter(None, [epoch.line(tell, draft.epochs, need.method)])
    lines += [_room_line(room, words) for room in shown_rooms(draft.rooms)]
    lines += _method_lines(compared, limits, words)
    if draft.proposals:
        lines += [f"{tell('fit.title')}:", *(_proposal_line(found, words) for found in draft.proposals)]
    elif need.fits == "no":
        lines.append(tell("fit.none"))
    return "\n".join(lines)


def _fits(need: MemoryNeed, words: Words) -> str:
    return words.text(f"fits.{need.fits or 'unknown'}")


def _tensors(need: MemoryNeed) -> list[tuple[str, int]]:
    return [(name, size) for name, size in parts_of(need).items() if name not in ("context", "reserve")]


def _tokens(draft: Draft, words: Words) -> str:
    settings = draft.plan["settings"]
    rows = settings["batch"] * settings["accumulation"]
    return words.text("memory.tokens", tokens=count_text(draft.tokens_per_step), rows=rows)


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
