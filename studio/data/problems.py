"""What can be wrong with single rows: facts for the person, collected beside the rows that are fine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a dataset. Words: i18n `problem.<code>.message` and `.fix`.

    `row` counts from 1 (None: the file as a whole); in line-based files it is the line's number, so that an
    editor finds it. `skipped` says that the row is left out of the training."""

    code: str
    row: int | None = None
    column: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    skipped: bool = False

    def as_dict(self) -> dict[str, Any]:
        return {
            "row": self.row,
            "column": self.column,
            "code": self.code,
            "facts": dict(self.facts),
            "skipped": self.skipped,
        }


class RowError(Exception):
    """Raised while a row is converted: the row can't be used. Never leaves the reader."""

    def __init__(self, code: str, column: str | None = None, **facts: Any) -> None:
        super().__init__(code, column, facts)
        self.code = code
        self.column = column
        self.facts = facts

    def at(self, row: int, file: str) -> Problem:
        """The same as a problem of that row, which is skipped."""
        return Problem(self.code, row, self.column, {"file": file, **self.facts}, skipped=True)
