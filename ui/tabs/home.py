"""Home: the guided wizard, from "what do you want to teach" to base and tuned model side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from ui import acts, steps
from ui.chat import Chat
from ui.fragments import run as run_fragments
from ui.live import follow
from ui.page import Page, Updates
from ui.tabs import chat_panel
from ui.view import HIDDEN, act_data, view
from ui.wizard import STEPS, Wizard

NAME = "home"


@dataclass(frozen=True)
class Home:
    """Components of the tab. `views` holds what each step shows but the chat; `state` is the wizard."""

    steps: gr.HTML
    walk: gr.Walkthrough
    views: dict[str, gr.HTML]
    chart: gr.Plot
    away: gr.HTML
    aside: gr.HTML
    foot: gr.HTML
    address: gr.HTML
    chat: chat_panel.ChatPanel
    state: gr.State


def build() -> Home:
    """Steps on top, one question in the middle, the plan at the right, Back and Next below."""
    views: dict[str, gr.HTML] = {}
    with gr.Column(elem_id="home", elem_classes="tab-body"):
        stepper = view(id="wizard-steps")
        with gr.Row(elem_id="wizard"):
            with gr.Column(elem_classes="wizard-main"):
                with gr.Walkthrough(selected=0, elem_id="walk") as walk:
                    for number, name in enumerate(STEPS):
                        with gr.Step(name, id=number):
                            if name == "compare":
                                chat = chat_panel.build("wizard")
                                continue
                            views[name] = view(id=f"step-{name}")
                            if name == "watch":
                                with gr.Column(elem_classes="card chart-card"):
                                    chart = gr.Plot(show_label=False, container=False, elem_id="watch-chart")
                                away = view()
                foot = view(id="wizard-foot")
            with gr.Column(elem_classes="wizard-aside"):
                aside = view(id="wizard-plan")
        address = view(classes="unseen")
    return Home(stepper, walk, views, chart, away, aside, foot, address, chat, gr.State(Wizard()))


def wire(tab: Home, page: Page) -> None:
    """Every act of the page goes through the one table `acts.ACTS`; what it gives back is shown."""

    # Painted with the page, before it has asked for anything: the cards can be clicked at once.
    tab.views["goal"].value = steps.first_paint(page)

    def act(wizard: Wizard, event: gr.EventData) -> Updates:
        return shown(tab, page, acts.apply(page.facade, wizard, act_data(event)))

    def redraw(full: bool, wizard: Wizard) -> Updates:
        if wizard.name not in ("goal", "watch"):
            return {tab.state: gr.skip()}
        if _gone(page, wizard):
            return shown(tab, page, wizard)
        step, foot = steps.moving(page, wizard)
        return {
            tab.views[wizard.name]: step,
            tab.foot: foot,
            **(_watched(tab, page, wizard) if full else {}),
        }

    for source in (tab.steps, tab.foot, *tab.views.values()):
        source.act(page.handler(act), inputs=[tab.state], outputs=[*outputs(tab), page.notice], **HIDDEN)
    follow(page, NAME, redraw, [tab.state], [*outputs(tab), page.notice])
    chat_panel.wire(tab.chat, page)


def outputs(tab: Home) -> list[Any]:
    """Everything that an act may change."""
    return [
        tab.state,
        tab.walk,
        tab.steps,
        tab.aside,
        tab.foot,
        tab.address,
        tab.chart,
        tab.away,
        *tab.views.values(),
        *chat_panel.outputs(tab.chat),
    ]


def opened(tab: Home, page: Page, query: str) -> Updates:
    """The tab at this address: a refreshed page or another browser comes back to the same step."""
    return shown(tab, page, acts.reopen(page.facade, query))


def loaded(tab: Home, page: Page, query: str) -> Updates:
    """The tab as a fresh page shows it. Where the wizard has not begun, only what is already on the screen is
    drawn anew: a click that came before this answer has moved on, and must not be undone."""
    wizard = acts.reopen(page.facade, query)
    if wizard == Wizard():
        return {tab.views["goal"]: steps.first_paint(page)}
    return shown(tab, page, wizard)


def shown(tab: Home, page: Page, wizard: Wizard) -> Updates:
    """All of the tab at this point of the wizard."""
    if _gone(page, wizard):
        wizard = replace(wizard, run=None).to(wizard.step)
    now = steps.show(page, wizard)
    updates: Updates = {
        tab.state: wizard,
        tab.walk: gr.Walkthrough(selected=wizard.step),
        tab.steps: now.steps,
        tab.aside: now.aside,
        tab.foot: now.foot,
        tab.address: now.address,
    }
    if now.step is not None:
        updates[tab.views[wizard.name]] = now.step
    if wizard.name == "compare":
        run = f"run:{wizard.run}"
        page.facade.warm_chat(run)
        panes = tuple(name for name in (page.facade.base_of(run), run) if name)
        updates |= chat_panel.shown(page, tab.chat, Chat(panes), wizard.goal)
    return updates | _watched(tab, page, wizard)


def _gone(page: Page, wizard: Wizard) -> bool:
    """Its run was deleted meanwhile, or the address is an old one."""
    return wizard.run is not None and all(r.run != wizard.run for r in page.facade.runs())


def _watched(tab: Home, page: Page, wizard: Wizard) -> Updates:
    if wizard.name != "watch" or wizard.run is None:
        return {}
    return {
        tab.chart: steps.curve(page, wizard.run),
        tab.away: run_fragments.below_chart(page.text, page.facade.run(wizard.run).summary),
    }
