"""Token ids one by one -> text that never shows half a character."""

from __future__ import annotations

import re

from tokenizers import Tokenizer

_LONGEST_CHARACTER = 8
"""Tokens after which an incomplete character is taken for bytes that never become one."""


class Detokenizer:
    """Streams the text of ids: the pieces joined equal the decoding of all ids at once."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip_special = skip_special
        self._ids: list[
            int
        ] = []  # ids from the last safe place on; the first ones give the decoder its context
        self._context = 0  # how many of them are already told

    def push(self, token: int) -> str:
        """Text that is complete with this token; empty while a character is still being spelled in bytes."""
        self._ids.append(token)
        text = self._new_text()
        waiting = len(self._ids) - self._context
        if text.endswith("\ufffd") and waiting < _LONGEST_CHARACTER:
            return ""
        return self._tell(text)

    def finish(self) -> str:
        """What is left when no token follows."""
        return self._tell(self._new_text())

    def _new_text(self) -> str:
        told = self._decode(self._ids[: self._context])
        return self._decode(self._ids)[len(told) :]

    def _decode(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=self._skip_special))

    def _tell(self, text: str) -> str:
        if (
            text
        ):  # else the ids before give the context still: some decoders strip the space of what comes first
            self._ids = self._ids[self._context :]
        self._context = len(self._ids)
        return text


def piece_bytes(piece: str) -> bytes | None:
    """The bytes that a vocabulary's entry stands for: `<0xE2>`, or GPT-2's letters for bytes; else None."""
    if found := re.fullmatch("<0x([0-9A-F]{2})>", piece):
        return bytes.fromhex(found[1])
    values = [_LETTERS.get(letter) for letter in piece]
    known = [value for value in values if value is not None]
    return bytes(known) if len(known) == len(values) else None


def _letters() -> dict[str, int]:
    """GPT-2's letter of each byte: itself where it can be printed, else the next one from U+0100 on."""
    printed = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + n): byte for n, byte in enumerate(others)}


_LETTERS = _letters()
