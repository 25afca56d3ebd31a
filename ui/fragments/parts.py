"""Parts that several views use: state badges, meters, headline numbers, sparklines, headings."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from backend.api import LIVE_STATES, RunSummary
from ui.fragments.format import percent_text
from ui.fragments.html import classes, h, join
from ui.fragments.icons import icon
from ui.fragments.text import Text

# state -> (tone, icon): never colour alone, the word stands beside it
_STATES = {
    "queued": ("wait", "wait"),
    "running": ("live", "play"),
    "paused": ("wait", "pause"),
    "stopping": ("wait", "stop"),
    "done": ("good", "done"),
    "stopped": ("plain", "stop"),
    "failed": ("bad", "bad"),
    "interrupted": ("bad", "bad"),
}
_FITS = {"yes": ("good", "done"), "tight": ("wait", "wait"), "no": ("bad", "bad")}


def heading(title: str, line: str | None = None, *, large: bool = False) -> Markup:
    return h(
        "header",
        h("h1" if large else "h2", title),
        h("p", line, class_="lead") if line else None,
        class_="heading",
    )


def badge(tone: str, symbol: str | None, words: str) -> Markup:
    return h("span", icon(symbol, 14) if symbol else None, words, class_=f"badge {tone}")


def state_badge(text: Text, run: RunSummary) -> Markup:
    """A live run whose heartbeat is old keeps its state and is said to be silent; a starting one is not."""
    tone, symbol = _STATES[run.state]
    starting = run.steps == 0 and run.phase in (None, "starting")
    quiet = run.state in LIVE_STATES and not run.answering and not starting
    return join(
        badge(tone, symbol, text(f"state.{run.state}")),
        badge("wait", "wait", text("run.not_answering")) if quiet else None,
    )


def fits_badge(text: Text, fits: str | None, method: str | None = None) -> Markup:
    """`method`: the title of the one that it fits with, where it is not the usual one."""
    tone, symbol = _FITS.get(fits or "", ("plain", None))
    words = text(f"fits.{fits}.with", method=method) if fits and method else text(f"fits.{fits or 'unknown'}")
    return badge(tone, symbol, words)


def meter(share: float | None, label: str, *, tone: str = "accent") -> Markup:
    """A bar; None shows that something goes on without saying how far."""
    known = None if share is None else max(0.0, min(1.0, share))
    return h(
        "div",
        h("i", style=None if known is None else f"width:{100 * known:.1f}%"),
        class_=classes("meter", tone, None if known is not None else "unknown"),
        role="progressbar",
        aria_label=label,
        aria_valuemin="0",
        aria_valuemax="100",
        aria_valuenow=None if known is None else f"{100 * known:.0f}",
        aria_valuetext=None if known is None else percent_text(known),
    )


def numbers(items: Sequence[tuple[str, object, str | None]]) -> Markup:
    """Headline numbers: (label, value, line below). Their places are fixed, so nothing jumps as they come."""
    return h(
        "dl",
        [
            h("div", h("dt", label), h("dd", value), h("dd", below or Markup("&nbsp;"), class_="below"))
            for label, value, below in items
        ],
        class_="numbers",
    )


def sparkline(
    values: Sequence[float | None],
    *,
    width: int = 96,
    height: int = 24,
    tone: str = "tuned",
    top: float | None = None,
    places: int | None = None,
) -> Markup:
    """A small curve without axes; its numbers stand in words beside it.

    `top` fixes the scale to 0..top; `places` is the number of points that fill the width (the curve then
    grows from the right).
    """
    points = [(i, v) for i, v in enumerate(values) if v is not None]
    if len(points) < 2:
        return h("span", class_="spark", style=f"width:{width}px;height:{height}px")
    low, high = (min(v for _, v in points), max(v for _, v in points)) if top is None else (0.0, top)
    span = (high - low) or 1.0
    last = points[-1][0] or 1
    slots = max(last, (places or 0) - 1)
    path = " ".join(
        f"{2 + (width - 4) * (slots - last + i) / slots:.1f},{2 + (height - 4) * (high - v) / span:.1f}"
        for i, v in points
    )
    return Markup(
        f'<svg class="spark {tone}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'preserveAspectRatio="none" aria-hidden="true"><polyline vector-effect="non-scaling-stroke" '
        f'points="{path}" fill="none" stroke="currentColor" stroke-width="1.6" stroke-linejoin="round" '
        'stroke-linecap="round"/></svg>'
    )


def button(
    label: str,
    act: str | None = None,
    *,
    kind: str = "",
    symbol: str | None = None,
    after: bool = False,
    **more: object,
) -> Markup:
    """`kind`: primary (one per screen), quiet, danger, or none. `symbol` before the label, or `after` it."""
    sign = icon(symbol, 18) if symbol else None
    return h(
        "button",
        None if after else sign,
        h("span", label),
        sign if after else None,
        class_=classes("button", kind),
        data_act=act,
        type="button",
        **more,
    )


def data_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """A plain table, for what a chart shows and for settings."""
    return h(
        "div",
        h(
            "table",
            h("caption", caption, class_="unseen"),
            h("thead", h("tr", [h("th", c, scope="col") for c in head])),
            h("tbody", [h("tr", [h("td", c) for c in row]) for row in rows]),
        ),
        class_="table",
    )


def fold(title: str, *inside: object, open_: bool = False, id: str | None = None) -> Markup:
    return h(
        "details", h("summary", icon("next", 16), title), h("div", *inside, class_="fold"), open=open_, id=id
    )


def model_field(text: Text, key: str, id: str, value: str = "") -> Markup:
    """A label and a line for a model's name or folder, with its button; the words stand under `key`."""
    return join(
        h("label", text(key), for_=id, class_="label"),
        h(
            "div",
            h(
                "input",
                id=id,
                type="text",
                value=value,
                placeholder=text(f"{key}.placeholder"),
                data_model_name=True,
                data_enter="model-own",
                autocomplete="off",
                spellcheck="false",
            ),
            button(text(f"{key}.button"), "model-own", data_busy=""),
            class_="joined",
        ),
    )
