"""The wizard's frame: steps on top, Back and Next below, the address that brings a person back here."""

from __future__ import annotations

from markupsafe import Markup

from backend.api import Draft
from ui.fragments import memory
from ui.fragments.html import classes, h
from ui.fragments.icons import icon
from ui.fragments.parts import button
from ui.fragments.text import Text
from ui.wizard import STEPS, Wizard


def stepper(text: Text, wizard: Wizard) -> Markup:
    """Done steps can be clicked; what isn't reachable yet can't."""
    return h(
        "nav",
        h(
            "p",
            text("wizard.of", step=wizard.step + 1, steps=len(STEPS), name=text(f"step.{wizard.name}")),
            class_="steps-short",
        ),
        h("ol", [_step(text, wizard, i, name) for i, name in enumerate(STEPS)]),
        class_="steps",
        aria_label=text("wizard.steps"),
    )


def _step(text: Text, wizard: Wizard, number: int, name: str) -> Markup:
    current = number == wizard.step
    done = not current and number < len(STEPS) - 1 and wizard.reachable(number + 1)
    return h(
        "li",
        h(
            "button",
            h("span", icon("done", 14) if done else number + 1, class_="step-number"),
            h("span", text(f"step.{name}"), class_="step-name"),
            type="button",
            data_act="step",
            data_step=number,
            disabled=not wizard.reachable(number),
            aria_current="step" if current else None,
        ),
        class_=classes(current and "current", done and "done"),
    )


def start(text: Text, draft: Draft | None, ready: bool, more: str = "") -> Markup:
    """The button that starts a run. It asks once more where the plan is too big, and does not stand out."""
    anyway = memory.too_big(draft)
    return button(
        text("wizard.start"),
        "start",
        kind=" ".join(filter(None, ["" if anyway else "primary", more])),
        symbol="play",
        data_busy="",
        data_confirm=text("wizard.start.sure") if anyway else None,
        data_yes=text("wizard.start.anyway") if anyway else None,
        data_keep=text("wizard.start.not") if anyway else None,
        disabled=not ready,
    )


def foot(text: Text, wizard: Wizard, ready: bool, draft: Draft | None = None) -> Markup:
    """Next says what comes; on Home's first view the cards themselves lead on."""
    name, last = wizard.name, wizard.step == len(STEPS) - 1
    if name == "goal" and wizard.goal is None:
        return Markup("")
    forward = (
        start(text, draft, ready)
        if name == "how"
        else button(text("wizard.again"), "again", kind="primary", symbol="plus")
        if last
        else button(
            text("wizard.next", name=text(f"step.{STEPS[wizard.step + 1]}.next")),
            "step",
            kind="primary",
            symbol="next",
            after=True,
            data_step=wizard.step + 1,
            disabled=not ready,
        )
    )
    return h(
        "div",
        button(text("wizard.back"), "step", kind="quiet", symbol="back", data_step=wizard.step - 1)
        if wizard.step
        else None,
        h("span", class_="grow"),
        h("span", text(f"wizard.wait.{name}"), class_="quiet") if not ready else None,
        forward,
        class_="foot",
    )


def address(query: str, go: str | None = None) -> Markup:
    """`studio.js` writes this into the address bar; with `go` it opens that tab there."""
    return h("span", data_address_now=query, data_then_go=go)
