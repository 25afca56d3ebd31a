"""Home's first view: what to teach, shown before and after, what runs now, what this machine can do."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from backend.api import LIVE_STATES, HardwareReport, ModelInfo, RunSummary
from ui.fragments.format import bytes_text, duration_text, loss_text, percent_text
from ui.fragments.html import classes, h, join
from ui.fragments.icons import icon
from ui.fragments.model import spread
from ui.fragments.parts import badge, button, heading, meter, sparkline, state_badge
from ui.fragments.run import export_link
from ui.fragments.text import Text
from ui.wizard import GOALS

FITTING_SHOWN = 4


def goal_cards(text: Text, chosen: str | None) -> Markup:
    """Three cards. Each shows one question with the answer before (slate) and after (accent)."""
    return h("div", [_card(text, goal, goal == chosen) for goal in GOALS], class_="cards three")


def _card(text: Text, goal: str, chosen: bool) -> Markup:
    return h(
        "button",
        h("span", icon(goal, 22), class_="card-icon"),
        h("span", text(f"goal.{goal}.title"), class_="card-title"),
        h("span", text(f"goal.{goal}.line"), class_="card-line"),
        h(
            "span",
            h("span", text(f"goal.{goal}.question"), class_="mini ask"),
            h("span", text(f"goal.{goal}.before"), class_="mini base"),
            h("span", text(f"goal.{goal}.after"), class_="mini tuned"),
            class_="card-show",
        ),
        class_=classes("card pick goal", chosen and "chosen"),
        type="button",
        data_act="goal",
        data_goal=goal,
        aria_pressed="true" if chosen else "false",
    )


def machine_line(text: Text, report: HardwareReport, models: Sequence[ModelInfo]) -> Markup:
    """The machine in one line, and which models fit it."""
    usable = [d for d in report.devices if d.usable]
    gpu = ", ".join(f"{d.name} ({bytes_text(d.total_bytes)})" for d in usable) or text("machine.no_gpu")
    fitting = [m for m in models if m.fits == "yes"]
    more = len(fitting) - FITTING_SHOWN
    shown = ", ".join(m.title for m in spread(fitting, FITTING_SHOWN))
    return h(
        "div",
        h("span", icon("chip"), class_="tone"),
        h(
            "p",
            h("strong", text("machine.yours")),
            " ",
            text("machine.line", cores=report.cpu_cores, memory=bytes_text(report.ram_total_bytes), gpu=gpu),
        ),
        h("p", text("machine.fits", models=shown), f" +{more}" if more > 0 else None, class_="quiet")
        if fitting
        else None,
        class_="machine",
    )


def now_and_last(text: Text, runs: Sequence[RunSummary], curves: dict[str, Sequence[float | None]]) -> Markup:
    """What runs now and what was finished last, each with the way to it."""
    live = next((r for r in runs if r.state in LIVE_STATES), None)
    last = next((r for r in runs if r.adapter and r.state not in LIVE_STATES), None)
    cards = [_run_card(text, r, curves.get(r.run, ())) for r in (live, last) if r]
    return h("div", cards, class_="cards two") if cards else Markup("")


def _run_card(text: Text, run: RunSummary, curve: Sequence[float | None]) -> Markup:
    live = run.state in LIVE_STATES
    share = run.progress if run.progress is not None else _share(run)
    line = (
        text("home.left", time=duration_text(run.seconds_left))
        if live and run.seconds_left is not None
        else None
    )
    return h(
        "div",
        h(
            "div",
            h("span", run.run, class_="strong"),
            state_badge(text, run),
            h("span", class_="grow"),
            sparkline(curve),
            class_="line",
        ),
        meter(share, text("run.progress")) if live else None,
        h(
            "div",
            h("span", text("home.loss", loss=loss_text(run.loss)), class_="quiet"),
            h("span", percent_text(share), class_="quiet") if live else None,
            h("span", line, class_="quiet") if line else None,
            badge("plain", None, run.method or ""),
            h("span", class_="grow"),
            button(
                text("home.chat"),
                None,
                kind="small",
                data_go="playground",
                data_address=f"tab=playground&run={run.run}",
            )
            if run.adapter
            else None,
            export_link(text, run, "small") if not live else None,
            button(
                text("home.open"), None, kind="small", data_go="runs", data_address=f"tab=runs&run={run.run}"
            ),
            class_="line",
        ),
        class_="card run-card",
    )


def _share(run: RunSummary) -> float | None:
    return run.steps / run.steps_planned if run.steps_planned else None


def view(
    text: Text,
    goal: str | None,
    report: HardwareReport,
    models: Sequence[ModelInfo],
    runs: Sequence[RunSummary],
    curves: dict[str, Sequence[float | None]],
) -> Markup:
    """The whole of step 1, which is Home."""
    title = text("home.again") if runs else text("home.first")
    return join(
        heading(text("home.title"), text("home.lead"), large=True),
        now_and_last(text, runs, curves),
        h("h2", title, class_="section"),
        goal_cards(text, goal),
        machine_line(text, report, models),
    )
