"""Playground: any tuned model beside its base, or any model on disk alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

import gradio as gr

from ui.chat import Chat
from ui.fragments import chat as draw
from ui.fragments import message
from ui.fragments.parts import button
from ui.fragments.wizard import address
from ui.page import Page, Updates
from ui.tabs import chat_panel
from ui.view import HIDDEN, act_data, view

NAME = "playground"
_NONE = Chat()  # nobody was talked to yet


@dataclass(frozen=True)
class Playground:
    """Components of the tab."""

    picker: gr.HTML
    chat: chat_panel.ChatPanel
    address: gr.HTML


def build() -> Playground:
    with gr.Column(elem_id="playground", elem_classes="tab-body"):
        picker = view(id="playground-picker")
        chat = chat_panel.build("playground")
        where = view(classes="unseen")
    return Playground(picker, chat, where)


def wire(tab: Playground, page: Page) -> None:
    tab.picker.value = message.loading(page.text)

    def pick(chat: Chat, event: gr.EventData) -> Updates:
        data = act_data(event)
        if data["act"] == "clear":
            return chat_panel.clear(page, tab.chat, chat)
        return shown(tab, page, data["value"], chat)

    answering = chat_panel.wire(tab.chat, page)
    tab.picker.act(
        page.handler(pick),
        inputs=inputs(tab),
        outputs=[*outputs(tab), page.notice],
        cancels=answering,
        **HIDDEN,
    )


def outputs(tab: Playground) -> list[Any]:
    return [tab.picker, tab.address, *chat_panel.outputs(tab.chat)]


def inputs(tab: Playground) -> list[Any]:
    """What `opened` has to know beside the address: the conversation that may be going on."""
    return [tab.chat.state]


def opened(tab: Playground, page: Page, query: str, chat: Chat = _NONE) -> Updates:
    """The tab at this address: `run=ID` or `model=NAME`; without one the conversation goes on."""
    found = {k: v[0] for k, v in parse_qs(query.lstrip("?")).items()}
    wanted = f"run:{found['run']}" if "run" in found else found.get("model")
    return shown(tab, page, wanted or chat.model, chat)


def shown(tab: Playground, page: Page, wanted: str | None, chat: Chat) -> Updates:
    """The picker with this model chosen, or the first there is. Another one than before begins anew."""
    names = page.facade.chat_models()
    chosen = wanted if wanted in names else (names[0] if names else None)
    if chosen is None:
        nothing = message.empty(
            page.text("chat.none.title"),
            page.text("chat.none.line"),
            button(page.text("runs.empty.button"), None, kind="primary", data_go="home"),
            symbol="playground",
        )
        return {tab.picker: nothing}
    page.facade.warm_chat(chosen)
    titles = {m.name: m.title for m in page.facade.models()}
    choices = [
        (n, page.text("chat.pick.run", run=n[4:]) if n.startswith("run:") else titles.get(n, n))
        for n in names
    ]
    where = {"tab": NAME, **({"run": chosen[4:]} if chosen.startswith("run:") else {"model": chosen})}
    return {
        tab.picker: draw.picker(page.text, choices, chosen),
        tab.address: address(urlencode(where)),
        **(chat_panel.choose(page, tab.chat, chosen) if chosen != chat.model else {}),
    }
