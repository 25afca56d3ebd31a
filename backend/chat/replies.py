"""What an endpoint answers, in OpenAI's shapes: chat, completions, models, errors. Pure functions.

An answer carries `timings` and `proof` (hashes of what answered) beside `usage` and, from a run that trains
meanwhile, `steps`; an error carries `facts` beside its code.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from backend.api.chat import Proof, Steps
from backend.chat.protocol import Order
from studio.errors import StudioError
from studio.sentences import Sentences

_STATUS = {
    "chat_token_wrong": 401,
    "chat_host_refused": 403,
    "chat_origin_refused": 403,
    "chat_path_unknown": 404,
    "chat_model_unknown": 404,
    "chat_method_wrong": 405,
    "serve_model_unknown": 404,
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
    "chat_run_ended": 503,
    "chat_memory_full": 503,
    "chat_no_room_in_run": 503,
}


@dataclass(frozen=True)
class Timings:
    """Seconds from the request's arrival to the first token, and decode speed after it (None: one token)."""

    seconds_to_first: float | None
    tokens_per_second: float | None

    def as_dict(self) -> dict[str, float | None]:
        return {"seconds_to_first": self.seconds_to_first, "tokens_per_second": self.tokens_per_second}


def span(steps: Sequence[Steps]) -> Steps:
    """From the first step of any to the last of any."""
    known = [one for one in steps if one is not None]
    return (min(one[0] for one in known), max(one[1] for one in known)) if known else None


def together(timings: Sequence[Timings]) -> Timings:
    """Of several choices: when the first token of any came, and the speed of all."""
    firsts = [one.seconds_to_first for one in timings if one.seconds_to_first is not None]
    speeds = [one.tokens_per_second for one in timings if one.tokens_per_second is not None]
    return Timings(min(firsts, default=None), sum(speeds) if speeds else None)


@dataclass(frozen=True)
class Candidate:
    """A token that was, or could have been, said: its text, its bytes where they are known, how likely."""

    text: str
    spelled: bytes | None
    logprob: float


@dataclass(frozen=True)
class TokenSaid:
    """A token of an answer, the character at which it starts, and the likeliest ones at its place."""

    token: Candidate
    offset: int
    top: tuple[Candidate, ...]


@dataclass(frozen=True)
class Choice:
    """One whole answer of a request."""

    index: int
    text: str
    finish: str
    said: tuple[TokenSaid, ...]


@dataclass(frozen=True)
class Facts:
    """What is told of a request once all its choices are complete. The completion counts the end token."""

    prompt_tokens: int
    completion_tokens: int
    timings: Timings
    proof: Proof
    steps: Steps

    def as_dict(self) -> dict[str, Any]:
        usage = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }
        return {
            "usage": usage,
            "timings": self.timings.as_dict(),
            "proof": asdict(self.proof),
            **_where(self.steps),
        }


class Reply:
    """The bodies of the answer to one request; all its chunks share id and time."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._id = f"{'chatcmpl' if order.chat else 'cmpl'}-{uuid.uuid4().hex}"
        self._created = int(time.time())

    def opening(self, step: int | None) -> list[dict[str, Any]]:
        """What a stream begins with: in a chat, the role of each choice."""
        if not self._order.chat:
            return []
        delta = {"role": "assistant", "content": ""}
        where = _where(None if step is None else (step, step))
        return [
            self._piece(index, {"delta": delta}, (), None) | where for index in range(self._order.choices)
        ]

    def chunk(self, index: int, text: str, said: Sequence[TokenSaid] = ()) -> dict[str, Any]:
        """One streamed piece of a choice."""
        body = {"delta": {"content": text}} if self._order.chat else {"text": text}
        return self._piece(index, body, said, None)

    def closing(self, index: int, finish: str) -> dict[str, Any]:
        """The last piece of a choice."""
        body: dict[str, Any] = {"delta": {}} if self._order.chat else {"text": ""}
        return self._piece(index, body, (), finish)

    def usage_chunk(self, facts: Facts) -> dict[str, Any]:
        """The last piece of a stream whose request asked for usage."""
        return {**self._head(".chunk"), "choices": [], **facts.as_dict()}

    def whole(self, choices: Sequence[Choice], facts: Facts) -> dict[str, Any]:
        """An answer that was not streamed."""
        told = [
            self._choice(
                choice.index,
                {"message": {"role": "assistant", "content": choice.text, "refusal": None}}
                if self._order.chat
                else {"text": choice.text},
                choice.said,
                choice.finish,
            )
            for choice in choices
        ]
        return {**self._head(""), "choices": told, **facts.as_dict()}

    def _piece(
        self, index: int, body: Mapping[str, Any], said: Sequence[TokenSaid], finish: str | None
    ) -> dict[str, Any]:
        return {**self._head(".chunk"), "choices": [self._choice(index, body, said, finish)]}

    def _choice(
        self, index: int, body: Mapping[str, Any], said: Sequence[TokenSaid], finish: str | None
    ) -> dict[str, Any]:
        logprobs = None
        if said:
            logprobs = _chat_logprobs(said) if self._order.chat else _completion_logprobs(said)
        return {"index": index, **body, "logprobs": logprobs, "finish_reason": finish}

    def _head(self, chunk: str) -> dict[str, Any]:
        kind = f"chat.completion{chunk}" if self._order.chat else "text_completion"
        return {"id": self._id, "object": kind, "created": self._created, "model": self._order.model}


def _chat_logprobs(said: Sequence[TokenSaid]) -> dict[str, Any]:
    content = [{**_entry(one.token), "top_logprobs": [_entry(other) for other in one.top]} for one in said]
    return {"content": content, "refusal": None}


def _entry(token: Candidate) -> dict[str, Any]:
    spelled = None if token.spelled is None else list(token.spelled)
    return {"token": token.text, "logprob": token.logprob, "bytes": spelled}


def _completion_logprobs(said: Sequence[TokenSaid]) -> dict[str, Any]:
    return {
        "tokens": [one.token.text for one in said],
        "token_logprobs": [one.token.logprob for one in said],
        # The token itself is always told, beside the likeliest; of two with one text the likelier stays.
        "top_logprobs": [
            {other.text: other.logprob for other in reversed([*one.top, one.token])} for one in said
        ],
        "text_offset": [one.offset for one in said],
    }


def _where(steps: Steps) -> dict[str, Any]:
    return {} if steps is None else {"steps": steps}


def model_list(names: list[str], created: int) -> dict[str, Any]:
    """Body of GET /v1/models."""
    return {"object": "list", "data": [model_body(name, created) for name in names]}


def model_body(name: str, created: int) -> dict[str, Any]:
    """Body of GET /v1/models/{id}."""
    return {"id": name, "object": "model", "created": created, "owned_by": "finetune-studio"}


def error_body(error: StudioError, sentences: Sentences) -> tuple[int, dict[str, Any]]:
    """HTTP status and body of an error, in OpenAI's shape with our facts beside the code.

    The message is cause and remedy; code and facts where nobody handed on a sentence for the code.
    """
    status = _STATUS.get(error.code, 400)
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    known = sentences.has(f"error.{error.code}.message")
    message = " ".join(sentences.error(error)) if known else str(error)
    body = {
        "message": message,
        "type": kind,
        "param": error.facts.get("field"),
        "code": error.code,
        "facts": error.facts,
    }
    return status, {"error": body}
