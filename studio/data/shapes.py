"""The usual shapes of training data, one object each: the first in `SHAPES` that claims the columns converts.

A shape says why it claims (a Reason), and turns one record into streams and labels or raises RowError.
Column names count without case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from studio.data.chat import (
    Turn,
    check_order,
    text_of,
    tools_text,
    turn_of,
    turns_of,
    with_system,
    without_open_end,
)
from studio.data.problems import RowError
from studio.data.rows import Label, Message, Stream
from studio.errors import Reason

Record = Mapping[str, Any]
Columns = Mapping[str, Any]
"""Name of each column that most rows have -> a value from it."""

_QUESTIONS = ("prompt", "question", "query", "instruction", "input", "problem")
_ANSWERS = ("completion", "response", "answer", "output", "target", "solution")
_TALKS = ("messages", "conversations", "conversation", "dialogue", "chat")
_TEXTS = ("text", "content", "document")
_KTO_LABELS = ("label", "kto_tag")


@dataclass(frozen=True)
class Content:
    """What a record says: the streams and labels of a row. `notes` are codes of what is odd about it."""

    streams: Mapping[str, Stream]
    labels: Mapping[str, Label] = field(default_factory=dict)
    notes: Sequence[tuple[str, str | None]] = ()


class Shape(Protocol):
    id: str

    def claims(self, columns: Columns) -> Reason | None: ...

    def convert(self, record: Record) -> Content: ...


def _first(names: Sequence[str], columns: Mapping[str, Any]) -> str | None:
    return next((name for name in names if name in columns), None)


def _is_talk(value: Any) -> bool:
    """A list of messages, perhaps as JSON text."""
    if isinstance(value, str):
        return value.lstrip()[:2] in ("[{", "[ ") and '"' in value
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _claim(shape: str, *columns: str | None) -> Reason:
    return Reason(f"format_{shape}", {"columns": ", ".join(name for name in columns if name)})


def _value(record: Record, column: str) -> Any:
    if column not in record:
        raise RowError("column_missing", column)
    return record[column]


def _stream(turns: Sequence[Turn], column: str, first_learned: int = 0) -> Stream:
    """A stream that learns every answer from message `first_learned` on, checked for order and empty
    answers."""
    messages = tuple(turn.message for turn in turns)
    check_order(messages, column)
    learned = tuple(
        turn.message.role == "assistant" and not turn.excluded and place >= first_learned
        for place, turn in enumerate(turns)
    )
    return Stream(messages, learned)


def _question(text: str, column: str) -> tuple[Turn, list[tuple[str, str | None]]]:
    notes: list[tuple[str, str | None]] = [] if text.strip() else [("prompt_empty", column)]
    return Turn(Message.of("user", text)), notes


def _answer(text: str, column: str) -> Turn:
    if not text.strip():
        raise RowError("answer_empty", column, place=1)
    return Turn(Message.of("assistant", text))


def _prompt_turns(value: Any, column: str) -> tuple[list[Turn], list[tuple[str, str | None]]]:
    """A prompt: text, or messages that end before the answer."""
    if isinstance(value, list | dict):
        return turns_of(value, column), []
    turn, notes = _question(text_of(value, column), column)
    return [turn], notes


def _answer_turns(value: Any, column: str) -> list[Turn]:
    """A completion: text, one message, or messages."""
    if isinstance(value, dict):
        return [turn_of(value, column)]
    if isinstance(value, list):
        return turns_of(value, column)
    return [_answer(text_of(value, column), column)]


class Preference:
    """`chosen` and `rejected` answers to the same prompt."""

    id = "preference"

    def claims(self, columns: Columns) -> Reason | None:
        if not {"chosen", "rejected"} <= columns.keys():
            return None
        prompt = _first((*_QUESTIONS, *_TALKS), columns)
        if prompt is None and not _is_talk(columns["chosen"]):
            return None
        return _claim(self.id, prompt, "chosen", "rejected")

    def convert(self, record: Record) -> Content:
        chosen = _answer_turns(_value(record, "chosen"), "chosen")
        rejected = _answer_turns(_value(record, "rejected"), "rejected")
        prompt = _first((*_QUESTIONS, *_TALKS), record)
        before: list[Turn] = []
        notes: list[tuple[str, str | None]] = []
        if prompt is not None:
            before, notes = _prompt_turns(record[prompt], prompt)
        shared = _shared(chosen, rejected)
        if shared == len(chosen) == len(rejected):
            raise RowError("pair_equal", "rejected")
        if (
            before and chosen[: len(before)] == before
        ):  # the prompt is told twice, in its column and in the pair
            before = []
        before = with_system(before, text_of(record.get("system"), "system"))
        first = len(before) + shared
        streams = {
            "chosen": _stream([*before, *chosen], "chosen", first),
            "rejected": _stream([*before, *rejected], "rejected", first),
        }
        return Content(streams, notes=notes)


def _shared(left: Sequence[Turn], right: Sequence[Turn]) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


class Kto:
    """Single answers, each marked good or bad."""

    id = "kto"

    def claims(self, columns: Columns) -> Reason | None:
        label = _first(_KTO_LABELS, columns)
        body = _first((*_TALKS, *_ANSWERS), columns)
        if label is None or body is None or _truth(columns[label]) is None:
            return None
        return _claim(self.id, body, label)

    def convert(self, record: Record) -> Content:
        label = _first(_KTO_LABELS, record)
        good = _truth(record[label]) if label else None
        if label is None or good is None:
            raise RowError("label_missing", label or _KTO_LABELS[0])
        inner: Shape = Messages() if _first(_TALKS, record) else PromptCompletion()
        content = inner.convert(record)
        stream = content.streams["text"]
        last = len(stream.learned) - 1
        judged = Stream(stream.messages, tuple(place == last for place in range(last + 1)))
        return Content({"completion": judged}, {"desirable": good}, content.notes)


def _truth(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False, "1": True, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, bool | int) and value in (0, 1) else None


class Messages:
    """Chats: a list of `{"role", "content"}` (OpenAI) or `{"from", "value"}` (ShareGPT), with or without
    tools."""

    id = "messages"
    marks = ("role", "content")

    def claims(self, columns: Columns) -> Reason | None:
        column = _first(_TALKS, columns)
        if column is None or not _is_talk(columns[column]):
            return None
        value = columns[column]
        first = value[0].keys() if isinstance(value, list) else {m for m in self.marks if f'"{m}"' in value}
        if self.marks[0] not in first:
            return None
        return Reason(f"format_{self.id}", {"columns": column, "marks": ", ".join(self.marks)})

    def convert(self, record: Record) -> Content:
        column = _first(_TALKS, record)
        if column is None:
            raise RowError("column_missing", _TALKS[0])
        turns = turns_of(record[column], column)
        tools = tools_text(record.get("tools") or record.get("functions"))
        turns = with_system(turns, text_of(record.get("system"), "system"), tools)
        kept = without_open_end(turns)
        notes: list[tuple[str, str | None]] = [("open_end", column)] if len(kept) < len(turns) else []
        if tools:
            notes.append(("tools_as_text", "tools"))
        return Content({"text": _stream(kept, column)}, notes=notes)


class ShareGpt(Messages):
    id = "sharegpt"
    marks = ("from", "value")


class Alpaca:
    """`instruction`, `output`, and where there are any `input`, `system` and `history`."""

    id = "alpaca"
    _outputs = ("output", "response", "answer", "completion")
    _inputs = ("input", "context")

    def claims(self, columns: Columns) -> Reason | None:
        output = _first(self._outputs, columns)
        if "instruction" not in columns or output is None:
            return None
        return _claim(self.id, "instruction", _first(self._inputs, columns), output)

    def convert(self, record: Record) -> Content:
        output = _first(self._outputs, record)
        if output is None:
            raise RowError("column_missing", self._outputs[0])
        given = _first(self._inputs, record)
        question = text_of(_value(record, "instruction"), "instruction")
        extra = text_of(record[given], given) if given else ""
        turn, notes = _question(f"{question}\n{extra}" if extra.strip() else question, "instruction")
        turns = [*_history(record.get("history")), turn, _answer(text_of(record[output], output), output)]
        turns = with_system(turns, text_of(record.get("system"), "system"))
        return Content({"text": _stream(turns, output)}, notes=notes)


def _history(value: Any) -> list[Turn]:
    """Earlier turns as `[[question, answer], ...]`."""
    if not value:
        return []
    turns: list[Turn] = []
    if not isinstance(value, list):
        raise RowError("wrong_type", "history", found=type(value).__name__, expected="list")
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError("wrong_type", "history", found=type(pair).__name__, expected="pair")
        turns += [
            Turn(Message.of("user", text_of(pair[0], "history"))),
            _answer(text_of(pair[1], "history"), "history"),
        ]
    return turns


class PromptCompletion:
    """A question column and an answer column, under any of their usual names."""

    id = "prompt_completion"

    def claims(self, columns: Columns) -> Reason | None:
        question, answer = self._columns(columns)
        return _claim(self.id, question, answer) if question and answer else None

    def _columns(self, columns: Mapping[str, Any]) -> tuple[str | None, str | None]:
        question, answer = _first(_QUESTIONS, columns), _first(_ANSWERS, columns)
        if not question and not answer and {"text", "label"} <= columns.keys():  # classification
            return "text", "label"
        return question, answer

    def convert(self, record: Record) -> Content:
        question, answer = self._columns(record)
        if question is None or answer is None:
            raise RowError("column_missing", _QUESTIONS[0] if question is None else _ANSWERS[0])
        before, notes = _prompt_turns(record[question], question)
        after = _answer_turns(record[answer], answer)
        before = with_system(before, text_of(record.get("system"), "system"))
        return Content({"text": _stream([*before, *after], answer, len(before))}, notes=notes)


class PlainText:
    """Text to go on reading from: no questions, no chat template, every token learned."""

    id = "text"

    def claims(self, columns: Columns) -> Reason | None:
        column = self._column(columns)
        return _claim(self.id, column) if column else None

    def _column(self, columns: Mapping[str, Any]) -> str | None:
        named = _first(_TEXTS, columns)
        if named is None and len(columns) == 1:
            named = next(iter(columns))
        return named if named is not None and isinstance(columns[named], str) else None

    def convert(self, record: Record) -> Content:
        column = _first(_TEXTS, record) or next(iter(record), None)
        if column is None:
            raise RowError("column_missing", _TEXTS[0])
        text = text_of(record[column], column)
        if not text.strip():
            raise RowError("text_empty", column)
        return Content({"text": Stream((Message.of("text", text),), (True,))})


SHAPES: tuple[Shape, ...] = (
    Preference(),
    Kto(),
    Messages(),
    ShareGpt(),
    Alpaca(),
    PromptCompletion(),
    PlainText(),
)
