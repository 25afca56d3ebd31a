"""What every file reader gives: numbered records, not yet understood."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from studio.data.problems import Problem


@dataclass(frozen=True)
class Records:
    """`rows`: (number from 1, value); a value is a dict of columns unless the file holds something else."""

    rows: list[tuple[int, Any]]
    problems: list[Problem] = field(default_factory=list)
