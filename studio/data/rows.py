"""The one internal form of a training row, and the frozen `rows.jsonl` file of a run.

Every file format is turned into it, and everything behind it (renderer, objectives, worker) reads nothing
else. A message's content is a tuple of typed parts; text is the only kind today."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROLES = ("system", "user", "assistant", "tool", "text")
"""`text` is raw text that goes past the chat template: what plain-text data consists of."""

Label = bool | int | float | str


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


Part = TextPart


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    content: tuple[Part, ...]

    @classmethod
    def of(cls, role: str, text: str) -> Message:
        """A message with a single text part."""
        return cls(role, (TextPart(text),))

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.content)


@dataclass(frozen=True, slots=True)
class Stream:
    """One sequence that the model reads. `learned` has one entry per message: does its text carry loss?"""

    messages: tuple[Message, ...]
    learned: tuple[bool, ...]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if len(self.messages) != len(self.learned):
            raise ValueError(f"{len(self.messages)} messages but {len(self.learned)} learned marks")

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the first learned one."""
        first = self.learned.index(True) if True in self.learned else len(self.messages)
        return self.messages[:first]


@dataclass(frozen=True, slots=True)
class Row:
    """One training example. `streams`: `text` for sft, `chosen` and `rejected` for pairs, `completion` for
    KTO."""

    id: str
    streams: Mapping[str, Stream]
    labels: Mapping[str, Label] = field(default_factory=dict)
    source: str = ""

    @property
    def prompt_key(self) -> str:
        """Text that is equal for rows that ask the same; empty where a row has no prompt (plain text)."""
        stream = next(iter(self.streams.values()))
        return (
            json.dumps([[m.role, m.text] for m in stream.prompt], ensure_ascii=False) if stream.prompt else ""
        )


def _stream_to_json(stream: Stream) -> dict[str, Any]:
    messages = [
        {"role": m.role, "content": [{"type": "text", "text": part.text} for part in m.content]}
        for m in stream.messages
    ]
    return {"messages": messages, "learned": list(stream.learned), "weight": stream.weight}


def _stream_from_json(body: Mapping[str, Any]) -> Stream:
    messages = tuple(
        Message(m["role"], tuple(TextPart(part["text"]) for part in m["content"])) for m in body["messages"]
    )
    return Stream(messages, tuple(body["learned"]), body["weight"])


def content_to_json(row: Row) -> dict[str, Any]:
    """What a row says, without where it came from: the part that identity hashes."""
    streams = {name: _stream_to_json(stream) for name, stream in row.streams.items()}
    return {"streams": streams, "labels": dict(row.labels)}


def content_hash(row: Row) -> str:
    """sha256 (hex) of what the row says; equal for equal rows of different files and formats."""
    canonical = json.dumps(content_to_json(row), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def row_to_json(row: Row) -> dict[str, Any]:
    return {"id": row.id, **content_to_json(row), "source": row.source}


def row_from_json(body: Mapping[str, Any]) -> Row:
    streams = {name: _stream_from_json(stream) for name, stream in body["streams"].items()}
    return Row(body["id"], streams, body["labels"], body["source"])


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Write the frozen form, one row a line; gives the number of rows."""
    count = 0
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row_to_json(row), ensure_ascii=False) + "\n")
            count += 1
    return count


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote."""
    with path.open(encoding="utf-8", newline="\n") as file:
        return [row_from_json(json.loads(line)) for line in file]
