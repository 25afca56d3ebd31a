"""A conversation: every question with its answers in columns, left to right as they were put."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from backend.api.chat import BAD, TIE, Turn
from ui.chat import Chat, answered, comparable, revealed
from ui.differences import against_first
from ui.fragments import message
from ui.fragments.answer import Told, answer
from ui.fragments.html import h
from ui.fragments.icons import icon
from ui.fragments.parts import button
from ui.fragments.text import Text


def conversation(text: Text, chat: Chat, told: Told, suggestions: Sequence[str] = ()) -> Markup:
    """The branch that shows; with nothing said yet, prompts to begin with."""
    if not chat.path:
        return _empty(text, suggestions, chat.blind)
    return h(
        "div",
        [_turn(text, chat, turn, told) for turn in chat.path],
        class_="conversation",
        aria_live="polite",
    )


def _empty(text: Text, suggestions: Sequence[str], blind: bool) -> Markup:
    send = {"type": "button", "class_": "suggestion", "data_event": "send", "data_act": "suggestion"}
    return h(
        "div",
        h("h2", text("chat.empty.title")),
        h("p", text("chat.empty.blind" if blind else "chat.empty.line"), class_="quiet"),
        h("div", [h("button", s, data_value=s, **send) for s in suggestions], class_="suggestions"),
        class_="chat-empty",
    )


def _turn(text: Text, chat: Chat, turn: Turn, told: Told) -> Markup:
    count = len(turn.answers)
    failed = any(said.error for said in turn.answers)
    compared = chat.differences and count > 1 and answered(turn) and not failed
    pieces = (
        against_first([turn.answers[pane].text for pane in turn.setup.shown]) if compared else [None] * count
    )
    return h(
        "div",
        _edit(text, turn) if chat.editing == turn.id else _asked(text, chat, turn),
        h(
            "div",
            [answer(text, turn, place, pieces[place], told, compact=False) for place in range(count)],
            class_=f"columns count-{count}",
        ),
        message.card("bad", *told(turn.error)) if turn.error else None,
        _votes(text, turn) if comparable(turn) and answered(turn) and not turn.error else None,
        class_="turn",
    )


def _asked(text: Text, chat: Chat, turn: Turn) -> Markup:
    beside = chat.siblings(turn)
    place = beside.index(turn)
    tools = (
        []
        if chat.busy
        else [
            _tool(text("chat.edit"), "edit", turn, "edit"),
            _tool(text("chat.again"), "again", turn, "again", data_event="send"),
        ]
    )
    arrows = [
        _tool(text("chat.earlier"), "back", turn, "walk", data_step="-1", disabled=place == 0),
        h("span", text("chat.place", place=place + 1, count=len(beside)), class_="quiet"),
        _tool(text("chat.later"), "next", turn, "walk", data_step="1", disabled=place + 1 == len(beside)),
    ]
    return h(
        "div",
        h("p", turn.prompt, class_="said"),
        h("div", arrows if len(beside) > 1 and not chat.busy else None, tools, class_="line said-tools"),
        class_="asked",
    )


def _tool(label: str, symbol: str, turn: Turn, act: str, **more: object) -> Markup:
    return h(
        "button",
        icon(symbol, 16),
        type="button",
        class_="icon-button",
        data_act=act,
        data_turn=turn.id,
        aria_label=label,
        title=label,
        **more,
    )


def _edit(text: Text, turn: Turn) -> Markup:
    """The question as a box: what it was stays, on a branch of its own."""
    return h(
        "div",
        h("textarea", turn.prompt, rows="2", data_prompt=True, aria_label=text("chat.edit")),
        h(
            "div",
            button(text("chat.edit.cancel"), "edit-cancel", kind="quiet small"),
            button(text("chat.edit.ask"), "send", kind="small", data_event="send", data_turn=turn.id),
            class_="line",
        ),
        class_="asked edit",
    )


def _votes(text: Text, turn: Turn) -> Markup:
    """Which answer is best: places from the left, so that a blind vote gives nothing away."""
    count = len(turn.answers)
    places = ["left", "right"] if count == 2 else [str(n + 1) for n in range(count)]
    choices = [
        (str(turn.setup.shown[n]), str(n), text(f"chat.vote.{place}"))
        for n, place in enumerate(places)
        if turn.answers[turn.setup.shown[n]].error is None
    ]
    choices[1:1] = (
        [(TIE, TIE, text("chat.vote.tie")), (BAD, BAD, text("chat.vote.bad"))] if count == 2 else []
    )
    if count > 2:
        choices += [(TIE, TIE, text("chat.vote.tie")), (BAD, BAD, text("chat.vote.bad"))]
    return h(
        "div",
        [
            h(
                "button",
                icon("done", 14) if turn.vote == choice else None,
                words,
                type="button",
                data_act="vote",
                data_turn=turn.id,
                data_choice=sent,
                aria_pressed="true" if turn.vote == choice else "false",
                disabled=turn.setup.blind and turn.vote is not None,
            )
            for choice, sent, words in choices
        ],
        None if revealed(turn) else h("p", text("chat.vote.blind"), class_="quiet"),
        class_="votes",
        role="group",
        aria_label=text("chat.vote"),
    )
