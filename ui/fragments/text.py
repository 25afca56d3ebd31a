"""The type of the function that turns a key of `ui/i18n` and its facts into words."""

from __future__ import annotations

from typing import Protocol


class Text(Protocol):
    def __call__(self, key: str, **facts: object) -> str: ...
