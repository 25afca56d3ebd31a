"""OpenAI's chat-completions protocol: what a request body means, what an answer looks like. Pure functions.

Beyond the protocol a body may carry `top_k`, `repetition_penalty` and `template_of` (`run:ID`: render the
prompt with that run's template); an answer carries `timings` and `proof` (hashes of what answered), and an
error `facts` beside its code.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from backend.chat_api import Proof
from studio.data.rows import Message
from studio.errors import StudioError
from studio.generate.request import Sampling

_ROLES = ("system", "user", "assistant", "tool")
_STATUS = {
    "chat_token_wrong": 401,
    "chat_host_refused": 403,
    "chat_origin_refused": 403,
    "chat_path_unknown": 404,
    "chat_model_unknown": 404,
    "run_missing": 404,
    "checkpoint_missing": 404,
    "run_files_gone": 404,
    "run_has_no_adapter": 409,
    "run_base_changed": 409,
    "chat_body_too_large": 413,
    "chat_queue_full": 429,
    "chat_engine_failed": 500,
    "model_gives_no_numbers": 500,
    "chat_engine_ending": 503,
}


@dataclass(frozen=True)
class Order:
    """A chat completion that was asked for."""

    model: str
    messages: tuple[Message, ...]
    sampling: Sampling
    max_tokens: int | None
    stop: tuple[str, ...]
    stream: bool
    include_usage: bool
    template_of: str | None


@dataclass(frozen=True)
class Timings:
    """Seconds from the request's arrival to the first token, and decode speed after it (None: one token)."""

    seconds_to_first: float | None
    tokens_per_second: float | None

    def as_dict(self) -> dict[str, float | None]:
        return {"seconds_to_first": self.seconds_to_first, "tokens_per_second": self.tokens_per_second}


def parse_order(text: bytes) -> Order:
    """Read a request body.

    Raises:
        StudioError: `chat_body_broken` (detail), `chat_field_wrong` (field, expected),
            `chat_field_unsupported`
            (field): a feature that would change the answer and that this engine does not have.
    """
    try:
        body = json.loads(text)
    except ValueError as error:
        raise StudioError("chat_body_broken", detail=str(error)) from None
    if not isinstance(body, dict):
        raise StudioError("chat_body_broken", detail="not a JSON object")
    _refuse_unsupported(body)
    limit = _number(body, "max_completion_tokens", None, 1, 2**31, whole=True)
    if limit is None:
        limit = _number(body, "max_tokens", None, 1, 2**31, whole=True)
    seed = _number(body, "seed", None, -(2**63), 2**64 - 1, whole=True)
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise StudioError("chat_field_wrong", field="stream_options", expected="an object")
    return Order(
        model=_text(body, "model"),
        messages=_messages(body.get("messages")),
        sampling=Sampling(
            temperature=float(_number(body, "temperature", 1.0, 0, 2) or 0.0),
            top_p=float(_number(body, "top_p", 1.0, 0, 1) or 0.0),
            top_k=int(_number(body, "top_k", 0, 0, 2**31, whole=True) or 0),
            repetition_penalty=float(_number(body, "repetition_penalty", 1.0, 0.01, 100) or 1.0),
            seed=None if seed is None else int(seed),
        ),
        max_tokens=None if limit is None else int(limit),
        stop=_stops(body.get("stop")),
        stream=body.get("stream") is True,
        include_usage=options.get("include_usage") is True,
        template_of=None if body.get("template_of") is None else _text(body, "template_of"),
    )


def _refuse_unsupported(body: Mapping[str, Any]) -> None:
    if body.get("n") not in (None, 1):
        raise StudioError("chat_field_unsupported", field="n")
    kind = body.get("response_format") or {}
    if not isinstance(kind, dict) or kind.get("type", "text") != "text":
        raise StudioError("chat_field_unsupported", field="response_format")
    for field in ("tools", "functions", "logprobs", "logit_bias", "audio"):
        if body.get(field):
            raise StudioError("chat_field_unsupported", field=field)
    for field in ("frequency_penalty", "presence_penalty"):
        if body.get(field):
            raise StudioError("chat_field_unsupported", field=field)


def _text(body: Mapping[str, Any], field: str) -> str:
    value = body.get(field)
    if not isinstance(value, str) or not value:
        raise StudioError("chat_field_wrong", field=field, expected="a text")
    return value


def _number(
    body: Mapping[str, Any], field: str, default: float | None, low: float, high: float, whole: bool = False
) -> float | None:
    value = body.get(field)
    if value is None:
        return default
    fits = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if not fits or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise StudioError("chat_field_wrong", field=field, expected=f"{kind} from {low} to {high}")
    number: float = value
    return number


def _stops(value: Any) -> tuple[str, ...]:
    stops = [] if value is None else [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(s, str) and s for s in stops) or len(stops) > 4:
        raise StudioError("chat_field_wrong", field="stop", expected="a text, or up to four of them")
    return tuple(stops)


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


def error_body(error: StudioError) -> tuple[int, dict[str, Any]]:
    """HTTP status and body of an error, in OpenAI's shape with our facts beside the code."""
    status = _STATUS.get(error.code, 400)
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    body = {
        "message": str(error),
        "type": kind,
        "param": error.facts.get("field"),
        "code": error.code,
        "facts": error.facts,
    }
    return status, {"error": body}


class Reply:
    """The bodies of one answer; all its chunks share id and time."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    def chunk(self, text: str | None, finish: str | None = None, first: bool = False) -> dict[str, Any]:
        """One streamed piece."""
        delta: dict[str, str] = {"role": "assistant"} if first else {}
        if text is not None:
            delta["content"] = text
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def usage_chunk(self, usage: Mapping[str, int], timings: Timings, proof: Proof) -> dict[str, Any]:
        """The last piece of a stream whose request asked for usage."""
        head = self._head("chat.completion.chunk")
        return {**head, "choices": [], "usage": dict(usage), **_extras(timings, proof)}

    def whole(
        self, text: str, finish: str, usage: Mapping[str, int], timings: Timings, proof: Proof
    ) -> dict[str, Any]:
        """An answer that was not streamed."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        head = self._head("chat.completion")
        return {**head, "choices": [choice], "usage": dict(usage), **_extras(timings, proof)}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._order.model}


def _extras(timings: Timings, proof: Proof) -> dict[str, Any]:
    return {"timings": timings.as_dict(), "proof": asdict(proof)}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """OpenAI's `usage`; the completion counts the end token."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def model_list(names: list[str], created: int) -> dict[str, Any]:
    """Body of GET /v1/models."""
    data = [{"id": n, "object": "model", "created": created, "owned_by": "finetune-studio"} for n in names]
    return {"object": "list", "data": data}
