"""Train: every knob on one page, the plan and its cost always in view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from markupsafe import Markup

from backend.api import Facade
from studio.errors import StudioError
from ui import acts, forms
from ui import wizard as moves
from ui.fragments import memory, message
from ui.fragments import train as draw
from ui.fragments.wizard import address
from ui.page import Page, Updates
from ui.view import HIDDEN, act_data, view
from ui.wizard import Wizard

NAME = "train"
FIRST = Wizard(model="starter", dataset="pirate")  # something that runs, to change from


@dataclass(frozen=True)
class Train:
    """`state` is the plan as chosen so far; the form and its consequences are one view each. `limits` takes
    longer than they may, and follows when `shown`, the address of the plan on the screen, has changed."""

    form: gr.HTML
    side: gr.HTML
    limits: gr.HTML
    address: gr.HTML
    state: gr.State
    shown: gr.State


def build() -> Train:
    with gr.Row(elem_id="train", elem_classes="tab-body"):
        with gr.Column(elem_classes="train-form"):
            form = view(id="train-form")
        with gr.Column(elem_classes="train-side"):
            side = view(id="train-side")
            limits = view(id="train-limits")
        where = view(classes="unseen")
    return Train(form, side, limits, where, gr.State(FIRST), gr.State(""))


def wire(tab: Train, page: Page) -> None:
    tab.form.value = message.loading(page.text)

    def act(choice: Wizard, event: gr.EventData) -> Updates:
        return shown(tab, page, apply(page.facade, choice, act_data(event)))

    def decide(choice: Wizard, event: gr.EventData) -> Updates:
        sent = act_data(event)
        if sent["act"] == "fit":
            return shown(tab, page, acts.fit(page.facade, choice, sent))
        assert choice.model  # the button is off without them
        assert choice.dataset
        run = page.facade.start(choice.model, choice.dataset, choice.method, choice.settings)
        return {tab.address: address(urlencode({"tab": "runs", "run": run}), go="runs")}

    def grown(choice: Wizard) -> Updates:
        return {tab.limits: most_that_fits(page, choice)}

    everything = [*outputs(tab), page.notice]
    for source, handle in ((tab.form, act), (tab.side, decide)):
        source.act(page.handler(handle), inputs=[tab.state], outputs=everything, **HIDDEN)
    tab.shown.change(page.handler(grown), inputs=[tab.state], outputs=[tab.limits, page.notice], **HIDDEN)


def apply(facade: Facade, choice: Wizard, sent: dict[str, Any]) -> Wizard:
    """One field of the form."""
    value = str(sent["value"]).strip()
    if sent["act"] == "model":
        return moves.choose_model(choice, value)
    if sent["act"] == "dataset":
        return moves.choose_data(choice, value, choice.source)
    if sent["act"] == "method":
        return moves.choose_method(choice, value, facade.settings(value))
    assert sent["act"] == "set"
    return moves.set_value(choice, sent["key"], sent["value"])


def outputs(tab: Train) -> list[Any]:
    return [tab.form, tab.side, tab.address, tab.state, tab.shown]


def opened(tab: Train, page: Page, query: str) -> Updates:
    """The tab at this address."""
    choice = moves.from_query(query)
    return shown(tab, page, choice if choice.model or choice.dataset else FIRST)


def shown(tab: Train, page: Page, choice: Wizard) -> Updates:
    """The form and what it comes to. What can't be read is said at the right; the form keeps it."""
    facade, text = page.facade, page.text
    model, draft, refusal, fields = None, None, None, []
    methods = facade.methods()
    listed = {m["id"]: m for m in methods}
    method = listed.get(choice.method, listed[moves.METHOD])  # the draft says if an address names no method
    try:
        model = facade.model(choice.model or "")
        draft = facade.draft(choice.model or "", choice.dataset or "", choice.method, choice.settings)
        facade.warm_worker(draft)
        fields = forms.fields(page.words, facade.settings(choice.method), method, draft, choice.settings)
    except StudioError as error:
        refusal = page.words.error(error)
    return {
        tab.state: choice,
        tab.shown: moves.to_query(choice, tab=NAME),
        tab.form: draw.form(text, choice, facade.models(), model, facade.samples(), methods, fields),
        tab.side: draw.side(page.words, choice, model, titles(methods), draft, refusal),
        tab.address: address(moves.to_query(choice, tab=NAME)),
    }


def most_that_fits(page: Page, choice: Wizard) -> Markup | str:
    """Batch, length and model at their largest; nothing where the plan can't be drawn up."""
    facade = page.facade
    try:
        found = facade.limits(choice.model or "", choice.dataset or "", choice.method, choice.settings)
    except StudioError:  # what is wrong stands in the plan
        return ""
    return memory.limits(page.text, found, titles(facade.methods())) or ""


def titles(methods: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Of the methods by id, in their order."""
    return {str(method["id"]): str(method["title"]) for method in methods}
