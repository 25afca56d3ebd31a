"""JSON and JSON lines -> records; a broken row costs that row where the rest can still be told apart."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from studio.data.encoding import read_text
from studio.data.problems import Problem
from studio.data.records import Records
from studio.errors import StudioError

_DECODER = json.JSONDecoder()
_WRAPPERS = {"data", "rows", "train", "examples", "samples", "items", "records", "instances"}


class JsonFile:
    """`.json`, `.jsonl` and any other text that begins like JSON. The content decides, not the name: JSON
    lines are often called `.json`."""

    suffixes = (".json", ".jsonl", ".ndjson")

    def claims(self, path: Path, head: bytes) -> bool:
        return path.suffix.lower() in self.suffixes or head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[")

    def read(self, path: Path) -> Records:
        text, problems = read_text(path)
        start = len(text) - len(text.lstrip())
        if text[start] == "[":
            records = _read_array(path, text, start)
        else:
            records = _read_object(text) or _read_lines(path, text)
        return Records(records.rows, problems + records.problems)


def _parse(text: str) -> Any:
    """`json.loads`, with its three ways to fail told as one: `ValueError` is also raised for absurdly long
    numbers, `RecursionError` for absurdly deep nesting."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _position(text: str, error: ValueError, start: int = 0) -> tuple[int, int, str]:
    """(line, column, detail) of a parse error whose positions count from `start`."""
    if not isinstance(error, json.JSONDecodeError):
        return text.count("\n", 0, start) + 1, 1, str(error)
    at = start + error.pos
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1, error.msg


def _broken(path: Path, text: str, error: ValueError, row: int, start: int = 0) -> StudioError:
    line, column, detail = _position(text, error, start)
    return StudioError("data_broken", path=str(path), row=row, line=line, column=column, detail=detail)


def _read_array(path: Path, text: str, start: int) -> Records:
    try:
        values = _parse(text)
    except ValueError:
        return _salvage_array(path, text, start)
    return Records(list(enumerate(values, 1)))


def _salvage_array(path: Path, text: str, start: int) -> Records:
    """Read an array element by element. After a broken element the next one is found only where elements
    begin on lines of their own with the same indent; anything less sure ends the reading with the place of
    the break."""
    first = re.compile(r"\s*").match(text, start + 1)
    at = first.end() if first else start + 1
    indent = text[text.rfind("\n", 0, at) + 1 : at]
    next_element = re.compile(rf"\n{indent}(?=\{{)") if not indent.strip() else None
    after_element = re.compile(r"\s*(,|\])\s*")
    rows: list[tuple[int, Any]] = []
    problems: list[Problem] = []
    row = 1
    while at < len(text) and text[at] != "]":  # a comma after the last element is forgiven
        try:
            value, end = _decode_at(text, at)
            separator = after_element.match(text, end)
            if separator is None:
                raise json.JSONDecodeError("Expecting ',' delimiter", text, end)
        except ValueError as error:
            resume = next_element.search(text, at) if next_element is not None else None
            if resume is None:
                raise _broken(path, text, error, row) from error
            line, column, detail = _position(text, error)
            facts = {"file": path.name, "line": line, "position": column, "detail": detail}
            problems.append(Problem("row_not_json", row, None, facts, skipped=True))
            at = resume.end()
        else:
            rows.append((row, value))
            at = separator.end()
            if separator.group(1) == "]":
                break
        row += 1
    return Records(rows, problems)


def _decode_at(text: str, at: int) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _read_object(text: str) -> Records | None:
    """A file that is one JSON object: either one row, or a wrapper around the rows."""
    try:
        value = _parse(text)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    wrapped = next((v for k, v in value.items() if k.lower() in _WRAPPERS and isinstance(v, list)), None)
    return Records([(1, value)] if wrapped is None else list(enumerate(wrapped, 1)))


def _read_lines(path: Path, text: str) -> Records:
    rows: list[tuple[int, Any]] = []
    problems: list[Problem] = []
    first_error: StudioError | None = None
    # Not splitlines(): U+2028 and its kin may stand inside JSON strings.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            rows.append((number, _parse(line)))
        except ValueError as error:
            _, column, detail = _position(line, error)
            facts = {"file": path.name, "line": number, "position": column, "detail": detail}
            problems.append(Problem("row_not_json", number, None, facts, skipped=True))
            first_error = first_error or StudioError(
                "data_broken", path=str(path), row=number, line=number, column=column, detail=detail
            )
    if not rows and first_error is not None:
        raise first_error
    return Records(rows, problems)
