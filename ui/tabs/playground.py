"""Playground: two to four models beside each other, conversations that are kept, votes, prompt sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

import gradio as gr
from markupsafe import Markup

from backend.api import LIVE_STATES
from backend.api.chat import MAX_PANES, ChatModel
from studio.errors import StudioError
from ui import acts
from ui import chat as moves
from ui.chat import Chat
from ui.fragments import message, prompt_set
from ui.fragments import playground as draw
from ui.fragments.parts import button
from ui.fragments.who import model_label
from ui.fragments.wizard import address
from ui.page import Page, Updates
from ui.tabs import chat_panel
from ui.view import HIDDEN, act_data, view

NAME = "playground"
_NONE = Chat()  # nobody was talked to yet


@dataclass(frozen=True)
class Playground:
    """Components of the tab."""

    bar: gr.HTML
    picker: gr.HTML
    chat: chat_panel.ChatPanel
    prompts: gr.HTML
    address: gr.HTML


def build() -> Playground:
    with gr.Column(elem_id="playground", elem_classes="tab-body"):
        bar = view(id="playground-bar")
        picker = view(id="playground-picker")
        chat = chat_panel.build("playground")
        prompts = view(id="playground-prompts")
        where = view(classes="unseen")
    return Playground(bar, picker, chat, prompts, where)


def wire(tab: Playground, page: Page) -> None:
    tab.picker.value = message.loading(page.text)

    def act(chat: Chat, event: gr.EventData) -> Updates:
        sent = act_data(event)
        if chat.busy:  # the answer that comes has the conversation as it was: a change would be lost
            return {tab.chat.state: gr.skip()}
        if sent["act"] == "search":
            return {tab.bar: _bar(page, chat, str(sent["value"]).strip())}
        chat = ACTS[sent["act"]](page, chat, sent)
        return _chosen(tab, page, chat, page.facade.chat_models()) | chat_panel.looked_at(
            page, tab.chat, chat
        )

    def leave(chat: Chat, speaking: chat_panel.Speaking, event: gr.EventData) -> Updates:
        sent = act_data(event)
        speaking.silence(page)
        return shown(tab, page, LEAVING[sent["act"]](page, moves.end(chat), sent))

    def beside(chat: Chat) -> Updates:
        return {tab.bar: _bar(page, chat), tab.address: _address(chat)}

    chat_panel.wire(tab.chat, page, beside, [tab.bar, tab.address])
    everything = [*outputs(tab), page.notice]
    tab.picker.act(page.handler(act), inputs=[tab.chat.state], outputs=everything, **HIDDEN)
    tab.bar.act(page.handler(act), inputs=[tab.chat.state], outputs=everything, **HIDDEN)
    for event in (tab.bar.halt, tab.prompts.act):
        event(page.handler(leave), inputs=inputs(tab), outputs=everything, **HIDDEN)


def outputs(tab: Playground) -> list[Any]:
    return [tab.bar, tab.picker, tab.prompts, tab.address, *chat_panel.outputs(tab.chat)]


def inputs(tab: Playground) -> list[Any]:
    """What `opened` has to know beside the address: the conversation that may be going on, and its answer."""
    return [tab.chat.state, tab.chat.speaking]


def opened(
    tab: Playground, page: Page, query: str, chat: Chat = _NONE, speaking: chat_panel.Speaking | None = None
) -> Updates:
    """The tab at this address: `chat=ID` is a conversation that was kept, `run=ID` a run beside its base,
    `pane=NAME` (repeatable) any models. Without one, what was going on goes on: it is on the page, and this
    may be drawn later than the end of an answer."""
    models = page.facade.chat_models()
    wanted, told = _wanted(page, parse_qs(query.lstrip("?")), chat, models)
    if wanted is chat and chat.panes:
        return _chosen(tab, page, chat, models) | told
    if speaking is not None:
        speaking.silence(page)
    return shown(tab, page, wanted, models) | told


def _wanted(
    page: Page, found: Mapping[str, list[str]], chat: Chat, models: list[ChatModel]
) -> tuple[Chat, Updates]:
    """The conversation that an address asks for, and what is to be said about it."""
    if "chat" in found and found["chat"][0].isdecimal():
        id = int(found["chat"][0])
        if id == chat.conversation:
            return chat, {}
        try:
            return moves.opened(chat, page.facade.conversation(id)), {}
        except StudioError as error:  # deleted meanwhile
            return moves.begin(chat), {page.notice: message.notice(page.text, *page.words.error(error))}
    named, told = _named(page, found, models)
    panes = named or chat.panes or _first(models)
    return chat if panes == chat.panes else replace(moves.begin(chat), panes=panes), told


def shown(tab: Playground, page: Page, chat: Chat, models: list[ChatModel] | None = None) -> Updates:
    """All of the tab."""
    models = page.facade.chat_models() if models is None else models
    if not models:
        return {tab.picker: _nobody(page)}
    if not chat.panes:
        chat = replace(chat, panes=_first(models))
    return {
        **_chosen(tab, page, chat, models),
        **chat_panel.shown(page, tab.chat, chat),
        tab.prompts: prompt_set.drop_zone(page.text),
    }


def _chosen(tab: Playground, page: Page, chat: Chat, models: list[ChatModel]) -> Updates:
    """Who answers, as the page shows it, and their engines started."""
    bases = {model.name: model.base for model in models}
    for name in {bases[pane]: pane for pane in chat.panes if pane in bases}.values():
        page.facade.warm_chat(name)
    return {
        tab.bar: _bar(page, chat),
        tab.picker: draw.picker(page.text, chat, models),
        tab.address: _address(chat),
    }


def _named(
    page: Page, found: Mapping[str, list[str]], models: list[ChatModel]
) -> tuple[tuple[str, ...], Updates]:
    """The panes that an address names, and what is to be said about them: a run that has only begun has its
    pane, and is asked there from its first step on; one that will never answer has none."""
    told: Updates = {}
    bases = {model.name: model.base for model in models}
    names = [f"run:{found['run'][0]}"] if "run" in found else found.get("pane", [])
    for name in [name for name in names if name not in bases and name.startswith("run:")]:
        try:
            state = page.facade.run(name.removeprefix("run:").partition("@")[0]).summary.state
            begun = state in (*LIVE_STATES, "queued")
            bases |= {name: page.facade.base_of(name) or name} if begun else {}
            key, run = "chat.early" if begun else "chat.never", model_label(page.text, name)
            words = page.text(f"{key}.message", run=run), page.text(f"{key}.remedy")
        except StudioError as error:  # deleted meanwhile, or the address was written by hand
            words = page.words.error(error)
        told = {page.notice: message.notice(page.text, *words)}
    panes = [name for name in names if name in bases or name.startswith("mix:")][:MAX_PANES]
    return (bases[panes[0]], panes[0]) if panes and "run" in found else tuple(panes), told


def _first(models: list[ChatModel]) -> tuple[str, ...]:
    """The newest run beside its base, else the first model there is."""
    if not models:
        return ()
    first = models[0]
    return (first.name,) if first.base == first.name else (first.base, first.name)


def _nobody(page: Page) -> Markup:
    return message.empty(
        page.text("chat.none.title"),
        page.text("chat.none.line"),
        button(page.text("runs.empty.button"), None, kind="primary", data_go="home"),
        symbol="playground",
    )


def _bar(page: Page, chat: Chat, search: str | None = None) -> Markup:
    facade = page.facade
    listed = facade.conversations(search or "")
    return draw.bar(page.text, chat, listed, facade.pair_votes(), facade.chat_rows(), search)


def _address(chat: Chat) -> Markup:
    if chat.conversation is not None:
        return address(urlencode({"tab": NAME, "chat": chat.conversation}))
    return address(urlencode([("tab", NAME), *(("pane", pane) for pane in chat.panes)]))


def _delete(page: Page, chat: Chat, sent: Mapping[str, Any]) -> Chat:
    page.facade.delete_conversation(int(sent["id"]))
    return moves.begin(chat) if int(sent["id"]) == chat.conversation else chat


def _rename(page: Page, chat: Chat, sent: Mapping[str, Any]) -> Chat:
    assert chat.conversation is not None  # the field stands above a conversation only
    page.facade.rename_conversation(chat.conversation, str(sent["value"]))
    return replace(chat, title=page.facade.conversation(chat.conversation).title)


def _upload(page: Page, chat: Chat, sent: Mapping[str, Any]) -> Chat:
    dataset = acts.take_upload(page.facade, sent)
    return moves.opened(chat, page.facade.begin_set(dataset))


ACTS: Mapping[str, Callable[[Page, Chat, Mapping[str, Any]], Chat]] = {
    "pane": lambda _, chat, sent: moves.set_pane(chat, int(sent["number"]), sent["value"]),
    "add-pane": lambda page, chat, _sent: moves.add_pane(
        chat, tuple(m.name for m in page.facade.chat_models())
    ),
    "remove-pane": lambda _, chat, sent: moves.remove_pane(chat, int(sent["number"])),
    "differences": lambda _, chat, sent: replace(chat, differences=bool(sent["value"])),
    "blind": lambda _, chat, sent: replace(chat, blind=bool(sent["value"])),
    "rename": _rename,
}
# What ends an answer that still comes.
LEAVING: Mapping[str, Callable[[Page, Chat, Mapping[str, Any]], Chat]] = {
    "open": lambda page, chat, sent: moves.opened(chat, page.facade.conversation(int(sent["id"]))),
    "new": lambda _, chat, _sent: moves.begin(chat),
    "delete": _delete,
    "upload": _upload,
    "upload-failed": lambda _, _chat, sent: acts.refuse_upload(sent),
}
