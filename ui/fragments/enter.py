"""The page for a browser that isn't in yet: how to get in."""

from __future__ import annotations

from ui.fragments.html import h, join
from ui.fragments.icons import mark
from ui.fragments.text import Text
from ui.look.css import stylesheet

_MODE = (
    "document.documentElement.dataset.theme ="
    " matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'"
)


def page(text: Text, *, password: bool, wrong: bool) -> str:
    """A whole document by itself: nothing else of the studio is served before a person is in."""
    form = (
        h(
            "form",
            h("label", text("enter.password"), for_="password", class_="label"),
            h(
                "input",
                id="password",
                name="password",
                type="password",
                autocomplete="current-password",
                autofocus=True,
                required=True,
            ),
            h("p", text("enter.wrong"), class_="help problem", role="alert") if wrong else None,
            h("button", text("enter.button"), type="submit", class_="button primary wide"),
            method="post",
            action="/studio/enter",
        )
        if password
        else None
    )
    ways = (
        None
        if password
        else join(
            h("p", text("enter.line")),
            h(
                "ol",
                h("li", text("enter.way.launch")),
                h("li", text("enter.way.again")),
                h("li", text("enter.way.ssh")),
            ),
            h("pre", h("code", "python launch.py")),
        )
    )
    body = h("main", mark(40), h("h1", text("enter.title")), ways, form, class_="enter")
    head = join(
        h("meta", charset="utf-8"),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("title", text("screen.name")),
    )
    return (
        f"<!doctype html><html lang='en'><head>{head}<style>{stylesheet()}</style><script>{_MODE}</script>"
        f"</head><body class='enter-body'>{body}</body></html>"
    )
