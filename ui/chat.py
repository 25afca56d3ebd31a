"""A conversation as a value: prompts, and per side the answer as far as it has come. No Gradio, no facade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from backend.api import ChatDelta, ChatRequest

SIDES = ("base", "tuned")


@dataclass(frozen=True)
class Answer:
    """One side's answer so far; the facts come with its end."""

    text: str = ""
    done: bool = False
    finish_reason: str | None = None
    tokens: int | None = None
    tokens_per_second: float | None = None
    seconds_to_first: float | None = None
    steps: tuple[int, int] | None = None  # see `ChatDelta`


@dataclass(frozen=True)
class Turn:
    """A prompt and its answers by side. `problem`: (cause, remedy) where no answer could be given."""

    prompt: str
    answers: Mapping[str, Answer] = field(default_factory=dict)
    problem: tuple[str, str] | None = None


@dataclass(frozen=True)
class Sampling:
    """The same for both sides, so that what differs is the model."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Chat:
    """A conversation with one model name (`run:ID` answers beside its base)."""

    model: str | None = None
    turns: tuple[Turn, ...] = ()
    sampling: Sampling = Sampling()
    busy: bool = False

    @property
    def sides(self) -> tuple[str, ...]:
        return SIDES if self.model and self.model.startswith("run:") else SIDES[:1]


def ask(chat: Chat, prompt: str) -> Chat:
    """A new turn, without answers yet."""
    return replace(chat, turns=(*chat.turns, Turn(prompt.strip())), busy=True)


def request(chat: Chat) -> ChatRequest:
    """What to ask the engine: the last prompt alone.

    Each side would carry on from its own earlier answers, so the two would no longer see the same prompt; a
    fresh question keeps the comparison fair.
    """
    assert chat.model is not None
    prompt = chat.turns[-1].prompt
    return ChatRequest(
        model=chat.model,
        messages=({"role": "user", "content": prompt},),
        compare=len(chat.sides) == 2,
        max_tokens=chat.sampling.max_tokens,
        temperature=chat.sampling.temperature,
        top_p=chat.sampling.top_p,
        seed=chat.sampling.seed,
    )


def add(chat: Chat, delta: ChatDelta) -> Chat:
    """The conversation with one more piece of an answer."""
    last = chat.turns[-1]
    answer = last.answers.get(delta.side, Answer())
    answer = replace(answer, text=answer.text + delta.text, steps=delta.steps or answer.steps)
    if delta.done:
        answer = replace(
            answer,
            done=True,
            finish_reason=delta.finish_reason,
            tokens=delta.tokens,
            tokens_per_second=delta.tokens_per_second,
            seconds_to_first=delta.seconds_to_first,
        )
    return _last(chat, replace(last, answers={**last.answers, delta.side: answer}))


def fail(chat: Chat, cause: str, remedy: str) -> Chat:
    """The last turn could not be answered; what came of it stays."""
    return replace(_last(chat, replace(chat.turns[-1], problem=(cause, remedy))), busy=False)


def end(chat: Chat) -> Chat:
    """No more pieces will come: what is there is the answer."""
    if not chat.turns:
        return replace(chat, busy=False)
    last = chat.turns[-1]
    ended = {side: replace(last.answers.get(side, Answer()), done=True) for side in chat.sides}
    return replace(_last(chat, replace(last, answers=ended)), busy=False)


def set_sampling(chat: Chat, key: str, value: Any) -> Chat:
    """One sampling value, kept inside its range; what is no number changes nothing."""
    ranges = {
        "max_tokens": (1, 4096),
        "temperature": (0.0, 2.0),
        "top_p": (0.05, 1.0),
        "seed": (0, 2**31 - 1),
    }
    low, high = ranges[key]
    try:
        number = type(low)(float(value))
    except (ValueError, OverflowError):  # `1e999` is read as infinity, which is no whole number
        return chat
    return replace(chat, sampling=replace(chat.sampling, **{key: max(low, min(high, number))}))


def _last(chat: Chat, turn: Turn) -> Chat:
    return replace(chat, turns=(*chat.turns[:-1], turn))
