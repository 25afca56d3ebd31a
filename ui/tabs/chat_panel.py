"""The chat as a part: Home's last step and the playground both have one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import gradio as gr
from markupsafe import Markup

from backend.api.chat import Setup
from studio.errors import StudioError
from ui import chat as moves
from ui.chat import Chat
from ui.fragments import chat as draw
from ui.fragments import compose, prompt_set
from ui.page import Page, Updates
from ui.view import HIDDEN, act_data, view

REDRAW_SECONDS = 0.06  # streamed pieces come faster than an eye can follow
_LAST_WORD_SECONDS = 5.0  # within which an answer that was stopped has drawn its end
Beside = Callable[[Chat], Updates]


@dataclass
class Speaking:
    """What answers on one page now. It changes under the running answer, which alone draws until its end;
    Gradio's `cancels=` would draw beside it, and the act that cancels may be lost with it."""

    turn: int | None = None
    stopped: bool = False
    ended: threading.Event | None = None  # none before the first question

    def silence(self, page: Page) -> bool:
        """Stop what answers; gives whether its end has been drawn."""
        self.stopped = True
        if self.turn is not None:
            page.facade.stop_answer(self.turn)
        return self.ended is not None and self.ended.wait(_LAST_WORD_SECONDS)


@dataclass(frozen=True)
class ChatPanel:
    """Conversation, the box to type in, sampling folded below. `name` makes the ids of its parts its own."""

    name: str
    state: gr.State
    speaking: gr.State
    talk: gr.HTML
    box: gr.HTML
    sampling: gr.HTML


def build(name: str) -> ChatPanel:
    with gr.Column(elem_classes="chat-panel"):
        talk = view(id=f"{name}-talk", classes="talk")
        box = view(id=f"{name}-box", classes="box")
        sampling = view(id=f"{name}-sampling")
    return ChatPanel(name, gr.State(Chat()), gr.State(Speaking()), talk, box, sampling)


def outputs(panel: ChatPanel) -> list[Any]:
    """What `shown` may change."""
    return [panel.state, panel.talk, panel.box, panel.sampling]


def shown(page: Page, panel: ChatPanel, chat: Chat, goal: str | None = None) -> Updates:
    """The whole panel with this conversation."""
    return {
        panel.sampling: compose.sampling(page.text, chat, panel.name),
        **_drawn(page, panel, chat, goal),
    }


def looked_at(page: Page, panel: ChatPanel, chat: Chat) -> Updates:
    """The conversation in another light: what is half typed below it stays."""
    return {panel.state: chat, panel.talk: _talk(page, chat)}


def _drawn(page: Page, panel: ChatPanel, chat: Chat, goal: str | None = None) -> Updates:
    return {
        panel.state: chat,
        panel.talk: _talk(page, chat, goal),
        panel.box: compose.composer(page.text, chat),
    }


def _talk(page: Page, chat: Chat, goal: str | None = None) -> Markup:
    def told(error: Mapping[str, Any]) -> tuple[str, str]:
        return page.words.error(StudioError.from_dict(error))

    if chat.prompts:
        return prompt_set.table(page.text, chat, told)
    suggestions = [page.text(f"chat.try.{goal or 'any'}.{i}") for i in (1, 2, 3)]
    return draw.conversation(page.text, chat, told, suggestions)


def wire(
    panel: ChatPanel, page: Page, beside: Beside = lambda _: {}, beside_outputs: Sequence[Any] = ()
) -> None:
    """Send streams all answers; stop keeps what came; the rest is one act each.

    `beside`: what else of the tab follows when a question was kept and when it is answered.
    """

    def send(chat: Chat, speaking: Speaking, event: gr.EventData) -> Iterator[Updates]:
        sent = act_data(event)
        if chat.busy or not chat.panes:
            yield {panel.state: gr.skip()}
            return
        speaking.turn, speaking.stopped, speaking.ended = None, False, threading.Event()
        try:
            for said in _said(page, chat, speaking, sent):
                yield _redrawn(page, panel, said, beside)
        finally:
            speaking.ended.set()

    def halt(chat: Chat, speaking: Speaking) -> Updates:
        if speaking.silence(page):
            return {panel.state: gr.skip()}
        return _drawn(page, panel, moves.end(chat))

    def act(chat: Chat, event: gr.EventData) -> Updates:
        sent = act_data(event)
        if chat.busy:  # the answer that comes has the conversation as it was: a change would be lost
            return {panel.state: gr.skip()}
        chat = ACTS[sent["act"]](page, chat, sent)
        updates = looked_at(page, panel, chat) | beside(chat)
        if sent["act"] in ("sampling", "preset", "system"):
            updates[panel.sampling] = compose.sampling(page.text, chat, panel.name, open_=True)
        return updates

    changed = [*outputs(panel), *beside_outputs, page.notice]
    both = [panel.state, panel.speaking]
    for source in (panel.box, panel.talk):
        source.send(page.handler(send), inputs=both, outputs=changed, **HIDDEN)
    panel.box.halt(page.handler(halt), inputs=both, outputs=changed, **HIDDEN)
    for source in (panel.talk, panel.sampling):
        source.act(page.handler(act), inputs=[panel.state], outputs=changed, **HIDDEN)


def _said(page: Page, chat: Chat, speaking: Speaking, sent: Mapping[str, Any]) -> Iterator[Chat]:
    """The conversation as what was sent is answered: a question, or all of a set that were not asked yet."""
    going_on = sent["act"] == "set-go"
    for prompt in chat.waiting if going_on else [None]:
        asked = _question(chat, sent) if prompt is None else (None, prompt, moves.setup(chat))
        for state in _answered(page, chat, speaking, *asked):
            more = going_on and bool(state.waiting) and not moves.unanswered(state.turns[-1])
            chat = replace(state, busy=state.busy or more)
            yield chat
        if speaking.stopped or (chat.turns and moves.unanswered(chat.turns[-1])):
            break
    if chat.busy:  # stopped between two questions
        yield moves.end(chat)


def _question(chat: Chat, sent: Mapping[str, Any]) -> tuple[int | None, str, Setup]:
    """(the turn it follows, the prompt, how it is put) of a new, a changed, or a repeated question."""
    if sent["act"] == "again":
        turn = chat.turn(int(sent["turn"]))
        return turn.parent, turn.prompt, moves.setup_again(chat, turn)
    prompt = str(sent.get("value", "")).strip()
    parent = chat.turn(int(sent["turn"])).parent if "turn" in sent else chat.at
    return parent, prompt, moves.setup(chat)


def _answered(
    page: Page, chat: Chat, speaking: Speaking, parent: int | None, prompt: str, setup: Setup
) -> Iterator[Chat]:
    """The conversation as this question is put and answered: first with it, last with all of its answers."""
    if not prompt:
        return
    turn = page.facade.ask(chat.conversation, parent, prompt, setup)
    chat = moves.asked(chat, turn)
    speaking.turn = turn.id
    yield chat
    if speaking.stopped:  # before this question was known
        page.facade.stop_answer(turn.id)
    drawn = monotonic()
    try:
        for delta in page.facade.answer(turn.id):
            chat = moves.add(chat, delta)
            if monotonic() - drawn > REDRAW_SECONDS or delta.done:
                yield chat
                drawn = monotonic()
        chat = moves.end(chat)
    except StudioError as error:
        chat = moves.fail(chat, error.as_dict())
    yield chat


def _redrawn(page: Page, panel: ChatPanel, chat: Chat, beside: Beside) -> Updates:
    """While answers come only they are drawn: what a person types meanwhile stays."""
    begins = not any(answer.text or answer.done for answer in chat.turns[-1].answers)
    if begins or not chat.busy:
        return _drawn(page, panel, chat) | beside(chat)
    return looked_at(page, panel, chat)


def _vote(page: Page, chat: Chat, sent: Mapping[str, Any]) -> Chat:
    """A place is voted for; who stands there may not be known yet. The same vote again takes it back, but one
    that was cast blind stands: the person has seen who it was."""
    turn = chat.turn(int(sent["turn"]))
    if turn.setup.blind and turn.vote is not None:
        return chat
    choice: str | None = sent["choice"]
    if choice is not None and choice.isdecimal():
        choice = str(turn.setup.shown[int(choice)])
    if choice == turn.vote:
        choice = None
    page.facade.vote(turn.id, choice)
    return moves.voted(chat, turn.id, choice)


def _keep(page: Page, chat: Chat, sent: Mapping[str, Any]) -> Chat:
    turn = chat.turn(int(sent["turn"]))
    pane = turn.setup.shown[int(sent["place"])]
    keep = not turn.answers[pane].kept
    page.facade.keep_answer(turn.id, pane, keep)
    return moves.kept(chat, turn.id, pane, keep)


ACTS: Mapping[str, Callable[[Page, Chat, Mapping[str, Any]], Chat]] = {
    "vote": _vote,
    "keep": _keep,
    "edit": lambda _, chat, sent: replace(chat, editing=int(sent["turn"])),
    "edit-cancel": lambda _, chat, _sent: replace(chat, editing=None),
    "walk": lambda _, chat, sent: moves.walk(chat, int(sent["turn"]), int(sent["step"])),
    "sampling": lambda _, chat, sent: moves.set_sampling(chat, sent["key"], sent["value"]),
    "preset": lambda _, chat, sent: moves.set_preset(chat, sent["name"]),
    "system": lambda _, chat, sent: replace(chat, system=str(sent["value"])),
}
