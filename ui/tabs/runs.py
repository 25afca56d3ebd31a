"""Runs: a list at the left, the run (or several over each other) at the right, live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.api import Series
from ui import charts, selection
from ui.acts import known_dependents
from ui.fragments import message
from ui.fragments import run as run_fragments
from ui.fragments import runs as runs_fragments
from ui.fragments.wizard import address
from ui.live import follow
from ui.page import Page, Updates
from ui.selection import Selection
from ui.steps import SPARK_POINTS, run_error
from ui.view import HIDDEN, act_data, view

NAME = "runs"
CURVES = ("loss", "eval_loss", *charts.SMALL)
_MOVES = ("pause", "resume", "stop")


@dataclass(frozen=True)
class Runs:
    """Components of the tab. `board` is all of the right side; it is hidden while there is no run."""

    listing: gr.HTML
    board: gr.Column
    head: gr.HTML
    smoothing: gr.HTML
    loss: gr.Plot
    titles: dict[str, gr.HTML]
    small: dict[str, gr.Plot]
    below: gr.HTML
    address: gr.HTML
    state: gr.State


def build() -> Runs:
    titles: dict[str, gr.HTML] = {}
    small: dict[str, gr.Plot] = {}
    with gr.Row(elem_id="runs", elem_classes="tab-body"):
        with gr.Column(elem_classes="runs-list"):
            listing = view(id="runs-list")
        with gr.Column(elem_classes="runs-board", visible=False) as board:
            head = view(id="run-head")
            with gr.Column(elem_classes="card chart-card tall"):
                smoothing = view()
                loss = gr.Plot(show_label=False, container=False, elem_id="run-loss")
            with gr.Row(elem_classes="multiples"):
                for name in charts.SMALL:
                    with gr.Column(elem_classes="card chart-card"):
                        titles[name] = view()
                        small[name] = gr.Plot(show_label=False, container=False, elem_id=f"run-{name}")
            below = view(id="run-below")
        where = view(classes="unseen")
    return Runs(listing, board, head, smoothing, loss, titles, small, below, where, gr.State(Selection()))


def wire(tab: Runs, page: Page) -> None:
    tab.listing.value = message.loading(page.text)

    def act(chosen: Selection, event: gr.EventData) -> Updates:
        return shown(tab, page, apply(page, chosen, act_data(event)))

    everything = [*outputs(tab), page.notice]
    for source in (tab.listing, tab.head, tab.smoothing):
        source.act(page.handler(act), inputs=[tab.state], outputs=everything, **HIDDEN)
    follow(page, NAME, lambda full, chosen: followed(tab, page, chosen, full=full), [tab.state], everything)


def apply(page: Page, chosen: Selection, sent: dict[str, Any]) -> Selection:
    """What was clicked: open a run, lay one over the others, smooth, or move a run on."""
    name = sent["act"]
    if name == "open":
        return replace(chosen, run=sent["run"], compared=())
    if name == "compare":
        return selection.toggle(chosen, sent["run"])
    if name == "smooth":
        return replace(chosen, smoothing=float(sent["value"]) / 100)
    if name == "delete":
        page.facade.delete(sent["run"], known_dependents(sent))
    else:
        assert name in _MOVES
        getattr(page.facade, name)(sent["run"])
    return chosen


def outputs(tab: Runs) -> list[Any]:
    return [
        tab.state,
        tab.listing,
        tab.board,
        tab.head,
        tab.smoothing,
        tab.loss,
        *tab.titles.values(),
        *tab.small.values(),
        tab.below,
        tab.address,
    ]


def opened(tab: Runs, page: Page, query: str) -> Updates:
    """The tab at this address."""
    return shown(tab, page, selection.from_query(query))


def followed(tab: Runs, page: Page, chosen: Selection, *, full: bool) -> Updates:
    """The tab after a look at the store. Somebody may have chosen another run while this was drawn: what is
    chosen is set only where the run is gone."""
    updates = shown(tab, page, chosen, full=full)
    if updates[tab.state] == chosen:
        del updates[tab.state], updates[tab.address]
    return updates


def shown(tab: Runs, page: Page, chosen: Selection, *, full: bool = True) -> Updates:
    """All of the tab; not `full`: the list and the numbers alone."""
    runs = page.facade.runs()
    chosen = selection.settle(chosen, [r.run for r in runs])
    updates: Updates = {tab.state: chosen, tab.address: address(selection.to_query(chosen))}
    if not runs:
        return updates | {tab.listing: runs_fragments.empty(page.text), tab.board: gr.Column(visible=False)}
    names = [r.run for r in runs]
    curves = {s.run: s.values for s in page.facade.series(names, ["loss"], max_points=SPARK_POINTS)}
    updates |= {
        tab.listing: runs_fragments.listing(page.text, runs, chosen, curves),
        tab.board: gr.Column(visible=True),
        tab.head: _head(page, chosen),
    }
    return updates | _charts(tab, page, chosen) if full else updates


def _head(page: Page, chosen: Selection) -> Markup:
    if chosen.comparing:
        return runs_fragments.over_head(page.text, chosen)
    assert chosen.run is not None  # there are runs, and settle chose one
    detail = page.facade.run(chosen.run)
    return run_fragments.watch(page.text, detail, run_error(page, detail.summary.error))


def _charts(tab: Runs, page: Page, chosen: Selection) -> Updates:
    series = page.facade.series(chosen.drawn, CURVES)
    losses = [s for s in series if s.name in ("loss", "eval_loss")]
    return {
        tab.smoothing: runs_fragments.smoothing(page.text, chosen.smoothing),
        tab.loss: charts.loss_chart(page.text, losses, chosen.smoothing),
        **{tab.titles[n]: runs_fragments.chart_title(page.text, n) for n in charts.SMALL},
        **{tab.small[n]: charts.small_chart(page.text, n, series) for n in charts.SMALL},
        tab.below: _compared(page, chosen) if chosen.comparing else _details(page, chosen, series),
    }


def _details(page: Page, chosen: Selection, series: Sequence[Series]) -> Markup:
    assert chosen.run is not None  # there are runs, and settle chose one
    detail = page.facade.run(chosen.run)
    return run_fragments.details(page.words, detail, page.facade.log_tail(chosen.run), series)


def _compared(page: Page, chosen: Selection) -> Markup:
    plans = {run: page.facade.run(run).plan for run in chosen.compared}
    return runs_fragments.compared(page.text, plans, selection.differing(plans))
