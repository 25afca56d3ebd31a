"""System: this machine, live: GPUs or the reason why there is none, processor, memory, disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.fragments import message
from ui.fragments import system as draw
from ui.page import Page, Updates
from ui.view import HIDDEN, view

NAME = "system"


@dataclass(frozen=True)
class System:
    """`seen`: the last readings by name, newest last, for the small curves; they belong to the page."""

    cards: gr.HTML
    seen: gr.State
    ticker: gr.Timer


def build() -> System:
    with gr.Column(elem_id="system", elem_classes="tab-body"):
        cards = view(id="system-cards")
    return System(cards, gr.State({}), gr.Timer(2.0, active=False))


def wire(tab: System, page: Page) -> None:
    """The machine changes by itself, so every tick draws."""
    tab.cards.value = message.loading(page.text)
    tab.ticker.tick(
        page.handler(lambda seen: _look(tab, page, seen)),
        inputs=[tab.seen],
        outputs=[*outputs(tab), page.notice],
        **HIDDEN,
    )


def outputs(tab: System) -> list[Any]:
    return [tab.cards, tab.seen]


def opened(tab: System, page: Page, query: str) -> Updates:  # noqa: ARG001 (the shape of every tab)
    return _look(tab, page, {})


def _look(tab: System, page: Page, seen: dict[str, list[float | None]]) -> Updates:
    report = page.facade.hardware()
    seen = {
        name: [*seen.get(name, []), value][-draw.PLACES :] for name, value in draw.readings(report).items()
    }
    return {tab.cards: draw.view(page.text, report, seen, page.facade.spare_bytes()), tab.seen: seen}
