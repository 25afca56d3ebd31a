"""The chat as a part: Home's last step and the playground both have one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import gradio as gr

from studio.errors import StudioError
from ui import chat as moves
from ui.chat import Chat
from ui.fragments import chat as draw
from ui.page import Page, Updates
from ui.view import HIDDEN, act_data, view

REDRAW_SECONDS = 0.06  # streamed pieces come faster than an eye can follow


@dataclass(frozen=True)
class ChatPanel:
    """Conversation, the box to type in, sampling folded below."""

    state: gr.State
    talk: gr.HTML
    box: gr.HTML
    sampling: gr.HTML


def build(name: str) -> ChatPanel:
    with gr.Column(elem_classes="chat-panel"):
        talk = view(id=f"{name}-talk", classes="talk")
        box = view(id=f"{name}-box", classes="box")
        sampling = view(id=f"{name}-sampling")
    return ChatPanel(gr.State(Chat()), talk, box, sampling)


def outputs(panel: ChatPanel) -> list[object]:
    """What `choose` may change."""
    return [panel.state, panel.talk, panel.box, panel.sampling]


def choose(page: Page, panel: ChatPanel, model: str, goal: str | None = None) -> Updates:
    """An empty conversation with this model."""
    chat = Chat(model=model)
    return {
        panel.state: chat,
        panel.sampling: draw.sampling(page.text, chat.sampling),
        **_drawn(page, panel, chat, goal),
    }


def clear(page: Page, panel: ChatPanel, chat: Chat) -> Updates:
    """The conversation begun anew: same model, same sampling."""
    chat = replace(chat, turns=(), busy=False)
    return {panel.state: chat, **_drawn(page, panel, chat)}


def _drawn(page: Page, panel: ChatPanel, chat: Chat, goal: str | None = None) -> Updates:
    titles = {
        s: page.text(f"chat.side.{s}", name=(chat.model or "").removeprefix("run:")) for s in chat.sides
    }
    suggestions = [page.text(f"chat.try.{goal or 'any'}.{i}") for i in (1, 2, 3)]
    return {
        panel.talk: draw.conversation(page.text, chat.turns, titles, suggestions),
        panel.box: draw.composer(page.text, busy=chat.busy, ready=chat.model is not None),
    }


def wire(panel: ChatPanel, page: Page) -> list[Any]:
    """Send streams both answers; stop keeps what came; sampling counts from the next prompt.

    Gives the events that stream, so that what ends the conversation can cancel them.
    """

    def send(chat: Chat, event: gr.EventData) -> Iterator[Updates]:
        prompt = str(act_data(event).get("value", "")).strip()
        if not prompt or chat.model is None or chat.busy:
            yield {panel.state: gr.skip()}
            return
        chat = moves.ask(chat, prompt)
        yield {panel.state: chat, **_drawn(page, panel, chat)}
        drawn = monotonic()
        try:
            for delta in page.facade.chat(moves.request(chat)):
                chat = moves.add(chat, delta)
                if monotonic() - drawn > REDRAW_SECONDS or delta.done:
                    yield {panel.state: chat, panel.talk: _drawn(page, panel, chat)[panel.talk]}
                    drawn = monotonic()
            chat = moves.end(chat)
        except StudioError as error:
            chat = moves.fail(chat, *page.words.error(error))
        yield {panel.state: chat, **_drawn(page, panel, chat)}

    def halt(chat: Chat) -> Updates:
        chat = moves.end(chat)
        return {panel.state: chat, **_drawn(page, panel, chat)}

    def sampling(chat: Chat, event: gr.EventData) -> Updates:
        data = act_data(event)
        chat = moves.set_sampling(chat, data["key"], data["value"])
        return {panel.state: chat, panel.sampling: draw.sampling(page.text, chat.sampling)}

    shown = [panel.state, panel.talk, panel.box, page.notice]
    sending = [
        source.send(page.handler(send), inputs=[panel.state], outputs=shown, **HIDDEN)
        for source in (panel.box, panel.talk)
    ]
    panel.box.halt(page.handler(halt), inputs=[panel.state], outputs=shown, cancels=sending, **HIDDEN)
    panel.sampling.act(
        page.handler(sampling),
        inputs=[panel.state],
        outputs=[panel.state, panel.sampling, page.notice],
        **HIDDEN,
    )
    return sending
