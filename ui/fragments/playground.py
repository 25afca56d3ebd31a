"""Around the conversation: who answers, the list of conversations, what was voted, what can be taken out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from urllib.parse import urlencode

from markupsafe import Markup

from backend.api.chat import MAX_PANES, ChatModel, ConversationInfo, PairVotes
from ui.chat import Chat
from ui.fragments.format import duration_text, percent_text
from ui.fragments.html import classes, h
from ui.fragments.icons import icon
from ui.fragments.parts import button
from ui.fragments.text import Text
from ui.fragments.who import grouped, model_label, tone

_SHORT = 8


def picker(text: Text, chat: Chat, models: Sequence[ChatModel]) -> Markup:
    """A choice per pane, and the two ways to look at answers."""
    groups = grouped(text, models)
    known = {m.name for m in models}
    return h(
        "div",
        h(
            "div",
            [_pane(text, chat, n, groups, known) for n in range(len(chat.panes))],
            _add(text, chat),
            class_="panes",
        ),
        h(
            "div",
            _switch("differences", text("chat.differences"), text("chat.differences.help"), chat.differences),
            _switch("blind", text("chat.blind"), text("chat.blind.help"), chat.blind),
            class_="line switches",
        ),
        class_="picker",
    )


def _pane(
    text: Text, chat: Chat, number: int, groups: list[tuple[str, list[tuple[str, str]]]], known: set[str]
) -> Markup:
    chosen = chat.panes[number]
    gone = [] if chosen in known else [h("option", model_label(text, chosen), value=chosen, selected=True)]
    return h(
        "div",
        h("span", class_="dot"),
        h(
            "span",
            h(
                "select",
                gone,
                [
                    h(
                        "optgroup",
                        [h("option", words, value=name, selected=name == chosen) for name, words in options],
                        label=group,
                    )
                    for group, options in groups
                ],
                data_act="pane",
                data_number=number,
                aria_label=text("chat.pane", number=number + 1),
            ),
            class_="select",
        ),
        h(
            "button",
            icon("close", 14),
            type="button",
            class_="icon-button",
            data_act="remove-pane",
            data_number=number,
            aria_label=text("chat.pane.remove", number=number + 1),
        )
        if len(chat.panes) > 1
        else None,
        class_=classes("pane-pick", tone(chat.panes, number)),
    )


def _add(text: Text, chat: Chat) -> Markup | None:
    if len(chat.panes) >= MAX_PANES:
        return None
    return button(text("chat.pane.add"), "add-pane", kind="quiet small", symbol="plus")


def _switch(act: str, label: str, help: str, on: bool) -> Markup:
    return h(
        "label",
        h("input", type="checkbox", data_act=act, checked=on),
        h("span", label),
        class_="switch",
        title=help,
    )


def bar(
    text: Text,
    chat: Chat,
    listed: Sequence[ConversationInfo],
    votes: Sequence[PairVotes],
    rows: tuple[str, int],
    search: str | None = None,
) -> Markup:
    """The line on top. `search`: what the list was searched for; the list is then open."""
    return h(
        "div",
        _drawer(
            text("talks.title"),
            "playground",
            _list(text, chat, listed, search or ""),
            open_=search is not None,
        ),
        h(
            "input",
            type="text",
            value=chat.title,
            class_="talk-title",
            data_act="rename",
            aria_label=text("talks.rename"),
        )
        if chat.conversation is not None
        else h("span", class_="grow"),
        button(text("talks.new"), "new", kind="small", symbol="plus", data_event="halt"),
        _drawer(text("votes.title"), "done", _votes(text, votes), side="right"),
        _drawer(text("export.title"), "upload", _exports(text, chat, rows), side="right"),
        class_="line play-bar",
    )


def _drawer(title: str, symbol: str, inside: Markup, *, side: str = "left", open_: bool = False) -> Markup:
    return h(
        "details",
        h("summary", icon(symbol, 16), h("span", title), class_="button small"),
        h("div", inside, class_="drawer-body"),
        class_=f"drawer {side}",
        open=open_,
    )


def _list(text: Text, chat: Chat, listed: Sequence[ConversationInfo], search: str) -> Markup:
    empty = text("talks.none_found", search=search) if search else text("talks.none")
    return h(
        "div",
        h(
            "input",
            type="text",
            value=search,
            placeholder=text("talks.search"),
            aria_label=text("talks.search"),
            data_act="search",
        ),
        h("ul", [_row(text, chat, info) for info in listed], class_="talk-list")
        if listed
        else h("p", empty, class_="quiet"),
    )


def _row(text: Text, chat: Chat, info: ConversationInfo) -> Markup:
    ago = text("talks.ago", ago=duration_text(max(0.0, time.time() - info.updated)))
    size = text("talks.set", prompts=info.prompts) if info.prompts else text("talks.turns", turns=info.turns)
    who = ", ".join(model_label(text, model) for model in info.models)
    return h(
        "li",
        h(
            "button",
            h("span", info.title, class_="strong"),
            h("span", " · ".join(part for part in (who, size, ago) if part), class_="quiet"),
            type="button",
            data_act="open",
            data_event="halt",
            data_id=info.id,
            aria_current="true" if info.id == chat.conversation else None,
        ),
        h(
            "button",
            icon("trash", 16),
            type="button",
            class_="icon-button",
            data_act="delete",
            data_event="halt",
            data_id=info.id,
            aria_label=text("talks.delete", title=info.title),
            data_confirm=text("talks.delete.sure", title=info.title),
            data_yes=text("talks.delete.yes"),
            data_keep=text("talks.delete.no"),
        ),
    )


def _votes(text: Text, votes: Sequence[PairVotes]) -> Markup:
    if not votes:
        return h("p", text("votes.none"), class_="quiet")
    return h("div", [_pair(text, pair) for pair in votes], h("p", text("votes.help"), class_="quiet"))


def _pair(text: Text, pair: PairVotes) -> Markup:
    """Who is preferred, how often, and a bar with the interval: its place is said in words beside it."""
    left, right = model_label(text, pair.left), model_label(text, pair.right)
    facts = text("votes.rest", ties=pair.ties, bad=pair.both_bad)
    if pair.share is None or pair.low is None or pair.high is None:
        return h(
            "div",
            h("p", text("votes.pair", left=left, right=right), class_="strong"),
            h("p", facts, class_="quiet"),
            class_="pair",
        )
    return h(
        "div",
        h("p", text("votes.pair", left=left, right=right), class_="strong", title=_hashes(pair)),
        h(
            "p",
            text(
                "votes.share",
                left=left,
                wins=pair.left_wins,
                count=pair.left_wins + pair.right_wins,
                share=percent_text(pair.share),
                low=percent_text(pair.low),
                high=percent_text(pair.high),
            ),
        ),
        h(
            "div",
            h("i", class_="half"),
            h("i", class_="span", style=f"left:{100 * pair.low:.1f}%;right:{100 - 100 * pair.high:.1f}%"),
            h("i", class_="point", style=f"left:{100 * pair.share:.1f}%"),
            class_="interval",
            aria_hidden="true",
        ),
        h("p", facts, class_="quiet"),
        class_="pair",
    )


def _hashes(pair: PairVotes) -> str:
    return f"{pair.left} {pair.left_hash[:_SHORT]}, {pair.right} {pair.right_hash[:_SHORT]}"


def _exports(text: Text, chat: Chat, rows: tuple[str, int]) -> Markup:
    dataset, count = rows
    forms = [("csv", text("export.csv")), ("jsonl", text("export.jsonl"))] if chat.prompts else []
    forms.append(("markdown", text("export.markdown")))
    panes = chat.turns[-1].setup.panes if chat.turns else ()
    forms += [
        (f"rows-{n}", text("export.rows", name=model_label(text, model))) for n, model in enumerate(panes)
    ]
    links = [
        h(
            "a",
            words,
            href=f"studio/conversation/{chat.conversation}/{form}",
            download=True,
            class_="export-link",
        )
        for form, words in forms
    ]
    return h(
        "div",
        h("div", links, class_="exports") if chat.turns else h("p", text("export.none"), class_="quiet"),
        h(
            "div",
            h("p", text("export.kept", rows=count), class_="quiet"),
            button(
                text("export.train"),
                None,
                kind="small",
                data_go="train",
                data_address=urlencode({"tab": "train", "dataset": dataset}),
            ),
            class_="line split kept-rows",
        )
        if count
        else None,
    )
