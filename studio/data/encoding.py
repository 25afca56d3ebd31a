"""Bytes of a text file -> text, whatever editor or spreadsheet wrote it."""

from __future__ import annotations

import codecs
from pathlib import Path

from studio.data.problems import Problem
from studio.errors import StudioError

_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def _guess(data: bytes) -> str:
    """The encoding of bytes without a byte order mark that are no UTF-8.

    Western spreadsheets write cp1252. UTF-16 without a mark is known by its zero bytes: every second one in
    Western text.
    """
    head = data[:4000]
    if head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    if head[0::2].count(0) > len(head) // 4:
        return "utf-16-be"
    return "cp1252"


def read_text(path: Path) -> tuple[str, list[Problem]]:
    """Text of a file with `\\n` line ends, and a problem where its encoding had to be guessed.

    Raises StudioError `data_unreadable` for bytes that are no text, `data_empty` for a file without any text.
    """
    data = path.read_bytes()
    problems: list[Problem] = []
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), None)
    try:
        if encoding is not None:
            text = data.decode(encoding)
        elif b"\0" not in data[:4000]:
            text = data.decode("utf-8")
        else:
            text = data.decode(_guess(data))
    except UnicodeDecodeError as error:
        if encoding is not None or b"\0" in data:
            raise StudioError("data_unreadable", path=str(path), detail=str(error)) from error
        text, encoding = _decode_guessed(path, data)
        problems.append(Problem("encoding_guessed", facts={"file": path.name, "encoding": encoding}))
    if "\0" in text[:4000]:
        raise StudioError("data_unreadable", path=str(path), detail="binary data, not text")
    if not text.strip():
        raise StudioError("data_empty", path=str(path))
    return text.replace("\r\n", "\n").replace("\r", "\n"), problems


def _decode_guessed(path: Path, data: bytes) -> tuple[str, str]:
    encoding = _guess(data)
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError as error:
        raise StudioError("data_unreadable", path=str(path), detail=str(error)) from error
