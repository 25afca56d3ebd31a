"""System: this machine, live: GPUs or the reason why there is none, processor, memory, disk; and how well the
memory of runs was predicted on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui import charts
from ui.fragments import measured, message
from ui.fragments import system as draw
from ui.live import every, follow
from ui.page import Page, Updates
from ui.view import view

NAME = "system"


@dataclass(frozen=True)
class System:
    """`seen`: the last readings by name, newest last, for the small curves; they belong to the page."""

    cards: gr.HTML
    memory: gr.HTML
    chart_card: gr.Column
    chart: gr.Plot
    table: gr.HTML
    seen: gr.State


def build() -> System:
    with gr.Column(elem_id="system", elem_classes="tab-body"):
        cards = view(id="system-cards")
        memory = view(id="system-memory")
        with gr.Column(elem_classes="card chart-card tall", visible=False) as chart_card:
            chart = gr.Plot(show_label=False, container=False, elem_id="system-memory-chart")
        table = view(id="system-memory-table")
    return System(cards, memory, chart_card, chart, table, gr.State({}))


def wire(tab: System, page: Page) -> None:
    """The machine changes by itself."""
    tab.cards.value = message.loading(page.text)
    follow(
        page,
        NAME,
        lambda _full, seen: _look(tab, page, seen),
        [tab.seen],
        [tab.cards, tab.seen, page.notice],
        look=every(2.0),
    )


def outputs(tab: System) -> list[Any]:
    return [tab.cards, tab.memory, tab.chart_card, tab.chart, tab.table, tab.seen]


def opened(tab: System, page: Page, query: str) -> Updates:  # noqa: ARG001 (the shape of every tab)
    return _look(tab, page, {}) | _history(tab, page)


def _history(tab: System, page: Page) -> Updates:
    """Drawn once when the tab opens: it moves only when a run ends."""
    points = page.facade.memory_history()
    return {
        tab.memory: measured.head(page.text, page.facade.calibrations()),
        tab.chart_card: gr.Column(visible=bool(points)),
        tab.chart: charts.memory_chart(page.text, points) if points else None,
        tab.table: measured.table(page.text, points) or "",
    }


def _look(tab: System, page: Page, seen: dict[str, list[float | None]]) -> Updates:
    report = page.facade.hardware()
    seen = {
        name: [*seen.get(name, []), value][-draw.PLACES :] for name, value in draw.readings(report).items()
    }
    return {tab.cards: draw.view(page.text, report, seen, page.facade.spare_bytes()), tab.seen: seen}
