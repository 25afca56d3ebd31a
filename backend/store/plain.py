"""Numbers that JSON and charts can carry: no NaN, no infinity."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any


def number_and_kind(value: float) -> tuple[float | None, str | None]:
    """A metric as the store keeps it: NaN and infinities are None with their kind (`nan`, `inf`, `-inf`)."""
    if math.isnan(value):
        return None, "nan"
    if math.isinf(value):
        return None, "inf" if value > 0 else "-inf"
    return value, None


def plain(value: Any) -> Any:
    """A JSON value with every NaN and infinity replaced by None."""
    if isinstance(value, float):
        return number_and_kind(value)[0]
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def to_json(value: Any) -> str:
    """JSON text without NaN."""
    return json.dumps(plain(value), allow_nan=False)
