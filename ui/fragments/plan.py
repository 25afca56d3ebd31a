"""A plan in plain words: beside the wizard, on the expert's form and with a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from markupsafe import Markup

from backend.api import Draft, ModelInfo, Reason
from ui.fragments import memory
from ui.fragments.format import DASH, count_text, duration_text, setting_text
from ui.fragments.html import h, join
from ui.fragments.parts import data_table
from ui.fragments.text import Text
from ui.words import Words


@dataclass(frozen=True)
class Sketch:
    """As much of a plan as is known yet. `goal` is None on the expert's form, which asks for none."""

    goal: str | None = None
    model: ModelInfo | None = None
    dataset: str | None = None
    method: str | None = None  # its title
    draft: Draft | None = None


def dataset_title(dataset: str | None) -> str:
    """A sample's name, or the file's."""
    return PurePath(dataset).name if dataset else ""


def aside(text: Text, sketch: Sketch) -> Markup:
    """ "Your plan so far": what is open says so, so that the panel keeps its height.
    The expert's form has a card of its own for memory."""
    draft = sketch.draft
    lines = [
        *([(text("plan.goal"), text(f"goal.{sketch.goal}.title"))] if sketch.goal else []),
        (text("plan.model"), sketch.model.title if sketch.model else None),
        (text("plan.rows"), _rows(text, sketch)),
        (text("plan.method"), sketch.method if draft else None),
        (text("plan.length"), _length(text, draft)),
        (text("plan.time"), _time(text, draft)),
    ]
    return h(
        "div",
        h("h2", text("plan.title")),
        h(
            "dl",
            [
                h("div", h("dt", name), h("dd", value or text("plan.open"), class_=None if value else "open"))
                for name, value in lines
            ],
            class_="plan",
        ),
        memory.summary(text, draft) if sketch.goal or not (draft and draft.memory) else None,
        class_="card plan-card",
    )


def _rows(text: Text, sketch: Sketch) -> str | None:
    if not sketch.dataset:
        return None
    name = dataset_title(sketch.dataset)
    if not sketch.draft or sketch.draft.rows is None:
        return name
    return text("plan.rows.value", rows=count_text(sketch.draft.rows), name=name)


def _length(text: Text, draft: Draft | None) -> str | None:
    return text("plan.steps", steps=count_text(draft.steps)) if draft and draft.steps else None


def _time(text: Text, draft: Draft | None) -> str | None:
    if draft is None:
        return None
    if draft.seconds is None:
        return text("plan.time.unknown")
    return text("plan.time.value", time=duration_text(draft.seconds))


def problem_list(words: Words, draft: Draft) -> Markup | None:
    """Everything that keeps the plan from starting, together."""
    if not draft.problems:
        return None
    told = [words.problem(p) for p in draft.problems]
    return h(
        "ul",
        [h("li", h("strong", cause), " ", remedy) for cause, remedy in told],
        class_="problems",
        role="alert",
    )


def command(text: Text, line: str) -> Markup:
    """The same plan as a command line, to copy."""
    return h(
        "div",
        h(
            "div",
            h("span", text("plan.command"), class_="label"),
            h("button", text("screen.copy"), type="button", class_="link", data_copy="plan-command"),
            class_="line split",
        ),
        h("pre", h("code", line, id="plan-command")),
        class_="command",
    )


def settings_table(words: Words, plan: Mapping[str, Any], reasons: Mapping[str, Reason]) -> Markup:
    """Every setting of a saved plan, with the reason where the studio chose it."""
    rows = []
    for space in ("settings", "method_params", "objective_params", "optimizer_params"):
        for key, value in plan.get(space, {}).items():
            reason = reasons.get(key)
            why = words.reason(reason) if reason else ""
            name = Markup("_<wbr>").join(key.split("_"))  # a narrow table breaks it there and nowhere else
            rows.append((h("code", name), setting_text(value) or DASH, why))
    text = words.text
    head = [text("plan.setting"), text("plan.value"), text("plan.reason")]
    return data_table(text("plan.table"), head, rows)


def summary_line(text: Text, plan: Mapping[str, Any]) -> Markup:
    return join(
        text(
            "plan.sentence",
            model=plan["model"],
            dataset=dataset_title(plan["dataset"]),
            method=plan["method"],
        )
    )
