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
from ui.fragments import shell
from ui.page import Page, Updates
from ui.tabs import home, merge, models, playground, runs, system, train
from ui.view import HIDDEN, view
from ui.words import Words

TABS: tuple[ModuleType, ...] = (home, train, runs, playground, merge, models, system)

# What an event learns of the page before it runs: its address. The server keeps nothing about a page.
_ADDRESS = "() => [location.search]"


def create_app(facade: Facade, language: str = "en") -> gr.Blocks:
    """The whole screen over a facade. What it shows comes from the facade and the page's address."""
    words = Words(language)
    names = [module.NAME for module in TABS]
    with gr.Blocks(title=words.text("screen.name"), analytics_enabled=False) as app:
        view(shell.rail(words.text, names), id="rail")
        page = Page(facade, words, view(id="notice"), gr.Textbox(visible=False))
        built = []
        with gr.Tabs(selected=names[0], elem_id="tabs", overflow_behavior="wrap") as tabs:
            for module in TABS:
                with gr.Tab(
                    words.text(f"tab.{module.NAME}"), id=module.NAME, elem_id=f"tab-{module.NAME}"
                ) as tab:
                    built.append((module, tab, module.build()))
        for module, _, parts in built:
            module.wire(parts, page)
        _navigate(app, page, tabs, built)
    return app


def _navigate(app: gr.Blocks, page: Page, tabs: gr.Tabs, built: list[Any]) -> None:
    """A tab is drawn when it is opened, from the address; its timer ticks only while it is open."""
    timers = {module.NAME: parts.ticker for module, _, parts in built if hasattr(parts, "ticker")}

    def turn_on(name: str) -> Updates:
        return {timer: gr.Timer(active=tab == name) for tab, timer in timers.items()}

    def opener(module: ModuleType, parts: Any) -> Any:
        def draw(query: str, *kept: Any) -> Updates:
            # Gradio opens its first tab by itself, whatever the address says; `load` draws that one.
            if f"tab={module.NAME}" not in query:
                return {}
            return module.opened(parts, page, query, *kept) | turn_on(module.NAME)

        return page.handler(draw)

    for module, tab, parts in built:
        tab.select(
            opener(module, parts),
            inputs=[page.query, *(module.inputs(parts) if hasattr(module, "inputs") else [])],
            js=_ADDRESS,
            outputs=[*module.outputs(parts), *timers.values(), page.notice],
            **HIDDEN,
        )

    def load(query: str) -> Updates:
        module, _, parts = next(b for b in built if _tab_of(query) == b[0].NAME)
        if module is home:  # open already; saying so again would undo a click that came before this answer
            return home.loaded(parts, page, query) | turn_on(module.NAME)
        return {
            tabs: gr.Tabs(selected=module.NAME),
            **module.opened(parts, page, query),
            **turn_on(module.NAME),
        }

    every = [component for module, _, parts in built for component in module.outputs(parts)]
    app.load(
        page.handler(load),
        inputs=[page.query],
        js=_ADDRESS,
        outputs=[tabs, *every, *timers.values(), page.notice],
        **HIDDEN,
    )
    page.notice.act(lambda: "", outputs=[page.notice], **HIDDEN)


def _tab_of(query: str) -> str:
    """The tab that an address names; the first one where it names none that there is."""
    name = parse_qs(query.lstrip("?")).get("tab", [""])[0]
    return name if any(name == module.NAME for module in TABS) else str(TABS[0].NAME)
