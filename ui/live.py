"""Live views: a timer looks at the store's version, and only a moved one redraws the tab that is open.

Numbers follow every look. Charts cost a page on a busy machine far more, so they follow every `FULL_EVERY`-th
look, and once more when nothing moves any longer.

The page has one timer, always on, and each tick brings the page's address: which tab is open is the page's
own business, and an answer that comes late (that to the page's first question, after a quick click on another
tab) would switch the timers of tabs wrongly, for as long as the tab stays open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio as gr

from ui.view import HIDDEN

if TYPE_CHECKING:
    from ui.page import Page

SECONDS = 1.0
FULL_EVERY = 4
EAGER_LOOKS = 8  # at first everything follows at once: a person waits for the first point


class Seen(NamedTuple):
    """What a page has drawn: the store's version, how many looks found it moved, whether all was drawn, and
    what the person had chosen (`of`, a hash): what was drawn beside their act may be of the choice before."""

    version: int = -1
    looks: int = 0
    full: bool = True
    of: int = 0


def moved(seen: Seen, version: int, of: int = 0) -> Seen | None:
    """What to draw now; None: the page shows all there is."""
    if (version, of) != (seen.version, seen.of):
        looks = seen.looks + 1
        return Seen(version, looks, looks <= EAGER_LOOKS or looks % FULL_EVERY == 0, of)
    return None if seen.full else Seen(version, seen.looks, True, of)


Look = Callable[[Seen, Sequence[Any]], Seen | None]


def every(seconds: float) -> Look:
    """A look that finds all moved every so many seconds, for what is not in the store."""

    def by_the_clock(seen: Seen, _: Sequence[Any]) -> Seen | None:
        now = int(time.monotonic() / seconds)
        return None if now == seen.version else Seen(now)

    return by_the_clock


@dataclass(frozen=True)
class Followed:
    """A tab's live view. `seen`: what the page shows of it; `inputs`: states that say what is chosen."""

    tab: str
    seen: gr.State
    inputs: tuple[gr.State, ...]
    look: Look


def follow(
    page: Page,
    tab: str,
    redraw: Callable[..., Any],
    inputs: Sequence[gr.State],
    outputs: Sequence[Any],
    look: Look | None = None,
) -> None:
    """While the tab is open, redraw with `redraw(full, *inputs)` whenever `look` says so; without one, when
    the store moved."""
    seen = gr.State(Seen())

    def at_the_store(drawn: Seen, chosen: Sequence[Any]) -> Seen | None:
        return moved(drawn, page.facade.version(), hash(repr(chosen)))

    page.followed.append(Followed(tab, seen, tuple(inputs), look or at_the_store))

    def draw(drawn: Sequence[Any], *values: Any) -> Any:
        return redraw(Seen(*drawn).full, *values)

    seen.change(page.handler(draw), inputs=[seen, *inputs], outputs=list(outputs), **HIDDEN)


def tick(page: Page, open_tab: Callable[[str], str], js: str) -> None:
    """Start the page's timer. `open_tab` names the tab of an address, which `js` brings.

    The tick goes through the queue without a concurrency limit: without the queue its output never fires
    `change`, and with a limit several open pages slow each other down.
    """
    seens = [each.seen for each in page.followed]
    inputs = [state for each in page.followed for state in (each.seen, *each.inputs)]

    def looked(query: str, *values: Any) -> Any:
        left = iter(values)
        for each in page.followed:
            seen, *chosen = [next(left) for _ in range(1 + len(each.inputs))]
            if each.tab == open_tab(query):
                return {each.seen: each.look(Seen(*seen), chosen) or gr.skip()}
        return {seens[0]: gr.skip()}

    timer = gr.Timer(SECONDS)
    timer.tick(looked, inputs=[page.query, *inputs], js=js, outputs=seens, **HIDDEN)
