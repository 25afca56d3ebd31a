"""The frame of the page: the rail with the tabs, and the banner for a lost connection."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ui.fragments.html import h, join
from ui.fragments.icons import icon, mark
from ui.fragments.text import Text


def rail(text: Text, tabs: Sequence[str]) -> Markup:
    """Brand, one button per tab, light and dark. On a phone the buttons become a bar at the bottom."""
    buttons = [
        h("button", icon(name), h("span", text(f"tab.{name}")), data_go=name, class_="rail-tab")
        for name in tabs
    ]
    return join(
        h("a", text("screen.skip"), href="#tabs", class_="skip"),
        h(
            "div",
            h("div", mark(), h("span", text("screen.name")), class_="brand"),
            h("nav", buttons, aria_label=text("screen.nav")),
            h(
                "div",
                h("button", icon("sun"), h("span", text("screen.theme")), data_do="theme", class_="rail-tab"),
                h("p", text("screen.private"), class_="rail-note"),
                class_="rail-foot",
            ),
            class_="rail",
        ),
        h(
            "div",
            h("span", icon("bad"), class_="tone"),
            h("p", h("strong", text("screen.lost.message")), " ", text("screen.lost.remedy")),
            class_="lost-banner",
            role="status",
        ),
    )
