"""The memory panel: what each method would take against what is free, by part, and how to make it fit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from backend.api import Draft, FitProposal, GpuProcess, MemoryLimits, MemoryNeed, Room
from ui.fragments import epoch
from ui.fragments.format import DASH, bytes_text, count_text, percent_text
from ui.fragments.html import classes, h, join
from ui.fragments.parts import data_table, fits_badge, fold, heading
from ui.fragments.text import Text
from ui.words import Words

# In the order in which a bar stacks them: what stays, then what comes and goes.
PARTS = (
    *("weights", "adapter", "optimizer", "paged", "gradients", "activations", "logits", "cache"),
    "workspace",
    *("context", "reserve"),
)
MOMENTS = (
    *("start", "forward", "backward", "optimizer step"),
    *("reading the prompt", "answering", "merging", "verifying"),
)


def parts_of(need: MemoryNeed) -> dict[str, int]:
    """Bytes by part in the order of the bar; `reserve` is what the process may hold beyond its tensors."""
    found = {name: need.parts.get(name, 0) for name in PARTS}
    found["reserve"] = max(0, need.needed_bytes - sum(found.values()))
    return {name: size for name, size in found.items() if size}


def too_big(draft: Draft | None) -> bool:
    """Whether the plan would run out of memory, as far as can be told."""
    return draft is not None and draft.memory is not None and draft.memory.fits == "no"


def moment_text(text: Text, moment: str) -> str:
    """When within a step most is in use."""
    return text(f"memory.moment.{moment.replace(' ', '_') if moment in MOMENTS else 'layer'}")


def bar(text: Text, need: MemoryNeed, free: int | None, scale: int) -> Markup:
    """One stacked bar; `scale` bytes fill the width. The part of the ground that is free is marked."""
    parts = parts_of(need)
    line = ", ".join(f"{text(f'memory.part.{name}')} {bytes_text(size)}" for name, size in parts.items())
    return h(
        "div",
        h("span", class_="room", style=f"width:{_width(free, scale)}") if free else None,
        [
            h(
                "i",
                class_=f"part {name}",
                style=f"width:{_width(size, scale)}",
                title=text(
                    "memory.part.title",
                    part=text(f"memory.part.{name}"),
                    size=bytes_text(size),
                    help=text(f"memory.part.{name}.help"),
                ),
            )
            for name, size in parts.items()
        ],
        class_="stack",
        role="img",
        aria_label=line,
    )


def _width(size: int | None, scale: int) -> str:
    return f"{100 * (size or 0) / scale:.2f}%"


def scale_of(draft: Draft, needs: Sequence[MemoryNeed]) -> int:
    """Bytes that fill a bar: the largest need, or what is free and a little, so that no bar is cut and their
    lengths compare."""
    largest = max((need.needed_bytes for need in needs), default=0)
    return max(1, largest, int(1.05 * (draft.free_bytes or 0)))


def summary(text: Text, draft: Draft | None) -> Markup:
    """The chosen method's bar and line, for the plan in words."""
    if draft is None or draft.memory is None:
        return h(
            "div",
            h("p", text("plan.memory.open"), class_="quiet"),
            h("div", class_="stack", aria_hidden="true"),
            class_="memory",
        )
    need, free = draft.memory, draft.free_bytes
    line = text("plan.memory.value", needed=bytes_text(need.needed_bytes), free=bytes_text(free))
    return h(
        "div",
        h("p", h("span", line, class_="quiet"), fits_badge(text, need.fits), class_="line split"),
        bar(text, need, free, scale_of(draft, [need])),
        _tokens(text, draft),
        class_="memory",
    )


def _tokens(text: Text, draft: Draft) -> Markup | None:
    line = tokens_line(text, draft)
    return h("p", line, class_="quiet") if line else None


def tokens_line(text: Text, draft: Draft) -> str | None:
    """The tokens of the largest step, and its rows: at most as many as there are."""
    settings = draft.plan["settings"]
    if draft.tokens_per_step is None:
        return None
    rows = settings["batch"] * settings["accumulation"]
    shown = min(rows, draft.rows or rows)
    return text("memory.tokens", tokens=count_text(draft.tokens_per_step), rows=shown)


def panel(words: Words, draft: Draft | None, titles: Mapping[str, str]) -> Markup | None:
    """All of it as a card: a bar per method, the parts as a table, the devices. `titles` of the methods, in
    the order in which they are shown."""
    if draft is None or draft.memory is None:
        return None
    text = words.text
    needs = [draft.method_needs[id] for id in titles if id in draft.method_needs]
    scale = scale_of(draft, needs)
    return h(
        "section",
        h("div", h("h2", text("memory.title")), _tokens(text, draft)),
        h("div", [_method(text, titles, n, draft, scale) for n in needs], class_="method-bars"),
        legend(text, needs),
        h("ul", [_room(text, room) for room in shown_rooms(draft.rooms)], class_="rooms"),
        fold(text("memory.details"), _table(text, draft, needs, titles)),
        class_="card memory-card",
        aria_label=text("memory.title"),
    )


def _method(text: Text, titles: Mapping[str, str], need: MemoryNeed, draft: Draft, scale: int) -> Markup:
    chosen = draft.memory is not None and need.method == draft.memory.method
    return h(
        "div",
        h(
            "p",
            h("span", titles[need.method], class_="strong" if chosen else None),
            h("span", class_="grow"),
            h("span", bytes_text(need.needed_bytes), class_="quiet"),
            fits_badge(text, need.fits),
            class_="line",
        ),
        bar(text, need, draft.free_bytes, scale),
        [h("span", line, class_="quiet block measured") for line in measured_lines(text, need)],
        epoch_line(text, draft, need.method),
        class_=classes("method-bar", chosen and "chosen"),
    )


def epoch_line(text: Text, draft: Draft, method: str) -> Markup | None:
    """What an epoch would take, below a method's bar; nothing before something was measured here."""
    line = epoch.line(text, draft.epochs, method)
    return h("span", line, class_="quiet block epoch") if line else None


def measured_lines(text: Text, need: MemoryNeed) -> list[str]:
    """What a probe of the plan measured here, and how far runs like it lay from what was predicted."""
    lines = []
    if need.probed is not None:
        lines.append(text("memory.probed", needed=bytes_text(need.probed.needed_bytes)))
    if need.calibration is not None:
        factor, runs = f"{need.calibration.factor:.2f}", need.calibration.runs
        lines.append(text("memory.calibrated", factor=factor, runs=runs))
    return lines


def legend(text: Text, needs: Sequence[MemoryNeed]) -> Markup:
    """The colours of the parts that any of these bars has, and the mark of what is free."""
    present = {name for need in needs for name in parts_of(need)}
    return h(
        "p",
        [
            h(
                "span",
                h("i", class_=f"part {name}"),
                text(f"memory.part.{name}"),
                title=text(f"memory.part.{name}.help"),
            )
            for name in PARTS
            if name in present
        ],
        h("span", h("i", class_="free-mark"), text("memory.free")),
        class_="legend",
    )


def shown_rooms(rooms: Sequence[Room]) -> list[Room]:
    """The GPUs where the run would be on one, else the device that was chosen."""
    on_gpu = bool(rooms) and rooms[0].device != "cpu"
    return [room for room in rooms if room.device != "cpu"] if on_gpu else list(rooms[:1])


def _room(text: Text, room: Room) -> Markup:
    name = text("memory.ram") if room.device == "cpu" else f"{room.device} {room.name}"
    free = text("system.free_of", free=bytes_text(room.free_bytes), total=bytes_text(room.total_bytes))
    others = text("memory.others", others=processes_text(room.processes)) if room.processes else None
    return h(
        "li",
        h("p", h("span", name), h("span", class_="grow"), fits_badge(text, room.fits), class_="line"),
        h("p", free, f" · {others}" if others else None, class_="quiet"),
    )


def processes_text(processes: Sequence[GpuProcess]) -> str:
    """`python 4.0 GB, Xorg 310 MB`."""
    return ", ".join(f"{p.name or f'pid {p.pid}'} {bytes_text(p.used_bytes)}" for p in processes)


def _table(text: Text, draft: Draft, needs: Sequence[MemoryNeed], titles: Mapping[str, str]) -> Markup:
    """The chosen method's parts with what they are; the other methods' sums."""
    need = draft.memory
    assert need is not None
    rows: list[tuple[object, ...]] = [
        (text(f"memory.part.{name}"), bytes_text(size), text(f"memory.part.{name}.help"))
        for name, size in parts_of(need).items()
    ]
    low, high = need.reserved_bytes
    share = percent_text(need.trainable_params / need.total_params)
    trained = text("memory.trained", trained=count_text(need.trainable_params), share=share)
    return join(
        data_table(
            text("memory.table", method=titles[need.method]),
            [text("memory.part"), text("memory.size"), text("memory.what")],
            rows,
        ),
        h("p", text("memory.moment", moment=moment_text(text, need.moment)), class_="quiet"),
        h("p", text("memory.reserved", low=bytes_text(low), high=bytes_text(high)), class_="quiet"),
        h("p", trained, class_="quiet"),
        data_table(
            text("memory.methods"),
            [text("plan.method"), text("memory.allocated"), text("memory.needed")],
            [(titles[n.method], bytes_text(n.allocated_bytes), bytes_text(n.needed_bytes)) for n in needs],
        ),
    )


# Make it fit


def make_fit(words: Words, draft: Draft | None) -> Markup | None:
    """What would make it fit, each with its gain and its price, and one click to do it."""
    if draft is None or draft.memory is None or draft.memory.fits in ("yes", None):
        return None
    text = words.text
    tight = draft.memory.fits == "tight"
    if not draft.proposals:
        return None if tight else h("p", text("fit.none"), class_="card fit-none")
    lead = text("fit.lead.tight" if tight else "fit.lead.no")
    return h(
        "section",
        heading(text("fit.title"), lead),
        h("ol", [_proposal(words, p) for p in draft.proposals], class_="list fits"),
        class_="make-fit",
        aria_label=text("fit.title"),
    )


def _proposal(words: Words, proposal: FitProposal) -> Markup:
    text = words.text
    what, price = proposal_words(words, proposal)
    gain = text("fit.gain", gain=bytes_text(proposal.gain_bytes), needed=bytes_text(proposal.needed_bytes))
    return h(
        "li",
        h(
            "div",
            h("span", what, class_="strong block"),
            h("span", price, class_="quiet block"),
            h("span", gain, class_="facts"),
            class_="grow",
        ),
        fits_badge(text, "tight") if proposal.fits == "tight" else None,
        h(
            "button",
            text("fit.apply"),
            type="button",
            class_="button small",
            data_act="fit",
            data_method=proposal.method or "",
            data_settings=json.dumps(dict(proposal.settings)),
            aria_label=text("fit.apply.label", what=what),
        ),
        class_="row",
    )


def proposal_words(words: Words, proposal: FitProposal) -> tuple[str, str]:
    """What changes, and what it costs."""
    first, *more = [words.reason(reason) for reason in proposal.what]
    # Each reason is a sentence of its own: after another one it goes on in small letters.
    what = words.text("fit.and").join([first, *(change[:1].lower() + change[1:] for change in more)])
    return what, " ".join(words.reason(reason) for reason in proposal.price)


# The most that fits


def limits(text: Text, found: Sequence[MemoryLimits], titles: Mapping[str, str]) -> Markup | None:
    """The largest batch, the longest row and the largest model, per method."""
    if not found:
        return None
    ordered = sorted(found, key=lambda each: list(titles).index(each.method))
    return h(
        "section",
        h("h2", text("limits.title")),
        h("p", text("limits.lead"), class_="quiet"),
        h("dl", [_limits(text, each, titles[each.method]) for each in ordered]),
        class_="card limits-card",
        aria_label=text("limits.title"),
    )


def _limits(text: Text, found: MemoryLimits, title: str) -> Markup:
    names = [text(f"limits.{name}") for name in ("batch", "seq", "model")]
    return h(
        "div",
        h("dt", title),
        [
            h("dd", h("span", name), h("span", cell), class_="line split")
            for name, cell in zip(names, limit_cells(text, found), strict=True)
        ],
    )


def limit_cells(text: Text, found: MemoryLimits) -> tuple[Any, ...]:
    """Batch, length and model as words; a dash where not even the smallest fits."""
    seq = count_text(found.seq) if found.seq else DASH
    return (
        count_text(found.batch) if found.batch else DASH,
        text("limits.context", tokens=seq) if found.whole_context else seq,
        found.model or DASH,
    )
