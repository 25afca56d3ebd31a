"""Live views: a timer looks at the store's version, and only a moved one redraws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from ui.page import Page
from ui.view import HIDDEN

SECONDS = 1.0


def timer() -> gr.Timer:
    """Off until its tab is open: Gradio's timers tick on after their tab was left."""
    return gr.Timer(SECONDS, active=False)


def follow(
    page: Page, ticker: gr.Timer, redraw: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]
) -> None:
    """Redraw with `redraw(*inputs)` whenever the store moved.

    The tick goes through the queue without a concurrency limit: without the queue its output never fires
    `change`, and with a limit several open pages slow each other down.
    """
    seen = gr.State(-1)

    def look(last: int) -> Any:
        now = page.facade.version()
        return gr.skip() if now == last else now

    ticker.tick(look, inputs=[seen], outputs=[seen], **HIDDEN)
    seen.change(page.handler(redraw), inputs=list(inputs), outputs=list(outputs), **HIDDEN)
