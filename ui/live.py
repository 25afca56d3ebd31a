"""Live views: a timer looks at the store's version, and only a moved one redraws.

Numbers follow every look. Charts cost a page on a busy machine far more, so they follow every `FULL_EVERY`-th
look, and once more when nothing moves any longer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gradio as gr

from ui.page import Page
from ui.view import HIDDEN

SECONDS = 1.0
FULL_EVERY = 4
EAGER_LOOKS = 8  # at first everything follows at once: a person waits for the first point


class Seen(NamedTuple):
    """What a page has drawn: the store's version, how many looks found it moved, whether all was drawn."""

    version: int = -1
    looks: int = 0
    full: bool = True


def look(seen: Seen, version: int) -> Seen | None:
    """What to draw now; None: the page shows all there is."""
    if version != seen.version:
        looks = seen.looks + 1
        return Seen(version, looks, looks <= EAGER_LOOKS or looks % FULL_EVERY == 0)
    return None if seen.full else Seen(version, seen.looks, True)


def timer() -> gr.Timer:
    """Off until its tab is open: Gradio's timers tick on after their tab was left."""
    return gr.Timer(SECONDS, active=False)


def follow(
    page: Page, ticker: gr.Timer, redraw: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]
) -> None:
    """Redraw with `redraw(full, *inputs)` whenever the store moved.

    The tick goes through the queue without a concurrency limit: without the queue its output never fires
    `change`, and with a limit several open pages slow each other down.
    """
    state = gr.State(Seen())

    def tick(seen: Sequence[Any]) -> Any:
        return look(Seen(*seen), page.facade.version()) or gr.skip()

    def draw(seen: Sequence[Any], *values: Any) -> Any:
        return redraw(Seen(*seen).full, *values)

    ticker.tick(tick, inputs=[state], outputs=[state], **HIDDEN)
    state.change(page.handler(draw), inputs=[state, *inputs], outputs=list(outputs), **HIDDEN)
