"""Below a conversation: the box to type in, and how the next word is drawn."""

from __future__ import annotations

from markupsafe import Markup

from ui.chat import PRESETS, Chat
from ui.fragments.format import setting_text
from ui.fragments.html import h
from ui.fragments.parts import button, fold, meter
from ui.fragments.text import Text

_SAMPLING = (
    ("temperature", "0", "2", "0.05"),
    ("top_p", "0.05", "1", "0.05"),
    ("max_tokens", "1", "4096", "1"),
    ("seed", "0", "2147483647", "1"),
)


def composer(text: Text, chat: Chat) -> Markup:
    """The box at the bottom: Enter sends, Shift and Enter begins a new line. A prompt set goes on instead."""
    if chat.prompts:
        return _set_going(text, chat)
    ready = bool(chat.panes)
    return h(
        "div",
        h(
            "textarea",
            rows="1",
            data_prompt=True,
            placeholder=text("chat.placeholder"),
            aria_label=text("chat.prompt"),
            disabled=not ready,
        ),
        _stop(text)
        if chat.busy
        else button(
            text("chat.send"), "send", kind="primary", symbol="send", data_event="send", disabled=not ready
        ),
        class_="composer",
    )


def _set_going(text: Text, chat: Chat) -> Markup:
    done, count = len(chat.turns) - chat.busy, len(chat.prompts)
    waiting = len(chat.waiting)
    label = text("set.progress", done=done, count=count)
    return h(
        "div",
        h("div", h("p", label), meter(done / count, label), class_="grow set-progress"),
        _stop(text)
        if chat.busy
        else button(
            text("set.go", waiting=waiting) if waiting else text("set.done"),
            "set-go",
            kind="primary",
            symbol="play" if waiting else "done",
            data_event="send",
            disabled=not waiting or not chat.panes,
        ),
        class_="composer",
    )


def _stop(text: Text) -> Markup:
    return button(text("chat.stop"), "halt", symbol="stop", data_event="halt")


def sampling(text: Text, chat: Chat, place: str, open_: bool = False) -> Markup:
    """Folded away: the same settings, seed and system prompt for all panes. `place` keeps its ids apart."""
    chosen = chat.preset
    names = [*PRESETS, *(() if chosen else ("own",))]
    return fold(
        text("chat.sampling", preset=text(f"chat.preset.{chosen or 'own'}")),
        h(
            "div",
            [
                h(
                    "button",
                    text(f"chat.preset.{name}"),
                    type="button",
                    data_act="preset",
                    data_name=name,
                    disabled=name == "own",
                    aria_selected="true" if name == (chosen or "own") else "false",
                )
                for name in names
            ],
            class_="segments",
        ),
        h("div", [_number(text, chat, place, *field) for field in _SAMPLING], class_="form-grid"),
        h(
            "div",
            h("label", text("chat.system"), for_=f"{place}-system", class_="label"),
            h(
                "textarea",
                chat.system,
                id=f"{place}-system",
                rows="2",
                data_act="system",
                placeholder=text("chat.system.placeholder"),
            ),
            h("p", text("chat.system.help"), class_="help"),
            class_="field wide",
        ),
        open_=open_,
    )


def _number(text: Text, chat: Chat, place: str, name: str, low: str, high: str, step: str) -> Markup:
    return h(
        "div",
        h("label", text(f"chat.{name}"), for_=f"{place}-{name}", class_="label"),
        h(
            "input",
            type="number",
            id=f"{place}-{name}",
            min=low,
            max=high,
            step=step,
            value=setting_text(getattr(chat.sampling, name)),
            data_act="sampling",
            data_key=name,
            data_keep_within=True,
        ),
        h("p", text(f"chat.{name}.help"), class_="help"),
        class_="field",
    )
