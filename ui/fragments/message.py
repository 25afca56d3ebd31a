"""Messages: what happened and what to do, floating (notice) or in place (card)."""

from __future__ import annotations

from itertools import count

from markupsafe import Markup

from ui.fragments.html import h
from ui.fragments.icons import icon
from ui.fragments.text import Text

_numbers = count(1)


def notice(text: Text, cause: str, remedy: str) -> Markup:
    """A floating message; the number makes an equal one appear anew."""
    return h(
        "div",
        h("span", icon("bad"), class_="tone"),
        h("div", h("p", cause, class_="strong"), h("p", remedy, class_="quiet") if remedy else None),
        h(
            "button",
            icon("close", 16),
            class_="icon-button",
            data_act="dismiss",
            aria_label=text("screen.dismiss"),
        ),
        class_="notice bad",
        role="alert",
        data_number=next(_numbers),
    )


def card(tone: str, title: str, *lines: object, symbol: str | None = None) -> Markup:
    """A message in the flow of the page. `tone`: good, wait, bad or plain."""
    return h(
        "div",
        h(
            "span",
            icon(symbol or {"good": "done", "wait": "wait", "bad": "bad"}.get(tone, "wait")),
            class_="tone",
        ),
        h("div", h("p", title, class_="strong"), [h("p", line, class_="quiet") for line in lines if line]),
        class_=f"message {tone}",
        role="alert" if tone == "bad" else None,
    )


def loading(text: Text) -> Markup:
    """Until the first answer; it shows itself only after 300 ms, so that a quick one doesn't flicker."""
    return h(
        "div", h("span", class_="turning"), h("p", text("screen.loading")), class_="loading", role="status"
    )


def empty(title: str, line: str, button: Markup | None = None, symbol: str = "runs") -> Markup:
    """A view that has nothing to show yet: what it is for, and the one button that fills it."""
    return h(
        "div",
        h("span", icon(symbol, 28), class_="empty-mark"),
        h("h2", title),
        h("p", line, class_="quiet"),
        button,
        class_="empty",
    )
