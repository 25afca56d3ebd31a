"""A file of prompts to put to models: a text with one a line, or any format of `studio.data.read` with a
column of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studio.data.encoding import read_text
from studio.data.read import read_records
from studio.errors import StudioError

COLUMNS = ("prompt", "question", "instruction", "query", "input", "text")


def read_prompts(path: Path) -> list[str]:
    """The prompts in their order, empty ones left out.

    Of a row the first of `COLUMNS` that it has counts, else the last thing that the user says in its
    `messages`. Raises StudioError: what `read_records` raises, `prompts_none` (path, columns).
    """
    records = read_records(path)
    if path.suffix.lower() == ".txt":
        prompts = [line.strip() for line in read_text(path)[0].split("\n")]
    else:
        prompts = [_prompt(value) for _, value in records.rows]
    if found := [prompt for prompt in prompts if prompt]:
        return found
    raise StudioError("prompts_none", path=str(path), columns=list(COLUMNS))


def _prompt(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if not isinstance(value, Mapping):
        return ""
    cells = {str(name).strip().lower(): cell for name, cell in value.items()}
    found = next((c for name in COLUMNS if isinstance(c := cells.get(name), str) and c.strip()), None)
    if found is not None:
        return found.strip()
    messages = cells.get("messages")
    if not isinstance(messages, list):
        return ""
    said = [m.get("content") for m in messages if isinstance(m, Mapping) and m.get("role") == "user"]
    return said[-1].strip() if said and isinstance(said[-1], str) else ""
