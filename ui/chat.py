"""A conversation on the screen as a value: who answers, what was said, which branch shows. No Gradio."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backend.api.chat import MAX_PANES, ChatDelta, Conversation, Sampling, Setup, Turn

# Named ways to draw the next word; whatever else a person sets is their own.
PRESETS: Mapping[str, tuple[float, float]] = {
    "precise": (0.0, 1.0),
    "balanced": (0.7, 0.9),
    "creative": (1.0, 1.0),
}
_RANGES: Mapping[str, tuple[float, float]] = {
    "max_tokens": (1, 4096),
    "temperature": (0.0, 2.0),
    "top_p": (0.05, 1.0),
    "seed": (0, 2**31 - 1),
}


@dataclass(frozen=True)
class Chat:
    """`at` is the last turn of the branch that shows, `editing` the turn whose question is being changed.

    `prompts` are those of a prompt set: its turns stand beside each other and none leads to the next.
    """

    panes: tuple[str, ...] = ()
    system: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    blind: bool = False
    differences: bool = False
    conversation: int | None = None
    title: str = ""
    prompts: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    at: int | None = None
    editing: int | None = None
    busy: bool = False

    @property
    def path(self) -> tuple[Turn, ...]:
        """The turns that show, first question first."""
        if self.prompts:
            return self.turns
        found: list[Turn] = []
        at = self.at
        while at is not None:
            found.append(self.turn(at))
            at = found[-1].parent
        return tuple(reversed(found))

    @property
    def waiting(self) -> tuple[str, ...]:
        """The prompts of a set that were not asked yet."""
        return self.prompts[len(self.turns) :]

    @property
    def preset(self) -> str | None:
        """The name of this way to draw the next word; None: the person's own."""
        drawn = (self.sampling.temperature, self.sampling.top_p)
        return next((name for name, values in PRESETS.items() if values == drawn), None)

    def turn(self, id: int) -> Turn:
        return next(turn for turn in self.turns if turn.id == id)

    def siblings(self, turn: Turn) -> list[Turn]:
        """The turns in the same place, itself among them, oldest first."""
        return [other for other in self.turns if other.parent == turn.parent]


def begin(chat: Chat) -> Chat:
    """Nothing said yet; who answers and how stays."""
    return Chat(chat.panes, chat.system, chat.sampling, chat.blind, chat.differences)


def opened(chat: Chat, found: Conversation) -> Chat:
    """A conversation from the store, its newest branch in sight, to be gone on with as it was.

    Nobody is answering it on this page: what has no end stays as it came.
    """
    turns = tuple(replace(t, answers=tuple(a.ended() for a in t.answers)) for t in found.turns)
    chat = replace(
        begin(chat),
        conversation=found.id,
        title=found.title,
        prompts=found.prompts,
        turns=turns,
        at=turns[-1].id if turns else None,
    )
    if not turns:
        return chat
    last = turns[-1].setup
    return replace(chat, panes=last.panes, system=last.system, sampling=last.sampling, blind=last.blind)


def setup(chat: Chat, shuffle: Callable[[list[int]], None] = random.shuffle) -> Setup:
    """How the next question is put. Blind, the panes stand in an order that nobody knows."""
    blind = chat.blind and len(chat.panes) > 1 and not chat.prompts
    order = list(range(len(chat.panes)))
    if blind:
        shuffle(order)
    return Setup(chat.panes, chat.system.strip(), chat.sampling, blind, tuple(order) if blind else ())


def setup_again(chat: Chat, turn: Turn) -> Setup:
    """As `setup`, with a seed that this question was not asked with yet."""
    seeds = [s.setup.sampling.seed for s in chat.siblings(turn) if s.prompt == turn.prompt]
    made = setup(chat)
    return replace(made, sampling=replace(made.sampling, seed=max(seeds) + 1))


def asked(chat: Chat, turn: Turn) -> Chat:
    """A question was kept and is about to be answered."""
    title = chat.title or turn.prompt
    return replace(
        chat,
        conversation=turn.conversation,
        title=title,
        turns=(*chat.turns, turn),
        at=turn.id,
        editing=None,
        busy=True,
    )


def add(chat: Chat, delta: ChatDelta) -> Chat:
    """One more piece of an answer to the last question asked."""
    answers = list(chat.turns[-1].answers)
    answers[delta.pane] = answers[delta.pane].plus(delta)
    return _last(chat, replace(chat.turns[-1], answers=tuple(answers)))


def fail(chat: Chat, error: Mapping[str, Any]) -> Chat:
    """The last question could not be answered, or not to the end; what came of it stays."""
    return end(_last(chat, replace(chat.turns[-1], error=error)))


def end(chat: Chat) -> Chat:
    """No more pieces will come."""
    chat = replace(chat, busy=False)
    if not chat.turns:
        return chat
    return _last(chat, replace(chat.turns[-1], answers=tuple(a.ended() for a in chat.turns[-1].answers)))


def walk(chat: Chat, turn: int, step: int) -> Chat:
    """Show the sibling so many places on, with its newest branch below."""
    beside = chat.siblings(chat.turn(turn))
    place = [other.id for other in beside].index(turn) + step
    if not 0 <= place < len(beside):
        return chat
    at = beside[place].id
    while below := [other.id for other in chat.turns if other.parent == at]:
        at = below[-1]
    return replace(chat, at=at, editing=None)


def voted(chat: Chat, turn: int, choice: str | None) -> Chat:
    return _changed(chat, replace(chat.turn(turn), vote=choice))


def kept(chat: Chat, turn: int, pane: int, keep: bool) -> Chat:
    """An answer was put among the training rows, or taken away."""
    found = chat.turn(turn)
    answers = list(found.answers)
    answers[pane] = replace(answers[pane], kept=keep)
    return _changed(chat, replace(found, answers=tuple(answers)))


def set_pane(chat: Chat, number: int, model: str) -> Chat:
    panes = list(chat.panes)
    panes[number] = model
    return replace(chat, panes=tuple(panes))


def add_pane(chat: Chat, models: tuple[str, ...]) -> Chat:
    """One more who answers: the first that does not answer yet, other runs before checkpoints of the same."""
    if len(chat.panes) >= MAX_PANES or not models:
        return chat
    fresh = [model for model in models if model not in chat.panes]
    there = {pane.partition("@")[0] for pane in chat.panes}
    others = [model for model in fresh if model.partition("@")[0] not in there]
    new = next(iter(others or fresh), models[0])
    return replace(chat, panes=(*chat.panes, new))


def remove_pane(chat: Chat, number: int) -> Chat:
    """One less; the last one stays."""
    panes = tuple(model for index, model in enumerate(chat.panes) if index != number)
    return replace(chat, panes=panes or chat.panes)


def set_sampling(chat: Chat, key: str, value: Any) -> Chat:
    """One sampling value, kept inside its range; what is no number changes nothing."""
    low, high = _RANGES[key]
    try:
        number = type(low)(float(value))
    except (ValueError, OverflowError):  # `1e999` is read as infinity, which is no whole number
        return chat
    return replace(chat, sampling=replace(chat.sampling, **{key: max(low, min(high, number))}))


def set_preset(chat: Chat, name: str) -> Chat:
    temperature, top_p = PRESETS[name]
    return replace(chat, sampling=replace(chat.sampling, temperature=temperature, top_p=top_p))


def revealed(turn: Turn) -> bool:
    """Whether the person may see who answered: they have voted, or nothing was hidden."""
    return not turn.setup.blind or turn.vote is not None


def answered(turn: Turn) -> bool:
    """Whether all panes have come to their end."""
    return all(answer.done for answer in turn.answers)


def comparable(turn: Turn) -> bool:
    """Whether there is, or may yet be, more than one answer: with fewer there is nothing to vote on."""
    return sum(answer.error is None for answer in turn.answers) > 1


def unanswered(turn: Turn) -> bool:
    """Whether nobody could answer: the next question would fare no better."""
    return turn.error is not None or all(answer.error is not None for answer in turn.answers)


def _last(chat: Chat, turn: Turn) -> Chat:
    return replace(chat, turns=(*chat.turns[:-1], turn))


def _changed(chat: Chat, turn: Turn) -> Chat:
    return replace(chat, turns=tuple(turn if old.id == turn.id else old for old in chat.turns))
