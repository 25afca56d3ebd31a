"""Who answers: the words and the colour of a pane."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backend.api.chat import ChatModel
from studio.names import ModelName, mix_of, parse
from ui.fragments.text import Text

_TUNED = ("tuned", "third", "fourth", "fifth")
LETTERS = "ABCD"


def model_label(text: Text, name: str) -> str:
    """A model's name as a person says it: a run with its checkpoint, a folder by its last part."""
    kind, _, value = name.partition(":")
    if kind == "run":
        run, _, mark = value.partition("@")
        if not mark:
            return run
        return text("chat.who.best", run=run) if mark == "best" else text("chat.who.step", run=run, step=mark)
    if kind == "mix":
        return _sum_label(text, mix_of(parse(name)).adapters)
    return value.rstrip("/\\").replace("\\", "/").rpartition("/")[2] if kind == "path" else value or name


def _sum_label(text: Text, parts: Iterable[tuple[ModelName, float]]) -> str:
    """A mix as the sum that it is, with the signs of its weights between the terms."""
    label = ""
    for part, weight in parts:
        term = text("chat.who.weighed", name=model_label(text, str(part)), weight=f"{abs(weight):g}")
        label += (" − " if weight < 0 else " + ") + term  # noqa: RUF001 (the true sign)
    return label.removeprefix(" + ").strip()


def tone(panes: Sequence[str], number: int) -> str:
    """The class of a pane's colour: base is slate, the first that learned something the accent."""
    if not learned(panes[number]):
        return "base"
    return _TUNED[sum(learned(model) for model in panes[:number])]


def chip_label(text: Text, name: str) -> str:
    """What stands on top of an answer."""
    return text("chat.side.tuned" if learned(name) else "chat.side.base", name=model_label(text, name))


def learned(name: str) -> bool:
    """Whether this is what a run made, and no base."""
    return name.startswith(("run:", "merge:", "mix:"))


def grouped(text: Text, models: Sequence[ChatModel]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Choices for a pane as (group, [(name, words)]): the bases, then every run with its checkpoints."""
    bases = [(m.name, model_label(text, m.name)) for m in models if not learned(m.name)]
    groups = [(text("chat.who.bases"), bases)] if bases else []
    for model in models:
        if learned(model.name) and "@" not in model.name:
            states = [m.name for m in models if m.name.partition("@")[0] == model.name]
            groups.append((model_label(text, model.name), [(n, model_label(text, n)) for n in states]))
    return groups
