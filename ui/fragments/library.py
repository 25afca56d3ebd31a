"""The models on this disk: what takes how much, who made it, who depends on it; and those to download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count

from markupsafe import Markup

from backend.api import LIVE_STATES, Dependent, DiskUse, Holding, ModelInfo, RunSummary
from ui.fragments import message
from ui.fragments.format import bytes_text, parameters_text, percent_text
from ui.fragments.html import h, join
from ui.fragments.icons import icon
from ui.fragments.parts import badge, button, fits_badge, fold, heading, meter, model_field, state_badge
from ui.fragments.text import Text
from ui.fragments.who import model_label

FIRST_FOUND = 8
_numbers = count(1)
_GIB = 2**30
_GROUPS = (("base",), ("adapter", "checkpoint"), ("merge", "export"))


def head(text: Text, disk: DiskUse) -> Markup:
    """What the studio takes of the disk, and a warning where that is too much."""
    taken = disk.home_bytes + disk.hub_bytes
    return join(
        heading(text("library.title"), text("library.lead"), large=True),
        message.card(
            "wait",
            text(f"library.{disk.warning}.title"),
            text(
                f"library.{disk.warning}.line",
                taken_bytes=taken,
                quota_bytes=disk.quota_bytes,
                free_bytes=disk.free_bytes,
            ),
        )
        if disk.warning
        else None,
        h(
            "section",
            h(
                "p",
                h("span", text("library.taken", taken_bytes=taken), class_="strong"),
                h("span", text("library.free", free_bytes=disk.free_bytes), class_="quiet"),
                class_="line split",
            ),
            _bar(text, disk),
            h(
                "p",
                h("span", h("i", class_="part weights"), _named(text("library.hub"), disk.hub_bytes)),
                h("span", h("i", class_="part adapter"), _named(text("library.home"), disk.home_bytes)),
                h("span", h("i", class_="part reserve"), _named(text("library.others"), _others(disk))),
                class_="legend",
            ),
            _quota(text, disk),
            class_="card disk-card",
        ),
    )


def _named(label: str, size: int) -> str:
    return f"{label} {bytes_text(size)}"


def _others(disk: DiskUse) -> int:
    return max(0, disk.total_bytes - disk.free_bytes - disk.home_bytes - disk.hub_bytes)


def _bar(text: Text, disk: DiskUse) -> Markup:
    shares = {"weights": disk.hub_bytes, "adapter": disk.home_bytes, "reserve": _others(disk)}
    return h(
        "div",
        [
            h("span", class_=f"part {part}", style=f"width:{100 * size / disk.total_bytes:.2f}%")
            for part, size in shares.items()
        ],
        class_="stack",
        role="img",
        aria_label=text("library.bar", used=percent_text(1 - disk.free_bytes / disk.total_bytes)),
    )


def _quota(text: Text, disk: DiskUse) -> Markup:
    return h(
        "p",
        h("label", text("library.quota"), for_="quota", class_="quiet"),
        h(
            "input",
            id="quota",
            type="number",
            min="0",
            step="any",
            value=_gigabytes(disk.quota_bytes) if disk.quota_bytes else "",
            placeholder=text("library.quota.none"),
            data_act="quota",
        ),
        h("span", "GB", class_="quiet"),
        class_="line quota",
    )


def _gigabytes(size: int) -> str:
    """As it was typed: without an exponent, to the kilobyte."""
    return f"{size / _GIB:.6f}".rstrip("0").rstrip(".")


def add(text: Text) -> Markup:
    """One field for what is not in the list: a folder is registered, a hub id downloaded.

    The number makes an equal one appear anew, empty and with a button that is free again.
    """
    return h(
        "div",
        model_field(text, "library.add", "library-add"),
        h("p", text("library.add.line"), class_="quiet"),
        class_="field wide",
        data_number=next(_numbers),
    )


def downloads(
    text: Text, jobs: Sequence[RunSummary], errors: Mapping[str, tuple[str, str] | None]
) -> Markup | None:
    """Those under way, and those that were cut off; `errors` are the words of what ended a job."""
    if not jobs:
        return None
    return join(
        h("h2", text("library.downloads"), class_="section"),
        h("ul", [_download(text, job, errors.get(job.run)) for job in jobs], class_="list shelf"),
    )


def _download(text: Text, job: RunSummary, error: tuple[str, str] | None) -> Markup:
    live = job.state in (*LIVE_STATES, "queued")
    title = (job.model or "").removeprefix("hub:")
    return h(
        "li",
        h(
            "div",
            h("p", h("span", title, class_="strong"), state_badge(text, job), class_="line"),
            meter(job.progress, text("library.progress", title=title)) if live else None,
            h("p", " ".join(error), class_="quiet") if error else None,
            class_="grow",
        ),
        h("span", percent_text(job.progress), class_="size") if live else None,
        button(text("library.stop"), "stop", kind="small", data_run=job.run, data_busy="")
        if live
        else join(
            button(text("library.resume"), "resume", kind="small", data_run=job.run, data_busy=""),
            button(text("library.drop"), "drop", kind="quiet small", data_run=job.run, data_busy=""),
        ),
    )


def held(text: Text, holdings: Sequence[Holding], titles: Mapping[str, str]) -> Markup:
    """Everything on the disk in three groups; `titles` of models by name, where they have one."""
    if len(holdings) == 1:
        return join(
            _group(text, "base", holdings, titles),
            message.empty(
                text("library.empty.title"),
                text("library.empty.line"),
                button(text("library.empty.button"), None, kind="primary", data_go="home"),
                symbol="models",
            ),
        )
    groups = [(kinds[0], [item for item in holdings if item.kind in kinds]) for kinds in _GROUPS]
    return join([_group(text, name, items, titles) for name, items in groups if items])


def _group(text: Text, name: str, items: Sequence[Holding], titles: Mapping[str, str]) -> Markup:
    return h(
        "section",
        h("h2", text(f"library.group.{name}"), class_="section"),
        h(
            "ul",
            [
                _row(text, item, titles, [c for c in items if _is_checkpoint_of(c, item)])
                for item in items
                if item.kind != "checkpoint"
            ],
            class_="list shelf",
        ),
    )


def _is_checkpoint_of(item: Holding, run: Holding) -> bool:
    return item.kind == "checkpoint" and item.made_by == run.made_by


def _row(text: Text, item: Holding, titles: Mapping[str, str], checkpoints: Sequence[Holding] = ()) -> Markup:
    title = titles.get(item.name, item.title)
    return h(
        "li",
        h(
            "div",
            h("p", h("span", title, class_="strong"), _state(text, item), class_="line"),
            h("p", _facts(text, item, titles), class_="quiet"),
            h("p", h("code", item.path), class_="quiet path") if item.name.startswith("path:") else None,
            _relations(text, item.dependents),
            fold(
                text("library.checkpoints", count=len(checkpoints)),
                h("ul", [_row(text, c, titles) for c in checkpoints], class_="shelf inner"),
                id=f"checkpoints-{item.title}",
            )
            if checkpoints
            else None,
            class_="grow",
        ),
        h("span", bytes_text(item.size_bytes), class_="size") if item.state != "missing" else None,
        remove(text, item, title),
        data_holding=item.name,
    )


def _state(text: Text, item: Holding) -> Markup | None:
    if item.state != "whole":
        return badge("wait", "wait", text(f"library.state.{item.state}"))
    return badge("live", "play", text("library.in_use", runs=list(item.in_use))) if item.in_use else None


def _facts(text: Text, item: Holding, titles: Mapping[str, str]) -> str:
    origin = item.name.partition(":")[0]
    facts = [text(f"library.from.{origin}") if item.kind == "base" else None]
    if item.made_of:
        facts.append(text("library.made_of", parts=[model_label(text, name) for name in item.made_of]))
    if item.base is not None and item.base not in item.made_of and item.kind != "checkpoint":
        facts.append(
            text("library.over", base=titles.get(item.base, item.base.partition(":")[2] or item.base))
        )
    if item.made_by is not None and item.made_by != item.title and item.kind != "checkpoint":
        facts.append(text("library.made_by", run=item.made_by))
    return " · ".join(fact for fact in facts if fact)


def _relations(text: Text, dependents: Sequence[Dependent]) -> Markup | None:
    sentences = said(text, dependents)
    return h("p", " ".join(sentences), class_="quiet") if sentences else None


def said(text: Text, dependents: Sequence[Dependent]) -> list[str]:
    """A sentence about those that need it, one about those that were made out of it."""
    named = {
        "needs": [d.run for d in dependents if d.needs],
        "made": [d.run for d in dependents if not d.needs],
    }
    return [text(f"library.{key}", runs=runs, count=len(runs)) for key, runs in named.items() if runs]


def remove(text: Text, item: Holding, title: str) -> Markup | None:
    """The button, with what it asks first: what goes, what stays, who loses something."""
    if item.removal is None:
        return None
    return h(
        "button",
        icon("trash" if item.removal == "delete" else "close", 16),
        type="button",
        class_="icon-button",
        disabled=bool(item.in_use or item.needed_by),
        data_act="remove",
        data_name=item.name,
        data_knowing=" ".join(d.run for d in item.dependents),
        aria_label=text(f"library.{item.removal}.label", title=title),
        data_confirm=sure(text, item, title),
        data_yes=text(f"library.{item.removal}.yes"),
        data_keep=text("library.keep"),
    )


def sure(text: Text, item: Holding, title: str) -> str:
    """What a person is told before something goes."""
    if item.removal == "forget":
        parts = [text("library.forget.sure", title=title)]
    else:
        parts = [text("library.delete.sure", title=title, freed_bytes=item.frees_bytes)]
        parts += [text("library.delete.hub" if item.kind == "base" else "library.delete.final")]
        parts += [text("library.delete.run")] if item.kind == "adapter" else []
    parts += [text("library.delete.stays", path=item.stays)] if item.stays else []
    return " ".join([*parts, *said(text, item.dependents)])


def search(text: Text, query: str) -> Markup:
    """The field over the catalogue."""
    return join(
        h("h2", text("library.find"), class_="section"),
        h(
            "input",
            type="text",
            value=query,
            placeholder=text("library.find.placeholder"),
            aria_label=text("library.find.placeholder"),
            data_act="search",
            autocomplete="off",
        ),
    )


def found(text: Text, models: Sequence[ModelInfo], query: str, under_way: Sequence[str | None]) -> Markup:
    """What the search found; `under_way` are names that are being downloaded."""
    if not models:
        return message.card("plain", text("library.found.none", query=query), text("library.found.none.line"))
    first, rest = models[:FIRST_FOUND], models[FIRST_FOUND:]
    return join(
        h("ul", [_found(text, model, model.name in under_way) for model in first], class_="list shelf"),
        fold(
            text("library.found.more", count=len(rest)),
            h("ul", [_found(text, model, model.name in under_way) for model in rest], class_="list shelf"),
            id="library-more",
        )
        if rest
        else None,
    )


def _found(text: Text, model: ModelInfo, under_way: bool) -> Markup:
    size = bytes_text(model.size_bytes)
    facts = [parameters_text(model.parameters), size, model.licence]
    return h(
        "li",
        h(
            "div",
            h(
                "p",
                h("span", model.title, class_="strong"),
                badge("wait", None, text("model.gated")) if model.gated else None,
                fits_badge(text, model.fits, model.with_method),
                class_="line",
            ),
            h("p", model.summary, class_="quiet") if model.summary else None,
            h("p", " · ".join(fact for fact in facts if fact), class_="facts"),
            class_="grow",
        ),
        badge("plain", "done", text("model.on_disk"))
        if model.on_disk
        else badge("live", "wait", text("library.under_way"))
        if under_way
        else button(
            text("library.download"),
            "download",
            kind="small",
            data_name=model.name,
            data_busy="",
            aria_label=text("library.download.label", title=model.title, size=size),
        ),
    )
