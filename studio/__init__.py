"""The fine-tuning library. `from studio import estimate` needs no torch; nothing is imported before that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studio.estimating import estimate

__all__ = ["estimate"]


def __getattr__(name: str) -> Any:
    if name == "estimate":
        from studio.estimating import estimate

        return estimate
    raise AttributeError(f"module 'studio' has no attribute {name!r}")
