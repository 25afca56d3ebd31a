"""Bytes of a text file -> text, whatever editor or spreadsheet wrote it."""

from __future__ import annotations

import codecs
import re
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

# What text has no use for; ends of pages and of old files, bells, and separators of records do occur in it.
_CONTROL = re.compile(r"[\x01-\x06\x0e-\x19\x7f]")
_LOOKED_AT = 4000
_CONTROL_SHARE = 0.02  # of more it is no text: 7% of random bytes are such, hardly any of what was scraped


def _guess(data: bytes) -> str:
    """The encoding of bytes without a byte order mark that are no UTF-8.

    Western spreadsheets write cp1252. UTF-16 without a mark is known by its zero bytes: every second one in
    Western text.
    """
    head = data[:_LOOKED_AT]
    if head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    if head[0::2].count(0) > len(head) // 4:
        return "utf-16-be"
    return "cp1252"


def read_text(path: Path) -> tuple[str, list[Problem]]:
    """Text of a file with `\\n` line ends, and a problem where its encoding had to be guessed.

    Raises StudioError: `data_binary` for bytes that are no text, `data_encoding_broken` (encoding) for those
    that only begin as one, both with path; `data_empty` for a file without any text.
    """
    data = path.read_bytes()
    problems: list[Problem] = []
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), None)
    try:
        if encoding is not None:
            text = data.decode(encoding)
        elif b"\0" not in data[:_LOOKED_AT]:
            text = data.decode("utf-8")
        else:
            text = data.decode(_guess(data))
    except UnicodeDecodeError as error:
        if encoding is not None:
            raise StudioError("data_encoding_broken", path=str(path), encoding=error.encoding) from error
        if b"\0" in data:
            raise StudioError("data_binary", path=str(path)) from error
        text, encoding = _decode_guessed(path, data)
        problems.append(Problem("encoding_guessed", facts={"file": path.name, "encoding": encoding}))
    if _is_binary(text[:_LOOKED_AT]):
        raise StudioError("data_binary", path=str(path))
    if not text.strip():
        raise StudioError("data_empty", path=str(path))
    return text.replace("\r\n", "\n").replace("\r", "\n"), problems


def _decode_guessed(path: Path, data: bytes) -> tuple[str, str]:
    encoding = _guess(data)
    try:
        return data.decode(encoding), encoding
    except UnicodeDecodeError as error:
        raise StudioError("data_binary", path=str(path)) from error


def _is_binary(head: str) -> bool:
    return "\0" in head or len(_CONTROL.findall(head)) > _CONTROL_SHARE * len(head)
