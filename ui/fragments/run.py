"""One run: its headline, its numbers, what can be done with it, and the tables behind its charts."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from backend.api import LIVE_STATES, Dependent, RunDetail, RunSummary, Series
from ui.fragments import epoch, library, measured, message, plan
from ui.fragments.format import (
    DASH,
    bytes_text,
    count_text,
    duration_text,
    loss_text,
    percent_text,
)
from ui.fragments.html import h, join
from ui.fragments.parts import button, data_table, fold, meter, numbers, state_badge
from ui.fragments.text import Text
from ui.fragments.who import model_label
from ui.words import Words

TABLE_ROWS = 40
_ACTIONS = {
    "queued": ("stop",),
    "running": ("pause", "stop"),
    "paused": ("resume", "stop"),
    "stopping": (),
    "done": ("delete",),
    "stopped": ("resume", "delete"),
    "failed": ("resume", "delete"),
    "interrupted": ("resume", "delete"),
}
_SYMBOLS = {"pause": "pause", "resume": "play", "stop": "stop", "delete": "trash"}


def share_done(run: RunSummary) -> float | None:
    """How much of the run (or of the phase, while it has no step yet) is done, 0..1; None if unknown."""
    if run.steps and run.steps_planned:
        return run.steps / run.steps_planned
    return run.progress if run.progress is not None else (0.0 if run.state not in LIVE_STATES else None)


def actions(text: Text, run: RunSummary, dependents: Sequence[Dependent]) -> Markup:
    """The moves that this state allows; stopping and deleting ask first, deleting with the names of its
    `dependents`. Where one of them needs it there is nothing to ask: the studio refuses and says why."""
    asks = {"stop", *(() if any(d.needs for d in dependents) else ("delete",))}
    losses = {"stop": [], "delete": library.said(text, dependents)}
    return h(
        "div",
        [
            button(
                text(f"run.{name}"),
                name,
                kind="quiet" if name == "delete" else "",
                symbol=_SYMBOLS[name],
                data_run=run.run,
                data_busy="",
                data_knowing=" ".join(d.run for d in dependents) if name == "delete" else None,
                data_confirm=" ".join([text(f"run.{name}.ask", run=run.run), *losses[name]])
                if name in asks
                else None,
                data_yes=text(f"run.{name}.yes") if name in asks else None,
                data_keep=text(f"run.{name}.keep") if name in asks else None,
            )
            for name in _ACTIONS[run.state]
        ],
        export_link(text, run),
        class_="line actions",
    )


def export_link(text: Text, run: RunSummary, kind: str = "") -> Markup | None:
    """The way out of the studio for what it learned; None while there is nothing."""
    if run.adapter is None:
        return None
    address = f"tab=merge&export=run:{run.run}"
    return button(
        text("run.export"), None, kind=kind, symbol="download", data_go="merge", data_address=address
    )


def headline(text: Text, run: RunSummary, dependents: Sequence[Dependent]) -> Markup:
    """State, what it is doing, how far it is."""
    doing = text(f"phase.{run.phase}") if run.phase and run.state in LIVE_STATES else None
    share = share_done(run)
    return h(
        "div",
        h(
            "div",
            h("h2", run.run),
            state_badge(text, run),
            h("span", doing, class_="quiet") if doing else None,
            h("span", class_="grow"),
            actions(text, run, dependents),
            class_="line",
        ),
        meter(share, text("run.progress"), tone="accent" if run.state in LIVE_STATES else "plain"),
        class_="headline",
    )


def figures(text: Text, run: RunSummary) -> Markup:
    """Step, loss, held-out loss, speed, time left, memory."""
    planned = text("run.of", planned=count_text(run.steps_planned)) if run.steps_planned else None
    best = text("run.best", loss=loss_text(run.best_eval_loss)) if run.best_eval_loss is not None else None
    took = run.ended - run.started if run.ended and run.started else None
    live = run.state in LIVE_STATES
    return numbers(
        [
            (text("run.step"), count_text(run.steps), planned),
            (text("run.loss"), loss_text(run.loss), percent_text(share_done(run)) if live else None),
            (text("run.eval_loss"), loss_text(run.eval_loss), best),
            (text("run.speed"), count_text(run.tokens_per_second), text("run.speed.unit")),
            (
                text("run.left") if live else text("run.took"),
                duration_text(run.seconds_left if live else took),
                text("run.attempt", attempt=run.attempt) if run.attempt > 1 else None,
            ),
            (text("run.memory"), bytes_text(run.peak_memory_bytes), text("run.memory.unit")),
        ]
    )


def outcome(text: Text, run: RunSummary, error: tuple[str, str] | None) -> Markup | None:
    """What a state means for the person: what happened, what was kept, what to do."""
    if run.state == "failed":
        cause, remedy = error or (text("run.failed.message"), text("run.failed.remedy"))
        return message.card("bad", cause, remedy, text("run.kept"))
    if run.state in ("interrupted", "queued", "paused", "stopping"):
        tone = "bad" if run.state == "interrupted" else "wait"
        return message.card(tone, text(f"run.{run.state}.message"), text(f"run.{run.state}.remedy"))
    return None


def log_pane(text: Text, log: str) -> Markup:
    return h("pre", log or text("run.log.empty"), class_="log", tabindex="0", aria_label=text("run.log"))


def details(words: Words, detail: RunDetail, log: str, series: Sequence[Series]) -> Markup:
    """Plan, log and numbers, one at a time; switching is the page's own doing."""
    text, names = words.text, ("plan", "log", "numbers")
    return h(
        "div",
        h(
            "div",
            [
                h(
                    "button",
                    text(f"run.pane.{n}"),
                    type="button",
                    role="tab",
                    data_pane=n,
                    aria_selected="true" if n == names[0] else "false",
                )
                for n in names
            ],
            class_="segments",
            role="tablist",
        ),
        h(
            "div",
            h("p", plan.summary_line(text, detail.plan), class_="quiet"),
            plan.settings_table(words, detail.plan, detail.reasons),
            where(text, detail),
            class_="pane pane-plan",
        ),
        h("div", log_pane(text, log), class_="pane pane-log"),
        h("div", chart_table(text, series), class_="pane pane-numbers"),
        data_panes=names[0],
    )


def where(text: Text, detail: RunDetail) -> Markup:
    """Folder, checkpoints, and the hashes that say what was trained on what."""
    base = [model_label(text, str(detail.plan["model"]))]
    if detail.base_of:
        base.append(text("library.made_of", parts=[model_label(text, name) for name in detail.base_of]))
    rows = [
        (text("run.base"), " · ".join(base)),
        (text("run.folder"), h("code", detail.folder)),
        (text("run.checkpoints"), ", ".join(count_text(c) for c in detail.checkpoints) or DASH),
        (text("run.best_step"), count_text(detail.best_step)),
        *[(text(f"run.hash.{name}"), h("code", value[:16])) for name, value in detail.hashes.items()],
    ]
    return fold(
        text("run.where"), data_table(text("run.where"), [text("run.what"), text("plan.value")], rows)
    )


def chart_table(text: Text, series: Sequence[Series]) -> Markup:
    """The points of the charts as a table, thinned to what a person can read."""
    by_name = {s.name: dict(zip(s.steps, s.values, strict=True)) for s in series}
    steps = sorted({step for points in by_name.values() for step in points})
    if not steps:
        return h("p", text("run.numbers.empty"), class_="quiet")
    every = max(1, len(steps) // TABLE_ROWS)
    evaluated = set(by_name.get("eval_loss", {}))
    shown = [s for i, s in enumerate(steps) if i % every == 0 or s in evaluated or s == steps[-1]]
    head = [text("run.step"), *[text(f"metric.{name}") for name in by_name]]
    rows = [(count_text(s), *[_number(name, by_name[name].get(s)) for name in by_name]) for s in shown]
    return data_table(text("run.numbers.caption"), head, rows)


def _number(name: str, value: float | None) -> str:
    if value is None:
        return DASH
    if name == "memory_bytes":
        return bytes_text(value)
    return f"{value:.3g}" if name != "tokens_per_second" else count_text(value)


def below_chart(text: Text, run: RunSummary) -> Markup:
    """The promise of step 5 while it runs: no page is needed. Once it is done, what comes next."""
    if run.state in (*LIVE_STATES, "queued"):
        return message.card("plain", text("watch.away.title"), text("watch.away.line"))
    if run.state == "done":
        return message.card("good", text("watch.done.title"), text("watch.done.line"))
    return Markup("")


def watch(text: Text, detail: RunDetail, error: tuple[str, str] | None) -> Markup:
    """Above the chart of step 5."""
    run = detail.summary
    return join(
        headline(text, run, detail.dependents),
        figures(text, run),
        measured.line(text, detail.memory),
        took(text, detail),
        outcome(text, run, error),
        measured.shortages(text, detail.events),
    )


def took(text: Text, detail: RunDetail) -> Markup | None:
    """Time and energy of its steps, once it has ended."""
    line = epoch.steps_line(text, detail.spent)
    return h("p", line, class_="quiet memory-line") if line else None
