"""A view: HTML from the server that sends back what the person does in it as one event, `act`.

`studio.js` turns a click on `<button data-act="model" data-name="starter">`, a changed field with `data-
act`, a file or typed rows into `{"act": "model", "name": "starter"}`. So a screen of a hundred controls is
one Gradio component, which keeps the page light: start-up and the first click depend on the number of
components.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

_BIND = (
    "(window.studioWaiting ||= []).push([element, (name, data) => name === 'send' ? trigger('send', data)"
    " : name === 'halt' ? trigger('halt', data) : trigger('act', data), upload])"
)


def view(value: str = "", *, id: str | None = None, classes: str = "") -> gr.HTML:
    """A view; attach its handler with `.act(...)` (also `.send(...)` and `.halt(...)` for a chat)."""
    return gr.HTML(
        value,
        elem_id=id,
        elem_classes=["view", *classes.split()],
        js_on_load=_BIND,
        apply_default_css=False,
        padding=False,
    )


def act_data(event: gr.EventData) -> dict[str, Any]:
    """What the page sent: the element's data-* attributes and, for a field, its `value`."""
    return dict(event._data or {})


# For every handler: no grey veil over what it redraws, no limit on how many pages ask at once, no public API.
HIDDEN: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
