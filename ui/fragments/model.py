"""Step 2: which model to start from, with size, licence and whether this machine can tune it."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from backend.api import ModelInfo
from ui.fragments import message
from ui.fragments.format import bytes_text, count_text, parameters_text
from ui.fragments.html import classes, h, join
from ui.fragments.parts import badge, fits_badge, fold, heading, model_field
from ui.fragments.text import Text

SHORT_LIST = 8


def view(text: Text, models: Sequence[ModelInfo], chosen: ModelInfo | None) -> Markup:
    """The short list, the others folded away, the person's own folder or hub id, and what the choice means.

    A choice from among the others, or of the person's own, stands in the short list as long as it is chosen.
    """
    name = chosen.name if chosen else None
    short = short_list(models)
    first = [m for m in models if m in short or m.name == name]
    own = chosen is not None and all(m.name != name for m in first)
    rest = [m for m in models if m not in first]
    return join(
        heading(text("model.title"), text("model.lead")),
        _rows(text, text("model.title"), [*first, chosen] if own and chosen else first, name),
        meaning(text, chosen),
        fold(text("model.more", count=len(rest)), _rows(text, text("model.others"), rest, name))
        if rest
        else None,
        own_model(text, chosen.name if own and chosen else ""),
        h("p", text("model.rough"), class_="quiet"),
    )


def short_list(models: Sequence[ModelInfo], count: int = SHORT_LIST) -> list[ModelInfo]:
    """Those to show first, in the order given: what is on this machine, then models that fit it.

    Of those that fit, the ones that need no login go before the others, and as many as there is room for are
    taken at even distances from the smallest to the largest, so that quick ones and strong ones are there.
    """
    if len(models) <= count:
        return list(models)
    picked = [m for m in models if m.on_disk]
    for fits, gated in (("yes", False), ("yes", True), ("tight", False), (None, False)):
        kin = [m for m in models if m.fits == fits and m.gated == gated and not m.on_disk]
        picked += spread(kin, count - len(picked))
    return [m for m in models if m in picked]


def spread(models: Sequence[ModelInfo], count: int) -> Sequence[ModelInfo]:
    """At most `count` of them, at even distances, the first and (from two on) the last among them."""
    if len(models) <= count:
        return models
    if count < 2:
        return models[: max(count, 0)]
    return [models[round(i * (len(models) - 1) / (count - 1))] for i in range(count)]


def _rows(text: Text, label: str, models: Sequence[ModelInfo], chosen: str | None) -> Markup:
    return h(
        "div",
        [row(text, m, m.name == chosen) for m in models],
        class_="list",
        role="group",
        aria_label=label,
    )


def row(text: Text, model: ModelInfo, chosen: bool) -> Markup:
    facts = [
        parameters_text(model.parameters) if model.parameters else None,
        bytes_text(model.size_bytes) if model.size_bytes else None,
        text("model.context", tokens=count_text(model.context)) if model.context else None,
        model.licence,
    ]
    return h(
        "button",
        h("span", class_="radio"),
        h(
            "span",
            h("span", model.title, class_="strong"),
            badge("plain", "done", text("model.on_disk")) if model.on_disk else None,
            badge("wait", None, text("model.gated")) if model.gated else None,
            h("span", model.summary, class_="quiet block") if model.summary else None,
            h("span", " · ".join(f for f in facts if f), class_="facts"),
            class_="grow",
        ),
        h(
            "span",
            fits_badge(text, model.fits, model.with_method),
            h("span", text("model.needs", size=bytes_text(model.needed_bytes)), class_="quiet block")
            if model.needed_bytes
            else None,
            class_="row-end",
        ),
        class_=classes("row pick", chosen and "chosen"),
        type="button",
        data_act="model",
        data_name=model.name,
        aria_pressed="true" if chosen else "false",
    )


def meaning(text: Text, chosen: ModelInfo | None) -> Markup | None:
    """What a person should know before they go on with this choice."""
    if chosen is None:
        return None
    if chosen.gated:
        page = f"huggingface.co/{chosen.name.removeprefix('hub:')}"
        return message.card("wait", text("model.gated.title"), text("model.gated.line", page=page))
    if chosen.fits == "no":
        return message.card("bad", text("model.no.title"), text("model.no.line"))
    if not chosen.on_disk and chosen.name.startswith("hub:"):
        size = bytes_text(chosen.size_bytes)
        return message.card("plain", text("model.download.title"), text("model.download.line", size=size))
    return None


def own_model(text: Text, value: str) -> Markup:
    return h(
        "div",
        model_field(text, "model.own", "own-model", value),
        class_="field wide",
    )
