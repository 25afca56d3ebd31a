"""Step 4: how it will be trained. The defaults with their reasons; the expert's knobs folded away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from backend.api import Draft
from ui.forms import Field, grid
from ui.fragments import memory, plan
from ui.fragments.format import bytes_text
from ui.fragments.html import classes, h, join
from ui.fragments.parts import badge, fits_badge, fold, heading
from ui.words import Words


def view(
    words: Words, draft: Draft, shown: Sequence[Field], methods: Sequence[Mapping[str, Any]], chosen: str
) -> Markup:
    """The methods with what each would need, how to make the chosen one fit, then its settings."""
    text = words.text
    main = [f for f in shown if not f.expert]
    expert = [f for f in shown if f.expert]
    changed = any(f.given not in (None, "") or f.problem for f in expert)
    return join(
        heading(text("how.title"), text("how.lead.no" if memory.too_big(draft) else "how.lead")),
        plan.problem_list(words, draft),
        method_cards(words, methods, chosen, draft),
        memory.make_fit(words, draft),
        grid(text, main),
        fold(text("how.expert", count=len(expert)), grid(text, expert), open_=changed),
        fold(text("how.command"), plan.command(text, draft.command)),
    )


def method_cards(words: Words, methods: Sequence[Mapping[str, Any]], chosen: str, draft: Draft) -> Markup:
    """One row per method: what it does, what it costs, when to take it, whether it fits here, or why it
    can't run."""
    text = words.text
    return h(
        "div",
        [_method_row(words, method, method["id"] == chosen, draft) for method in methods],
        memory.legend(text, list(draft.method_needs.values())) if draft.method_needs else None,
        class_="list methods",
        role="group",
        aria_label=text("train.method.label"),
    )


def _method_row(words: Words, method: Mapping[str, Any], chosen: bool, draft: Draft) -> Markup:
    text, unable = words.text, draft.unable.get(method["id"])
    need = draft.method_needs.get(method["id"])
    scale = memory.scale_of(draft, list(draft.method_needs.values()))
    return h(
        "button",
        h("span", class_="radio"),
        h(
            "span",
            h("span", method["title"], class_="strong"),
            h("span", method["summary"], class_="quiet block"),
            h("span", " ".join(words.error(unable)), class_="problem block") if unable else None,
            memory.bar(text, need, draft.free_bytes, scale) if need else None,
            memory.epoch_line(text, draft, method["id"]),
            class_="grow",
        ),
        h(
            "span",
            badge("bad", "bad", text("how.unable"))
            if unable
            else fits_badge(text, need.fits if need else None),
            h("span", text("model.needs", size=bytes_text(need.needed_bytes)), class_="quiet block")
            if need
            else None,
            class_="row-end",
        )
        if need or unable
        else None,
        class_=classes("row pick", chosen and "chosen"),
        type="button",
        data_act="method",
        data_name=method["id"],
        aria_pressed="true" if chosen else "false",
    )
