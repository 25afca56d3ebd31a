"""Plain text -> records of one column `text`."""

from __future__ import annotations

import re
from pathlib import Path

from studio.data.encoding import read_text
from studio.data.records import Records

PIECE_CHARACTERS = 2000
"""Longest piece: some 500 tokens, so that nothing of a long article falls off the end of a training
sequence."""

_SENTENCE_END = re.compile(r"(?<=[.!?\n])\s+|(?<=[.!?])(?=[A-Z])")


class TextFile:
    """Text of any name: paragraphs parted by empty lines, or lines where there are none; long ones in
    pieces."""

    def claims(self, path: Path, head: bytes) -> bool:  # noqa: ARG002 - one protocol for all readers
        return True

    def read(self, path: Path) -> Records:
        text, problems = read_text(path)
        lines = text.split("\n")
        by_paragraph = re.search(r"\n[ \t]*\n", text.strip()) is not None
        blocks: list[tuple[int, str]] = []
        block: list[str] = []
        for number, line in enumerate([*lines, ""], 1):
            if line.strip():
                block.append(line)
            if block and (not line.strip() or not by_paragraph):
                first = number - len(block) + (1 if line.strip() else 0)
                blocks.append((first, "\n".join(block)))
                block = []
        return Records([(n, {"text": piece}) for n, block in blocks for piece in _pieces(block)], problems)


def _pieces(text: str) -> list[str]:
    """Cut at sentence ends, then at spaces, then anywhere, into pieces of at most PIECE_CHARACTERS."""
    if len(text) <= PIECE_CHARACTERS:
        return [text]
    pieces: list[str] = []
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        limit = start + PIECE_CHARACTERS
        ends = [m.end() for m in _SENTENCE_END.finditer(text, start + PIECE_CHARACTERS // 2, limit)]
        space = text.rfind(" ", start + 1, limit)
        cut = ends[-1] if ends else space + 1 if space > start else limit
        pieces.append(text[start:cut])
        start = cut
    pieces.append(text[start:])
    return [piece.strip() for piece in pieces if piece.strip()]
