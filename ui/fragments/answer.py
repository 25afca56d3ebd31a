"""One pane's answer: who said it, what, how fast, and by what hashes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from backend.api.chat import CANCELLED, Answer, Proof, Turn
from ui.chat import comparable, revealed
from ui.differences import Piece
from ui.fragments import message
from ui.fragments.format import loss_text
from ui.fragments.html import classes, h, join
from ui.fragments.icons import icon
from ui.fragments.text import Text
from ui.fragments.who import LETTERS, chip_label, tone

_SHORT = 8  # characters of a hash on the chip
Told = Callable[[Mapping[str, Any]], tuple[str, str]]  # cause and remedy of an error


def answer(
    text: Text, turn: Turn, place: int, pieces: Sequence[Piece] | None, told: Told, compact: bool
) -> Markup:
    """The answer that stands at `place` from the left. `compact`: without what can be done with it."""
    pane = turn.setup.shown[place]
    said, open_ = turn.answers[pane], revealed(turn)
    colour = tone(turn.setup.panes, pane) if open_ else "hidden"
    name = turn.setup.panes[pane]
    label = chip_label(text, name) if open_ else text("chat.side.hidden", letter=LETTERS[place])
    waits = not (said.text or said.done)
    best = turn.vote == str(pane)
    return h(
        "div",
        h(
            "div",
            h(
                "span",
                h("span", class_="dot"),
                h("span", label),
                class_=f"chip {colour}",
                title=name if open_ else None,
            ),
            h("span", icon("done", 14), text("chat.vote.best"), class_="badge good") if best else None,
            class_="line answer-head",
        ),
        _typing(text) if waits else _words(text, said, f"answer-{turn.id}-{place}", pieces, place),
        _failure(text, turn, said.error, told) if said.error else None,
        h("p", (open_ and _facts(text, said, 0)) or Markup("&nbsp;"), class_="answer-facts")
        if waits
        else _foot(text, turn, place, open_, compact),
        class_=classes("answer", colour, best and "best"),
    )


def _typing(text: Text) -> Markup:
    return h("p", h("span", text("chat.waiting"), class_="unseen"), h("i"), h("i"), h("i"), class_="typing")


def _failure(text: Text, turn: Turn, error: Mapping[str, Any], told: Told) -> Markup:
    """Why this pane has no answer. The reason often names the run: as long as a blind vote between others is
    possible, it waits for the vote."""
    if revealed(turn) or not comparable(turn):
        return message.card("bad", *told(error))
    return message.card("bad", text("chat.failed.hidden"), text("chat.failed.hidden.help"))


def _words(text: Text, said: Answer, id: str, pieces: Sequence[Piece] | None, place: int) -> Markup | None:
    if said.error and not said.text:
        return None
    if not said.text:
        key = "chat.stopped_before" if said.finish_reason == CANCELLED else "chat.silent"
        return h("p", text(key), id=id, class_="answer-text quiet")
    kind = "only-here" if place else "not-there"
    inner = [h("mark", p, class_=kind) if differs else p for p, differs in pieces or ((said.text, False),)]
    return h("p", inner, id=id, class_="answer-text")


def _foot(text: Text, turn: Turn, place: int, open_: bool, compact: bool) -> Markup | None:
    """Facts that could tell who is who (speed, hashes) wait for the vote."""
    pane = turn.setup.shown[place]
    said = turn.answers[pane]
    if said.error and not said.text:
        return None
    facts = _facts(text, said, turn.setup.sampling.seed) if open_ else None
    ends = {"length": "chat.cut", CANCELLED: "chat.stopped"}.get(said.finish_reason or "")
    return h(
        "div",
        h("p", facts or Markup("&nbsp;"), class_="facts-line"),
        h("span", text(ends), class_="badge wait") if ends else None,
        proof(text, said.proof) if said.proof and open_ else None,
        None if compact else h("span", class_="grow"),
        None if compact else h("span", _tools(text, turn, pane, place, open_), class_="answer-tools"),
        class_="answer-facts line",
    )


def _facts(text: Text, said: Answer, seed: int) -> str | None:
    """Its pace once it is complete, and which steps of a run it came from."""
    told = []
    if said.tokens is not None:
        told.append(
            text(
                "chat.facts",
                tokens=said.tokens,
                speed=f"{said.tokens_per_second or 0:.0f}",
                first=loss_text(said.seconds_to_first),
                seed=seed,
            )
        )
    if said.steps is not None:
        first, last = said.steps
        told.append(text("chat.steps", first=first, last=last) if said.done else text("chat.between"))
    return " · ".join(told) or None


def _tools(text: Text, turn: Turn, pane: int, place: int, open_: bool) -> Markup:
    said = turn.answers[pane]
    name = chip_label(text, turn.setup.panes[pane]) if open_ else LETTERS[place]
    keeping = said.done and bool(said.text)
    return join(
        h(
            "button",
            icon("done" if said.kept else "plus", 16),
            h("span", text("chat.kept") if said.kept else text("chat.keep")),
            type="button",
            class_="tool",
            data_act="keep",
            data_turn=turn.id,
            data_place=place,
            aria_pressed="true" if said.kept else "false",
            title=text("chat.keep.help"),
        )
        if keeping
        else None,
        h(
            "button",
            icon("copy", 16),
            type="button",
            class_="icon-button",
            data_copy=f"answer-{turn.id}-{place}",
            aria_label=text("chat.copy", name=name),
        ),
    )


def proof(text: Text, found: Proof) -> Markup:
    """A chip with what answered; the whole hashes are in the fold, and on hover."""
    hashes = [("base", found.base), ("adapter", found.adapter), ("template", found.template)]
    listed = [(text(f"chat.proof.{name}"), value) for name, value in hashes if value]
    return h(
        "details",
        h(
            "summary",
            icon("chip", 14),
            h("code", (found.adapter or found.base)[:_SHORT]),
            h("span", text("chat.proof"), class_="unseen"),
            title="\n".join(f"{label} {value}" for label, value in listed),
        ),
        h("dl", [join(h("dt", label), h("dd", h("code", value))) for label, value in listed]),
        class_="proof",
    )
