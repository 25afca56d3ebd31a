"""A conversation in two columns: the base left (slate), the tuned model right (accent)."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ui.chat import Answer, Sampling, Turn
from ui.fragments import message
from ui.fragments.format import loss_text, setting_text
from ui.fragments.html import classes, h
from ui.fragments.icons import icon
from ui.fragments.parts import button, fold
from ui.fragments.text import Text

_SAMPLING = (
    ("max_tokens", "1", "4096", "1"),
    ("temperature", "0", "2", "0.05"),
    ("top_p", "0.05", "1", "0.05"),
    ("seed", "0", "2147483647", "1"),
)


def conversation(
    text: Text, turns: Sequence[Turn], titles: dict[str, str], suggestions: Sequence[str] = ()
) -> Markup:
    """All turns; with none yet, prompts to begin with."""
    sides = list(titles)
    if not turns:
        return h(
            "div",
            h("h2", text("chat.empty.title")),
            h("p", text("chat.empty.line"), class_="quiet"),
            h(
                "div",
                [
                    h(
                        "button",
                        s,
                        type="button",
                        class_="suggestion",
                        data_event="send",
                        data_act="suggestion",
                        data_value=s,
                    )
                    for s in suggestions
                ],
                class_="suggestions",
            ),
            class_="chat-empty",
        )
    return h(
        "div",
        h("div", [_chip(s, titles[s]) for s in sides], class_=f"columns heads count-{len(sides)}"),
        [_turn(text, t, sides, i) for i, t in enumerate(turns)],
        class_="conversation",
        aria_live="polite",
    )


def _chip(side: str, title: str) -> Markup:
    return h("div", h("span", class_="dot"), h("span", title), class_=f"chip {side}")


def _turn(text: Text, turn: Turn, sides: Sequence[str], number: int) -> Markup:
    return h(
        "div",
        h("p", turn.prompt, class_="said"),
        h(
            "div",
            [_answer(text, side, turn.answers.get(side), f"answer-{number}-{side}") for side in sides],
            class_=f"columns count-{len(sides)}",
        ),
        message.card("bad", *turn.problem) if turn.problem else None,
        class_="turn",
    )


def _answer(text: Text, side: str, answer: Answer | None, id: str) -> Markup:
    facts = _facts(text, answer or Answer())
    if answer is None or not (answer.text or answer.done):
        inner = h(
            "p", h("span", text("chat.waiting"), class_="unseen"), h("i"), h("i"), h("i"), class_="typing"
        )
        return h("div", inner, h("p", facts, class_="answer-facts"), class_=f"answer {side}")
    return h(
        "div",
        h(
            "p",
            answer.text or text("chat.silent"),
            id=id,
            class_=classes("answer-text", not answer.text and "quiet"),
        ),
        h(
            "p",
            h("span", facts),
            h("span", text("chat.cut"), class_="badge wait") if answer.finish_reason == "length" else None,
            h("span", class_="grow"),
            h(
                "button",
                icon("copy", 16),
                type="button",
                class_="icon-button",
                data_copy=id,
                aria_label=text(f"chat.copy.{side}"),
            ),
            class_="answer-facts line",
        ),
        class_=f"answer {side}",
    )


def _facts(text: Text, answer: Answer) -> str | Markup:
    """What is known of an answer: its pace once it is complete, and which steps of a run it came from."""
    told = []
    if answer.done and answer.tokens is not None:
        told.append(
            text(
                "chat.facts",
                tokens=answer.tokens,
                speed=f"{answer.tokens_per_second or 0:.0f}",
                first=loss_text(answer.seconds_to_first),
            )
        )
    if answer.steps is not None:
        first, last = answer.steps
        told.append(text("chat.steps", first=first, last=last) if answer.done else text("chat.between"))
    return " · ".join(told) or Markup("&nbsp;")


def composer(text: Text, *, busy: bool, ready: bool = True) -> Markup:
    """The box at the bottom: Enter sends, Shift and Enter begins a new line."""
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
        button(text("chat.stop"), "halt", symbol="stop", data_event="halt")
        if busy
        else button(
            text("chat.send"), "send", kind="primary", symbol="send", data_event="send", disabled=not ready
        ),
        class_="composer",
    )


def sampling(text: Text, values: Sampling) -> Markup:
    """Folded away: the same settings and seed go to both sides."""
    return fold(
        text("chat.sampling"),
        h(
            "div",
            [
                h(
                    "div",
                    h("label", text(f"chat.{name}"), for_=f"chat-{name}", class_="label"),
                    h(
                        "input",
                        type="number",
                        id=f"chat-{name}",
                        min=low,
                        max=high,
                        step=step,
                        value=setting_text(getattr(values, name)),
                        data_act="sampling",
                        data_key=name,
                    ),
                    h("p", text(f"chat.{name}.help"), class_="help"),
                    class_="field",
                )
                for name, low, high, step in _SAMPLING
            ],
            class_="form-grid",
        ),
    )


def picker(text: Text, choices: Sequence[tuple[str, str]], chosen: str | None) -> Markup:
    """Which run (beside its base) or model answers."""
    return h(
        "div",
        h("label", text("chat.model"), for_="chat-model", class_="label"),
        h(
            "span",
            h(
                "select",
                [h("option", title, value=name, selected=name == chosen) for name, title in choices],
                id="chat-model",
                data_act="pick",
            ),
            class_="select",
        ),
        h("button", text("chat.clear"), type="button", class_="button quiet", data_act="clear"),
        class_="line picker",
    )
