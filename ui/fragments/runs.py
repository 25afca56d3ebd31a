"""The list of runs, and several runs over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from backend.api import LIVE_STATES, RunSummary
from ui.fragments import message, plan
from ui.fragments.format import DASH, loss_text, setting_text
from ui.fragments.html import classes, h, join
from ui.fragments.parts import button, data_table, meter, sparkline, state_badge
from ui.fragments.run import share_done
from ui.fragments.text import Text
from ui.look import tokens
from ui.selection import Selection


def listing(
    text: Text, runs: Sequence[RunSummary], selection: Selection, curves: Mapping[str, Sequence[float | None]]
) -> Markup:
    """One row per run, newest first; the box before it lays its curve over the others."""
    return join(
        h("h1", text("tab.runs"), class_="list-title"),
        h("p", text("runs.compare.line"), class_="quiet") if len(runs) > 1 else None,
        h("ul", [_row(text, r, selection, curves.get(r.run, ())) for r in runs], class_="run-list"),
    )


def _row(text: Text, run: RunSummary, selection: Selection, curve: Sequence[float | None]) -> Markup:
    over = run.run in selection.compared
    open_ = run.run == selection.run and not selection.comparing
    colour = tokens.SERIES[selection.compared.index(run.run) % len(tokens.SERIES)] if over else None
    best = run.best_eval_loss if run.best_eval_loss is not None else run.loss
    return h(
        "li",
        h(
            "input",
            type="checkbox",
            checked=over,
            data_act="compare",
            data_run=run.run,
            aria_label=text("runs.compare.label", run=run.run),
            style=f"--key:{colour}" if colour else None,
        ),
        h(
            "button",
            h(
                "span",
                h("span", run.run, class_="strong"),
                state_badge(text, run),
                class_="line",
            ),
            h(
                "span",
                h("span", " · ".join(x for x in (run.model, run.method) if x), class_="quiet"),
                h("span", class_="grow"),
                sparkline(curve, width=72, height=20),
                h("span", loss_text(best), class_="best", title=text("runs.best")),
                class_="line",
            ),
            meter(share_done(run), text("run.progress")) if run.state in LIVE_STATES else None,
            type="button",
            data_act="open",
            data_run=run.run,
            aria_current="true" if open_ else None,
        ),
        class_=classes("run-row", open_ and "chosen"),
    )


def empty(text: Text) -> Markup:
    return message.empty(
        text("runs.empty.title"),
        text("runs.empty.line"),
        button(text("runs.empty.button"), None, kind="primary", data_go="home"),
    )


def compared(
    text: Text, plans: Mapping[str, Mapping[str, Any]], rows: Sequence[tuple[str, Sequence[Any]]]
) -> Markup:
    """Only the settings that differ."""
    if not rows:
        return message.card("plain", text("runs.same.title"), text("runs.same.line"))
    shown = [
        (
            h("code", key),
            *[plan.dataset_title(v) if key == "dataset" else setting_text(v) or DASH for v in values],
        )
        for key, values in rows
    ]
    return join(
        h("h2", text("runs.differ"), class_="section"),
        data_table(text("runs.differ"), [text("plan.setting"), *plans], shown),
    )


def smoothing(text: Text, value: float) -> Markup:
    """The slider over the loss chart."""
    percent = f"{100 * value:.0f}"
    return h(
        "div",
        h("h2", text("runs.loss")),
        h("span", class_="grow"),
        h("label", text("runs.smoothing"), for_="smoothing", class_="quiet"),
        h(
            "input",
            type="range",
            id="smoothing",
            min="0",
            max="99",
            value=percent,
            data_act="smooth",
            data_shows="smoothing-shown",
        ),
        h("output", percent, id="smoothing-shown", class_="quiet"),
        class_="line chart-head",
    )


def chart_title(text: Text, name: str) -> Markup:
    return h(
        "h3",
        text(f"metric.{name}"),
        h("span", text(f"metric.{name}.unit"), class_="quiet"),
        class_="chart-title",
    )


def over_head(text: Text, selection: Selection) -> Markup:
    """Above several runs: which colour is which run."""
    return h(
        "div",
        h("h2", text("runs.over", count=len(selection.compared))),
        [
            h("span", h("i", style=f"background:{tokens.SERIES[i % len(tokens.SERIES)]}"), run, class_="key")
            for i, run in enumerate(selection.compared)
        ],
        class_="line over-head",
    )
