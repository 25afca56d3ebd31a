"""All visible words, from `ui/i18n/<language>.json`: flat keys, English where a language lacks one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from studio.sentences import Sentences

FOLDER = Path(__file__).resolve().parent / "i18n"
# What an error's sentences are made of.
_OF_ERRORS = ("error.", "problem.", "advice.")


class Words(Sentences):
    """The words of one language. `labels`: see `Sentences`; the screen has them, the command line has not."""

    def __init__(
        self, language: str = "en", folder: Path = FOLDER, labels: Mapping[str, str] | None = None
    ) -> None:
        self.language = language
        entries: dict[str, str] = {}
        for name in dict.fromkeys(("en", language)):
            entries |= json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        super().__init__(entries, labels)

    def of_errors(self) -> dict[str, str]:
        """The entries from which errors are told, for programs that ask an endpoint."""
        return {key: text for key, text in self._entries.items() if key.startswith(_OF_ERRORS)}
