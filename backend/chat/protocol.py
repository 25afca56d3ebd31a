"""OpenAI's chat-completions and completions protocol: what the body of a request means. Pure functions.

Beyond the protocol a body may carry `top_k`, `repetition_penalty` and, in a chat, `template_of` (`run:ID`:
render the prompt with that run's template).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from studio.data.rows import Message
from studio.errors import StudioError
from studio.generate.request import Sampling

_ROLES = ("system", "user", "assistant", "tool")
_MOST = 2**31
_COMPLETION_TOKENS = 16  # OpenAI's longest completion where a request names none
_UNSUPPORTED = ("tools", "functions", "logit_bias", "audio", "suffix", "echo")

Prompt = tuple[Message, ...] | str | tuple[int, ...]
"""A conversation, a text to continue, or the ids of one."""


@dataclass(frozen=True)
class Limits:
    """What an endpoint takes on."""

    body_bytes: int = 8 * 2**20
    rows: int = 8  # answers that are decoded at the same time
    waiting: int = 64  # further answers in line; also the most that one request may ask for
    tokens: int | None = None  # of one answer; None: until the context is full


@dataclass(frozen=True)
class Order:
    """What a request asks for: `n` answers to each of its prompts."""

    chat: bool  # else a completion, without the chat template
    model: str
    prompts: tuple[Prompt, ...]
    sampling: Sampling
    max_tokens: int | None
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    template_of: str | None = None
    n: int = 1
    logprobs: int | None = None  # see `studio.generate.request.Request`

    @property
    def choices(self) -> int:
        """How many answers; number `i` is answer `i % n` to prompt `i // n`."""
        return len(self.prompts) * self.n


def parse_chat(text: bytes, limits: Limits) -> Order:
    """Read the body of a chat completion.

    Raises:
        StudioError: `chat_body_broken` (detail), `chat_field_wrong` (field, expected),
            `chat_field_unsupported` (field): a feature that would change the answer and that is not there.
    """
    body = _body(text)
    longest = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    top = _number(body, "top_logprobs", 0, 0, 20, whole=True)
    return Order(
        chat=True,
        prompts=(_messages(body.get("messages")),),
        max_tokens=_limit(body, longest, limits.tokens, limits),
        logprobs=top if body.get("logprobs") is True else None,
        template_of=None if body.get("template_of") is None else _text(body, "template_of"),
        n=_answers(body, 1, limits),
        **_common(body),
    )


def parse_completion(text: bytes, limits: Limits) -> Order:
    """Read the body of a completion, whose prompts are texts or token ids. Raises as `parse_chat`."""
    body = _body(text)
    if body.get("best_of") not in (None, body.get("n") or 1):
        raise StudioError("chat_field_unsupported", field="best_of")
    prompts = _prompts(body.get("prompt"))
    usual = min(_COMPLETION_TOKENS, limits.tokens or _COMPLETION_TOKENS)
    return Order(
        chat=False,
        prompts=prompts,
        max_tokens=_limit(body, "max_tokens", usual, limits),
        logprobs=_number(body, "logprobs", None, 0, 5, whole=True),
        n=_answers(body, len(prompts), limits),
        **_common(body),
    )


def _body(text: bytes) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError as error:
        raise StudioError("chat_body_broken", detail=str(error)) from None
    if not isinstance(body, dict):
        raise StudioError("chat_body_broken", detail="not a JSON object")
    kind = body.get("response_format") or {}
    if not isinstance(kind, dict) or kind.get("type", "text") != "text":
        raise StudioError("chat_field_unsupported", field="response_format")
    for field in _UNSUPPORTED:
        if body.get(field):
            raise StudioError("chat_field_unsupported", field=field)
    return body


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an order that chat and completions name alike."""
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise StudioError("chat_field_wrong", field="stream_options", expected="an object")
    return {
        "model": _text(body, "model"),
        "sampling": Sampling(
            temperature=_number(body, "temperature", 1.0, 0, 2),
            top_p=_number(body, "top_p", 1.0, 0, 1),
            top_k=_number(body, "top_k", 0, 0, _MOST, whole=True),
            repetition_penalty=_number(body, "repetition_penalty", 1.0, 0.01, 100),
            frequency_penalty=_number(body, "frequency_penalty", 0.0, -2, 2),
            presence_penalty=_number(body, "presence_penalty", 0.0, -2, 2),
            seed=_number(body, "seed", None, -(2**63), 2**64 - 1, whole=True),
        ),
        "stop": _stops(body.get("stop")),
        "stream": body.get("stream") is True,
        "include_usage": options.get("include_usage") is True,
    }


def _limit(body: Mapping[str, Any], field: str, usual: int | None, limits: Limits) -> int | None:
    value: int | None = _number(body, field, usual, 1, limits.tokens or _MOST, whole=True)
    return value


def _answers(body: Mapping[str, Any], prompts: int, limits: Limits) -> int:
    most = limits.waiting // prompts
    if most == 0:
        expected = f"at most {limits.waiting} prompts"
        raise StudioError("chat_field_wrong", field="prompt", expected=expected)
    value: int = _number(body, "n", 1, 1, most, whole=True)
    return value


def _text(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise StudioError("chat_field_wrong", field=field, expected="a text")
    return value


def _number(
    body: Mapping[str, Any], field: str, default: float | None, low: float, high: float, whole: bool = False
) -> Any:
    """The number in this field, int if `whole`, else float; the default where there is none."""
    value = body.get(field)
    if value is None:
        return default
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not fits or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise StudioError("chat_field_wrong", field=field, expected=f"{kind} from {low} to {high}")
    return value if whole else float(value)


def _stops(value: Any) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(s, str) and s for s in stops) or len(stops) > 4:
        raise StudioError("chat_field_wrong", field="stop", expected="a text, or up to four of them")
    return tuple(stops)


def _prompts(value: Any) -> tuple[Prompt, ...]:
    """A text, a list of texts, token ids, or a list of such."""
    several = value if isinstance(value, list) and value and not _are_ids(value) else [value]
    prompts = [prompt if isinstance(prompt, str) else _ids(prompt) for prompt in several]
    return tuple(prompts)


def _ids(value: Any) -> tuple[int, ...]:
    if not _are_ids(value):
        raise StudioError("chat_field_wrong", field="prompt", expected="a text, token ids, or a list of them")
    return tuple(value)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(entry) is int for entry in value)


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise StudioError("chat_field_wrong", field="messages", expected="a list with a message in it")
    return tuple(_message(entry, f"messages[{index}]") for index, entry in enumerate(value))


def _message(entry: Any, field: str) -> Message:
    if not isinstance(entry, dict) or entry.get("role") not in _ROLES:
        raise StudioError("chat_field_wrong", field=field, expected=f"role: one of {', '.join(_ROLES)}")
    content = entry.get("content")
    if isinstance(content, str):
        return Message.of(entry["role"], content)
    if not isinstance(content, list):
        raise StudioError("chat_field_wrong", field=f"{field}.content", expected="a text")
    if not all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
        raise StudioError("chat_field_unsupported", field=f"{field}.content")
    return Message.of(entry["role"], "".join(part["text"] for part in content))
