"""What the form, the command line and the docs are told of an extension, as JSON values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from studio.params import describe
from studio.registry import Extension


def listed(extensions: Iterable[Extension]) -> list[dict[str, Any]]:
    """`[{"id", "title", "summary", "params"}]` in the order given."""
    return [
        {
            "id": extension.id,
            "title": extension.title,
            "summary": extension.summary,
            "params": params_of(extension.params),
        }
        for extension in extensions
    ]


def params_of(declared: type) -> list[dict[str, Any]]:
    """The fields of a params dataclass."""
    return [info.as_dict() for info in describe(declared)]
