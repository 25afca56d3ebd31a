"""Text of an answer as its tokens come: whole characters only, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Detokenizer(Protocol):
    """Incremental decoding, as `studio.data.render.Renderer.detokenizer` gives it."""

    def push(self, id: int) -> str: ...
    def finish(self) -> str: ...


class AnswerText:
    """Turns a row's token ids into text pieces that can be shown at once.

    What could be the beginning of a stop string is held back until it is clear. Once `stopped`, the answer is
    over: the stop string and what follows it are left out.
    """

    def __init__(self, detokenizer: Detokenizer, stop: Sequence[str] = ()) -> None:
        self._detokenizer = detokenizer
        self._stop = tuple(text for text in stop if text)
        self._held = ""
        self.shown = 0  # characters that were given out
        self.stopped = False

    @property
    def length(self) -> int:
        """Characters so far, with those held back: where the next token's text starts."""
        return self.shown + len(self._held)

    def push(self, id: int) -> str:
        """The text that is certain after this token; often empty."""
        return self._release(self._detokenizer.push(id))

    def finish(self) -> str:
        """What was still held back when the answer ended by itself."""
        if self.stopped:
            return ""
        text = self._release(self._detokenizer.finish())
        if not self.stopped:
            self.shown += len(self._held)
            text += self._held
        self._held = ""
        return text

    def _release(self, piece: str) -> str:
        text = self._held + piece
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped = True
            self._held = ""
            self.shown += min(found)
            return text[: min(found)]
        certain = len(text) - max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[certain:]
        self.shown += certain
        return text[:certain]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
