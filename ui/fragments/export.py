"""Exports: what leaves the studio in which format, how far it is, and whether it still answers as it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from backend.api import LIVE_STATES, ExportRoom, Product, RunDetail
from backend.api.chat import ChatModel
from ui.exporting import Exporting
from ui.fragments import library, message
from ui.fragments.format import DASH, bytes_text
from ui.fragments.html import classes, h, join
from ui.fragments.icons import icon
from ui.fragments.parts import badge, button, data_table, fold, meter, numbers, state_badge
from ui.fragments.text import Text
from ui.fragments.who import grouped, model_label

Refused = tuple[str, str]  # cause and remedy
_EXPLAINED = (
    "README.md",
    "recipe.py",
    "recipe.sh",
    "Modelfile",
    "side_network.py",
    "expand_adapter.py",
    "manifest.json",
)


def form(
    text: Text,
    state: Exporting,
    models: Sequence[ChatModel],
    formats: Sequence[Mapping[str, Any]],
    rooms: Mapping[str, ExportRoom | Refused],
    settings: Markup | None,
) -> Markup:
    """What, in which format, with which settings. `rooms`: by format what it takes, or why it can't be."""
    room = rooms[state.format]
    return h(
        "div",
        h("h2", text("exporting.what")),
        _models(text, state.model, models),
        h(
            "div",
            [_format(text, format, rooms[format["id"]], state.format) for format in formats],
            class_="list export-formats",
            role="group",
            aria_label=text("exporting.format"),
        ),
        h("p", text("exporting.beside"), class_="quiet")
        if any(isinstance(r, tuple) for r in rooms.values())
        else None,
        settings,
        None if isinstance(room, tuple) else _room(text, room),
        class_="export-form",
    )


def _models(text: Text, chosen: str, models: Sequence[ChatModel]) -> Markup:
    """Runs and merges first: what was learned here is what mostly leaves."""
    groups = sorted(grouped(text, models), key=lambda group: group[0] == text("chat.who.bases"))
    shown = [
        h("optgroup", [h("option", t, value=n, selected=n == chosen) for n, t in options], label=group)
        for group, options in groups
    ]
    return h(
        "label",
        h("span", text("exporting.model")),
        h("span", h("select", shown, data_act="model"), class_="select"),
        class_="field",
    )


def _format(text: Text, format: Mapping[str, Any], room: ExportRoom | Refused, chosen: str) -> Markup:
    refused = isinstance(room, tuple)
    mine = format["id"] == chosen and not refused
    size = None if isinstance(room, tuple) else room.needed_bytes
    return h(
        "button",
        h("span", class_="radio"),
        h(
            "span",
            h("span", format["title"], class_="strong"),
            h("span", room[0] if isinstance(room, tuple) else format["summary"], class_="quiet block"),
            class_="grow",
        ),
        h("span", text("exporting.about", needed_bytes=size), class_="facts row-end") if size else None,
        type="button",
        data_act="format",
        data_format=format["id"],
        disabled=refused,
        aria_pressed="true" if mine else "false",
        class_=classes("row pick", mine and "chosen"),
    )


def _room(text: Text, room: ExportRoom) -> Markup:
    if room.needed_bytes is None:
        return h("p", text("exporting.room.unknown", free_bytes=room.free_bytes), class_="quiet")
    facts = {"needed_bytes": room.needed_bytes, "free_bytes": room.free_bytes}
    if room.needed_bytes > room.free_bytes:
        return message.card("wait", text("exporting.full", **facts), text("exporting.full.line"))
    return h("p", text("exporting.room", free_bytes=room.free_bytes), class_="quiet")


def send(text: Text, state: Exporting) -> Markup:
    """Whether it is uploaded, and the button. Drawn once: what is being typed stays."""
    return h(
        "div",
        fold(
            text("exporting.upload"),
            h(
                "label",
                h("span", text("exporting.repo")),
                h(
                    "input",
                    type="text",
                    value=state.upload,
                    placeholder=text("exporting.repo.placeholder"),
                    data_upload=True,
                    autocomplete="off",
                    spellcheck="false",
                ),
                class_="field",
            ),
            h(
                "label",
                h("input", type="checkbox", checked=state.public, data_public=True),
                h("span", text("exporting.public")),
                class_="switch",
            ),
            h("p", text("exporting.upload.help"), class_="quiet"),
            open_=bool(state.upload),
        ),
        button(text("exporting.start"), "export", kind="primary wide", symbol="download", data_busy=""),
        class_="export-send",
    )


def jobs(
    text: Text, shown: Markup | None, others: Sequence[tuple[RunDetail, Product]], more: int = 0
) -> Markup:
    """One export, below it a line for each of the others, and a button for `more` that are older."""
    if shown is None:
        return h("p", text("exporting.none"), class_="quiet export-none")
    rows = [_row(text, *other) for other in others]
    return join(
        shown,
        h("h2", text("exporting.others"), class_="section") if rows else None,
        h("ul", rows, class_="list shelf") if rows else None,
        button(text("exporting.more", count=more), "more", kind="quiet") if more else None,
    )


def _row(text: Text, detail: RunDetail, product: Product) -> Markup:
    parity = product.facts.get("parity")
    return h(
        "li",
        h(
            "div",
            h(
                "p",
                h("span", _title(text, detail), class_="strong"),
                h("span", detail.summary.run, class_="quiet"),
                class_="line",
            ),
            h("p", _parity_badge(text, parity) if parity else state_badge(text, detail.summary)),
            class_="grow",
        ),
        h("span", bytes_text(product.facts.get("size_bytes")), class_="size") if parity else None,
        button(text("exporting.look"), "look", kind="small", data_run=detail.summary.run),
        _remove(text, detail),
    )


def _remove(text: Text, detail: RunDetail) -> Markup | None:
    """As on the Models tab; None while there is nothing to remove."""
    if detail.holding is None:
        return None
    title = text("exporting.one", job=_title(text, detail), run=detail.summary.run)
    return library.remove(text, detail.holding, title)


def _title(text: Text, detail: RunDetail) -> str:
    plan = detail.plan
    return text(
        "exporting.job",
        name=model_label(text, plan["asked"]),
        format=text(f"exporting.as.{plan['format']}"),
    )


def job(
    text: Text,
    detail: RunDetail,
    product: Product,
    error: Refused | None,
    upload_error: Refused | None,
) -> Markup:
    """An export: how far it is, why it ended, or what came of it."""
    run = detail.summary
    live = run.state in LIVE_STATES or run.state == "queued"
    doing = text(f"phase.{run.phase}") if run.phase and live else None
    return h(
        "div",
        h(
            "div",
            h("h2", _title(text, detail)),
            h("span", run.run, class_="quiet"),
            state_badge(text, run) if run.state != "done" else None,
            h("span", class_="grow"),
            _moves(text, run.run, run.state, live),
            _remove(text, detail),
            class_="line",
        ),
        meter(run.progress, doing or run.run) if live else None,
        h("p", doing, class_="quiet") if doing else None,
        message.card("bad", *error) if error else None,
        h("p", text("exporting.stopped"), class_="quiet") if run.state == "stopped" else None,
        done(text, product, upload_error) if run.state == "done" else None,
        class_="card mix-job",
    )


def _moves(text: Text, run: str, state: str, live: bool) -> Markup:
    if live:
        return button(text("run.stop"), "stop", kind="small", symbol="stop", data_run=run, data_busy="")
    if state == "done":
        return h(
            "a",
            icon("download", 18),
            h("span", text("exporting.download")),
            href=f"studio/export/{quote(run)}",
            download=True,
            class_="button",
        )
    return h(
        "span",
        button(text("exporting.again"), "resume", kind="small", symbol="again", data_run=run, data_busy=""),
        button(text("exporting.drop"), "drop", kind="quiet small", data_run=run, data_busy=""),
        class_="line",
    )


def done(text: Text, product: Product, upload_error: Refused | None) -> Markup:
    """What came of it: the comparison first, then where it is and what is in it."""
    facts, parity = product.facts, product.facts["parity"]
    passed = "true" if parity["passed"] else "false"
    return join(
        h("p", _parity_badge(text, parity), class_="line"),
        h("p", text(f"exporting.parity.{passed}.line")),
        h("p", text("exporting.greeting"), class_="quiet") if facts.get("rows_of") == [] else None,
        numbers(
            [
                (
                    text("exporting.off"),
                    _short(parity["max_difference"]),
                    text("exporting.off.allowed", bound=_short(parity["bound"])),
                ),
                (
                    text("exporting.same"),
                    text("exporting.same.of", same=parity["same_answers"], prompts=parity["prompts"]),
                    text("exporting.same.line"),
                ),
                (
                    text("exporting.size"),
                    bytes_text(facts["size_bytes"]),
                    text("exporting.files", files=len(product.files)),
                ),
            ]
        ),
        _uploaded(text, facts, upload_error),
        h("p", text("exporting.folder"), " ", h("code", product.path), class_="quiet path"),
        fold(text("exporting.inside"), _inside(text, product)),
    )


def _parity_badge(text: Text, parity: Mapping[str, Any]) -> Markup:
    if parity["passed"]:
        return badge("good", "done", text("exporting.parity.true"))
    return badge("bad", "bad", text("exporting.parity.false"))


def _short(value: float | None) -> str:
    """Two digits that count, never with a power of ten: a rounding error can be 0.00001. A dash for what is
    no number: scores of a model that overflowed."""
    return DASH if value is None else f"{Decimal(f'{value:.2g}'):f}"


def _uploaded(text: Text, facts: Mapping[str, Any], error: Refused | None) -> Markup | None:
    if error is not None:
        return message.card("wait", text("exporting.not_uploaded"), *error)
    page = facts.get("uploaded")
    if page is None:
        return None
    link = h("a", page, href=page, target="_blank", rel="noopener noreferrer")
    return h("p", text("exporting.uploaded"), " ", link, class_="path")


def _inside(text: Text, product: Product) -> Markup:
    """Every file with a link to it alone, and what it is where its name does not say it."""
    rows = [
        (
            h("a", file, href=f"studio/export/{quote(product.run)}/{quote(file)}", download=True),
            text(f"exporting.file.{file}") if file in _EXPLAINED else _kind(text, file),
            bytes_text(product.facts.get("file_bytes", {}).get(file)).replace(" ", "\N{NO-BREAK SPACE}"),
        )
        for file in product.files
    ]
    head = [text("exporting.inside.file"), text("exporting.inside.what"), text("exporting.size")]
    return data_table(text("exporting.inside"), head, rows)


def _kind(text: Text, file: str) -> str:
    return text("exporting.file.weights") if file.endswith((".safetensors", ".gguf")) else ""
