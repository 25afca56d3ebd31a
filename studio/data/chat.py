"""Lists of chat messages of the usual dialects -> our messages, checked for an order that makes sense."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from studio.data.problems import RowError
from studio.data.rows import Message

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
_MAY_FOLLOW = {
    None: {"user"},
    "user": {"assistant"},
    "assistant": {"user", "tool"},
    "tool": {"tool", "assistant"},
}


_TOOLS_INTRODUCTION = (
    "You can call these tools. To call one, write a JSON object with its name and arguments.\n"
)


@dataclass(frozen=True)
class Turn:
    """A message, and whether the file itself wants it left out of the loss (`weight: 0`, as hosted tuning has
    it)."""

    message: Message
    excluded: bool = False


def text_of(value: Any, column: str) -> str:
    """The text of a cell: strings, numbers and text parts are accepted, None is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        for part in value:
            if not isinstance(part.get("text"), str):
                raise RowError("part_not_text", column, kind=str(part.get("type")))
        return "".join(part["text"] for part in value)
    raise RowError("wrong_type", column, found=type(value).__name__, expected="text")


def list_of(value: Any, column: str) -> list[Any]:
    """A cell that holds a list, also as JSON text, as tables carry it."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowError("wrong_type", column, found="text", expected="list") from error
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise RowError("wrong_type", column, found=type(value).__name__, expected="list")
    return value


def turn_of(value: Any, column: str) -> Turn:
    """One message: `{"role", "content"}` or `{"from", "value"}`."""
    if not isinstance(value, dict):
        raise RowError("wrong_type", column, found=type(value).__name__, expected="message")
    speaker = value.get("role") or value.get("from")
    if not isinstance(speaker, str) or speaker.lower() not in _ROLES:
        raise RowError("role_unknown", column, role=str(speaker))
    text = text_of(value["content"] if "content" in value else value.get("value"), column)
    calls = value.get("tool_calls") or ([value["function_call"]] if value.get("function_call") else [])
    if calls:
        text = "\n".join([text] * bool(text) + [_call_text(call, column) for call in calls])
    return Turn(Message.of(_ROLES[speaker.lower()], text), excluded=value.get("weight") == 0)


def _call_text(call: Any, column: str) -> str:
    """A tool call as the text that the model is to write: `{"name": ..., "arguments": {...}}`."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or "name" not in function:
        raise RowError("wrong_type", column, found=type(call).__name__, expected="tool call")
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        with suppress(ValueError, RecursionError):  # not JSON: the text itself is what the model is to write
            arguments = json.loads(arguments)
    return json.dumps({"name": function["name"], "arguments": arguments}, ensure_ascii=False)


def turns_of(value: Any, column: str) -> list[Turn]:
    return [turn_of(item, column) for item in list_of(value, column)]


def tools_text(tools: Any) -> str:
    """Tool descriptions as part of a system text, since text is the only kind of content; empty for none."""
    listed = tools if isinstance(tools, str) else json.dumps(tools or [], ensure_ascii=False)
    return "" if listed.strip() in ("", "[]") else _TOOLS_INTRODUCTION + listed


def with_system(turns: Sequence[Turn], *texts: str) -> list[Turn]:
    """Put texts in front as the system message, before the one that the turns may bring."""
    told = [text for text in texts if text.strip()]
    rest = list(turns)
    if told and rest and rest[0].message.role == "system":
        told.append(rest.pop(0).message.text)
    return [Turn(Message.of("system", "\n\n".join(told))), *rest] if told else rest


def check_order(messages: Sequence[Message], column: str) -> None:
    """Raise RowError unless roles take turns as a chat does and every answer says something."""
    before: str | None = None
    for place, message in enumerate(messages, 1):
        if message.role == "system" and place == 1:
            continue
        if message.role not in _MAY_FOLLOW[before]:
            raise RowError("role_order", column, place=place, role=message.role, after=before or "start")
        if message.role == "assistant" and not message.text.strip():
            raise RowError("answer_empty", column, place=place)
        before = message.role
    if "assistant" not in {m.role for m in messages}:
        raise RowError("answer_missing", column)


def without_open_end(turns: Sequence[Turn]) -> list[Turn]:
    """Drop what follows the last answer: nothing is learned from a question that is not answered."""
    last = max(
        (i for i, turn in enumerate(turns) if turn.message.role == "assistant"), default=len(turns) - 1
    )
    return list(turns[: last + 1])
