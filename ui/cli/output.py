"""Where the command line writes: the result on standard output, everything else on standard error."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from io import TextIOWrapper
from typing import Any

from studio.errors import StudioError
from ui.words import Words


class Output:
    """With `as_json` standard output carries exactly one JSON document, else text for a person."""

    def __init__(self, words: Words, as_json: bool) -> None:
        self.words = words
        self.as_json = as_json
        self._on_terminal = sys.stderr.isatty()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                # What a terminal cannot show must not end a command.
                stream.reconfigure(errors="replace")
        self._live = False

    def result(self, document: Any, text: str) -> None:
        """What the command was asked for: the document with --json, else the text."""
        self.end_progress()
        _say(to_json(document) if self.as_json else text)

    def note(self, text: str) -> None:
        """A line beside the result."""
        self.end_progress()
        print(text, file=sys.stderr, flush=True)

    def piece(self, text: str) -> None:
        """A piece of a text that is being written for a person; nothing with --json."""
        if not self.as_json:
            _say(text, end="")

    def progress(self, text: str) -> None:
        """A line that the next one replaces; without a terminal every call is a line of its own."""
        if not self._on_terminal:
            print(text, file=sys.stderr, flush=True)
            return
        print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
        self._live = True

    @property
    def replaces_lines(self) -> bool:
        """Whether progress lines replace each other."""
        return self._on_terminal

    def end_progress(self) -> None:
        if self._live:
            print(file=sys.stderr, flush=True)
            self._live = False

    def refuse(self, error: StudioError) -> None:
        """Cause and remedy on standard error; with --json the refusal on standard output."""
        cause, remedy = self.words.error(error)
        self.note(f"{cause}\n{remedy}".rstrip())
        if self.as_json:
            _say(to_json({"error": error.as_dict() | {"message": cause, "remedy": remedy}}))

    def refuse_usage(self, message: str) -> None:
        """Bad usage: how it should read on standard error; with --json the refusal on standard output."""
        self.note(message)
        if self.as_json:
            cause, _, remedy = message.partition("\n")
            refusal = {"code": "usage", "facts": {}, "message": cause, "remedy": remedy}
            _say(to_json({"error": refusal}))


def _say(text: str, end: str = "\n") -> None:
    """On standard output. Whoever reads it may have enough, as `head` has: the rest is said to nobody."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def to_json(value: Any) -> str:
    """One JSON document; what JSON has no number for (NaN, infinity) becomes null."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
