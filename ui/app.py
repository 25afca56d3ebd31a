"""The screen as one Gradio app: a table of tabs, the rail that switches them, the page's address."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr

from backend.api import Facade
from ui import forms
from ui.fragments import shell
from ui.live import tick
from ui.page import Page, Updates
from ui.tabs import home, merge, models, playground, runs, system, train
from ui.view import HIDDEN, view
from ui.words import Words

TABS: tuple[ModuleType, ...] = (home, train, runs, playground, merge, models, system)

# What an event learns of the page before it runs: its address. The server keeps nothing about a page.
_ADDRESS = "() => [location.search]"


def create_app(facade: Facade, language: str = "en") -> gr.Blocks:
    """The whole screen over a facade. What it shows comes from the facade and the page's address."""
    words = Words(language, labels=forms.labels(facade))
    names = [module.NAME for module in TABS]
    with gr.Blocks(title=words.text("screen.name"), analytics_enabled=False) as app:
        view(shell.rail(words.text, names), id="rail")
        page = Page(facade, words, view(id="notice"), gr.Textbox(visible=False))
        built = []
        with gr.Tabs(selected=names[0], elem_id="tabs", overflow_behavior="wrap") as tabs:
            for module in TABS:
                with gr.Tab(words.text(f"tab.{module.NAME}"), id=module.NAME, elem_id=f"tab-{module.NAME}"):
                    built.append((module, module.build()))
        for module, parts in built:
            module.wire(parts, page)
        _navigate(app, page, tabs, built)
        tick(page, _tab_of, _ADDRESS)
    _keep_every_act(app)
    return app


def _navigate(app: gr.Blocks, page: Page, tabs: gr.Tabs, built: list[Any]) -> None:
    """A tab is drawn when it is opened, from the address.

    Which tab is open is the page's own business (studio.js): it selects the one that its address names. The
    event of `gr.Tabs` comes with a click only. That of a `gr.Tab` would also come for the first one as the
    page is made and be answered at once: Gradio then ends the stream of answers just as `load` waits for its.
    """
    kept: list[Any] = []  # what `opened` has to know beside the address, and whose it is
    owners: list[str] = []
    for module, parts in built:
        mine = module.inputs(parts) if hasattr(module, "inputs") else []
        kept += mine
        owners += [module.NAME] * len(mine)

    def named(query: str) -> tuple[ModuleType, Any]:
        return next((module, parts) for module, parts in built if _tab_of(query) == module.NAME)

    def select(query: str, *states: Any) -> Updates:
        module, parts = named(query)
        own = [state for owner, state in zip(owners, states, strict=True) if owner == module.NAME]
        opened: Updates = module.opened(parts, page, query, *own)
        return opened

    def load(query: str) -> Updates:
        module, parts = named(query)
        drawn: Updates = (home.loaded if module is home else module.opened)(parts, page, query)
        return drawn

    every = [component for module, parts in built for component in module.outputs(parts)]
    outputs = [*every, page.notice]
    app.load(page.handler(load), inputs=[page.query], js=_ADDRESS, outputs=outputs, **HIDDEN)
    tabs.select(
        page.handler(select),
        inputs=[page.query, *kept],
        js=_ADDRESS,
        outputs=outputs,
        trigger_mode="multiple",  # the next tab may be clicked before this one has its answer
        **HIDDEN,
    )
    page.notice.act(lambda: "", outputs=[page.notice], **HIDDEN)


def _keep_every_act(app: gr.Blocks) -> None:
    """The page sends its acts in turn (answers.js); by itself Gradio would drop one that follows closely."""
    for fn in app.fns.values():
        if any(event in ("act", "send", "halt") for _, event in fn.targets):
            fn.trigger_mode = "multiple"


def _tab_of(query: str) -> str:
    """The tab that an address names; the first one where it names none that there is."""
    name = parse_qs(query.lstrip("?")).get("tab", [""])[0]
    return name if any(name == module.NAME for module in TABS) else str(TABS[0].NAME)
