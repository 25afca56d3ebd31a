"""What a pane is told: the questions on the way to a turn, with that pane's own answers between. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from backend.api.chat import Turn

Messages = list[dict[str, str]]


def path_to(turns: Sequence[Turn], turn: int) -> list[Turn]:
    """The turns from the first question down to this one."""
    known = {t.id: t for t in turns}
    path: list[Turn] = []
    at: int | None = turn
    while at is not None:
        path.append(known[at])
        at = known[at].parent
    return path[::-1]


def messages_of(path: Sequence[Turn], pane: int) -> Messages:
    """The messages put to a pane for the last turn's question.

    It goes on from its own earlier answers; where the pane was not there yet, from the first pane's. A turn
    that it has no answer to is left out: a template expects answers between questions.
    """
    *earlier, last = path
    system = last.setup.system.strip()
    messages: Messages = [{"role": "system", "content": system}] if system else []
    for turn in earlier:
        answer = turn.answers[pane if pane < len(turn.answers) else 0]
        if answer.text:
            messages += [_said("user", turn.prompt), _said("assistant", answer.text)]
    return [*messages, _said("user", last.prompt)]


def training_messages(path: Sequence[Turn], pane: int) -> Messages:
    """The same with the answer at the end: a row to learn from."""
    return [*messages_of(path, pane), _said("assistant", path[-1].answers[pane].text)]


def leaves(turns: Sequence[Turn]) -> list[Turn]:
    """The last turn of every branch."""
    parents = {turn.parent for turn in turns}
    return [turn for turn in turns if turn.id not in parents]


def _said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}
