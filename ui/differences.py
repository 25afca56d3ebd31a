"""Which words of two answers are not the same. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

Piece = tuple[str, bool]  # text, and whether it differs

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*|\s+|[^\w\s]")


def differing(first: str, second: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces. The marked ones of the first are not in the second, and the other way round."""
    a, b = _WORD.findall(first), _WORD.findall(second)
    # White space says nothing of its own: it is left out of the comparison and put back after it.
    words_a = [i for i, word in enumerate(a) if not word.isspace()]
    words_b = [i for i, word in enumerate(b) if not word.isspace()]
    blocks = SequenceMatcher(
        None, [a[i].casefold() for i in words_a], [b[i].casefold() for i in words_b], autojunk=False
    ).get_matching_blocks()
    same_a = {words_a[block.a + k] for block in blocks for k in range(block.size)}
    same_b = {words_b[block.b + k] for block in blocks for k in range(block.size)}
    return _pieces(a, same_a), _pieces(b, same_b)


def against_first(texts: Sequence[str]) -> list[list[Piece]]:
    """Every text in pieces, compared with the first; in the first what none of the others has."""
    if len(texts) < 2:
        return [[(text, False)] for text in texts]
    pairs = [differing(texts[0], other) for other in texts[1:]]
    firsts = [_characters(pieces) for pieces, _ in pairs]
    everywhere = [all(marks) for marks in zip(*firsts, strict=True)]
    return [_runs(texts[0], everywhere), *(pieces for _, pieces in pairs)]


def _pieces(words: Sequence[str], same: set[int]) -> list[Piece]:
    """Neighbours of one kind together; white space is marked only between two marked words."""
    marks = [i not in same and not word.isspace() for i, word in enumerate(words)]
    for i, word in enumerate(words):
        if word.isspace() and 0 < i < len(words) - 1:
            marks[i] = marks[i - 1] and marks[i + 1]
    text = "".join(words)
    return _runs(text, [mark for word, mark in zip(words, marks, strict=True) for _ in word])


def _characters(pieces: Sequence[Piece]) -> list[bool]:
    return [mark for text, mark in pieces for _ in text]


def _runs(text: str, marks: Sequence[bool]) -> list[Piece]:
    out: list[Piece] = []
    for character, mark in zip(text, marks, strict=True):
        if out and out[-1][1] == mark:
            out[-1] = (out[-1][0] + character, mark)
        else:
            out.append((character, mark))
    return out
