"""A prompt set: the file to drop, and the table of what every pane said to every prompt."""

from __future__ import annotations

from markupsafe import Markup

from backend.api.chat import Turn
from ui.chat import Chat
from ui.differences import against_first
from ui.fragments.answer import Told, answer
from ui.fragments.html import h
from ui.fragments.icons import icon
from ui.fragments.parts import button, fold
from ui.fragments.text import Text


def drop_zone(text: Text) -> Markup:
    return fold(
        text("set.title"),
        h(
            "div",
            h("span", icon("upload", 28), class_="empty-mark"),
            h("p", text("set.drop"), class_="strong"),
            h("p", text("set.drop.help"), class_="quiet"),
            button(text("set.pick"), None, kind="small", data_do="pick"),
            h("input", type="file", class_="unseen", tabindex="-1", aria_label=text("set.pick")),
            h("p", text("data.uploading"), class_="busy-note"),
            class_="drop",
            data_drop=True,
        ),
    )


def table(text: Text, chat: Chat, told: Told) -> Markup:
    """A prompt a row, a pane a column; prompts that wait are listed without answers."""
    rows = [_row(text, chat, number, turn, told) for number, turn in enumerate(chat.turns, 1)]
    waiting = [_waiting(number, prompt) for number, prompt in enumerate(chat.waiting, len(chat.turns) + 1)]
    return h("ol", rows, waiting, class_="set-table", aria_label=chat.title)


def _row(text: Text, chat: Chat, number: int, turn: Turn, told: Told) -> Markup:
    count = len(turn.answers)
    texts = [said.text for said in turn.answers]
    pieces = against_first(texts) if chat.differences and count > 1 else [None] * count
    return h(
        "li",
        h("p", h("span", number, class_="row-number"), h("span", turn.prompt), class_="set-prompt"),
        h(
            "div",
            [answer(text, turn, place, pieces[place], told, compact=True) for place in range(count)],
            class_=f"columns count-{count}",
        ),
        h("p", " ".join(told(turn.error)), class_="problem") if turn.error else None,
    )


def _waiting(number: int, prompt: str) -> Markup:
    return h(
        "li",
        h("p", h("span", number, class_="row-number"), h("span", prompt), class_="set-prompt"),
        class_="waits",
    )
