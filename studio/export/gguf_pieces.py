"""A vocabulary of SentencePiece's kind as GGUF says it, and how llama.cpp cuts text by it.

The kind: BPE over characters, spaces written as `▁`, what has no piece spelled in byte pieces (Llama 2,
Mistral 7B). llama.cpp keeps no merges: it joins the two neighbours whose joined text is the piece of the
highest score, over and over. So a piece's score says when its merge comes: minus the rank of the first merge
that makes it.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gguf import TokenType
from tokenizers import Tokenizer

SPACE = "▁"
_BYTE = re.compile("<0x([0-9A-F]{2})>")
MARKED = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)


@dataclass(frozen=True)
class Pieces:
    """Entries of the file, by id. `prefix`: a space goes in front of text, at the beginning and after each
    piece that is found as it stands (`add_space_prefix`)."""

    tokens: Sequence[str]
    scores: Sequence[float]
    types: Sequence[TokenType]
    prefix: bool = True

    def ids(self, text: str) -> list[int]:
        """What llama.cpp makes of a text, special tokens in it read as such."""
        found: list[int] = []
        for part in self._marked.split(text) if self._marked else [text]:
            if part in self._marked_ids:
                found.append(self._marked_ids[part])
            elif part:
                found += self.cut((" " if self.prefix else "") + part)
        return found

    def cut(self, text: str) -> list[int]:
        """The ids of a text without special tokens and without the space in front."""
        symbols: list[str | None] = list(text.replace(" ", SPACE))
        before, after = list(range(-1, len(symbols) - 1)), list(range(1, len(symbols) + 1))
        waiting: list[tuple[float, int, int, str]] = []

        def offer(left: int) -> None:
            if left >= 0 and (right := after[left]) < len(symbols):
                joined = f"{symbols[left]}{symbols[right]}"
                if (id := self._ids.get(joined)) is not None:
                    heapq.heappush(waiting, (-self.scores[id], left, right, joined))

        for left in range(len(symbols)):
            offer(left)
        while waiting:
            _, left, right, joined = heapq.heappop(waiting)
            if (
                symbols[left] is None
                or symbols[right] is None
                or f"{symbols[left]}{symbols[right]}" != joined
            ):
                continue  # one of them has grown or is gone
            symbols[left], symbols[right] = joined, None
            after[left] = after[right]
            if after[right] < len(symbols):
                before[after[right]] = left
            offer(before[left])
            offer(left)
        return [id for symbol in symbols if symbol is not None for id in self._spelled(symbol)]

    def marked(self, ids: Sequence[int]) -> list[int]:
        """The special tokens among ids."""
        return [id for id in ids if self.types[id] in MARKED]

    def texts(self, ids: Sequence[int]) -> Iterator[str]:
        """The stretches of text between special tokens; without those that are no whole characters."""
        stretch: list[int] = []
        for id in [*ids, None]:
            if id is not None and self.types[id] not in MARKED:
                stretch.append(id)
                continue
            spelled = b"".join(_bytes_of(self.tokens[i]) for i in stretch)
            with suppress(UnicodeDecodeError):  # the ids begin or end inside a character
                yield spelled.decode()
            stretch = []

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: id for id, token in enumerate(self.tokens)}

    @cached_property
    def _marked_ids(self) -> dict[str, int]:
        return {self.tokens[id]: id for id, type in enumerate(self.types) if type in MARKED}

    @cached_property
    def _marked(self) -> re.Pattern[str] | None:
        longest_first = sorted(self._marked_ids, key=len, reverse=True)
        return re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None

    def _spelled(self, symbol: str) -> list[int]:
        id = self._ids.get(symbol)
        return [id] if id is not None else [self._ids[f"<0x{byte:02X}>"] for byte in symbol.encode()]


def pieces_of(tokenizer: Tokenizer, body: Mapping[str, Any], unknown: int | None, vocabulary: int) -> Pieces:
    """Tokens, scores and types of `vocabulary` ids. `body`: tokenizer.json; `unknown`: the id of what has no
    piece."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(body["model"]["merges"]):
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        ranks.setdefault(left + right, rank)
    added = tokenizer.get_added_tokens_decoder()
    tokens, types = [], []
    for id in range(vocabulary):
        # A normalised one would be named by what its text becomes.
        text = added[id].content if id in added else tokenizer.id_to_token(id)
        tokens.append(f"[PAD{id}]" if text is None else text)
        types.append(_type(text, added.get(id), id == unknown))
    # What no merge makes comes last.
    return Pieces(tokens, [-float(ranks.get(token, len(ranks) + 1)) for token in tokens], types)


def missing_byte(tokens: Sequence[str]) -> str | None:
    """The first byte that has no piece; llama.cpp ends where it needs one that is not there."""
    known = set(tokens)
    return next((name for byte in range(256) if (name := f"<0x{byte:02X}>") not in known), None)


def _type(text: str | None, added: Any, unknown: bool) -> TokenType:
    if text is None:
        return TokenType.UNUSED
    if unknown:
        return TokenType.UNKNOWN
    if _BYTE.fullmatch(text):
        return TokenType.BYTE
    if added is None:
        return TokenType.NORMAL
    return TokenType.CONTROL if added.special else TokenType.USER_DEFINED


def _bytes_of(token: str) -> bytes:
    found = _BYTE.fullmatch(token)
    return bytes.fromhex(found[1]) if found else token.replace(SPACE, " ").encode()
