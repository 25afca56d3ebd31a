"""Numbers as a person reads them: a unit, and no more digits than mean something."""

from __future__ import annotations

# The first three are written in sentences too, and so defined where sentences are.
from studio.sentences import DASH as DASH
from studio.sentences import bytes_text as bytes_text
from studio.sentences import duration_text as duration_text


def energy_text(joules: float) -> str:
    """`320 J`, `12 Wh`, `3.4 kWh`."""
    if joules < 3600:
        return f"{joules:.0f} J"
    hours = joules / 3600
    return f"{_short(hours)} Wh" if hours < 1000 else f"{_short(hours / 1000)} kWh"


def _short(value: float) -> str:
    """`9.5`, `12`, `1,340`."""
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def loss_text(value: float | None) -> str:
    """Two digits where they say something, more for small losses: `0.84`, `0.0031`."""
    if value is None:
        return DASH
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def count_text(value: float | None) -> str:
    """`1,234` with thin groups; unknown is a dash."""
    return DASH if value is None else f"{value:,.0f}"


def parameters_text(count: int | None) -> str:
    """`3.1M`, `494M`, `1.5B`."""
    if count is None:
        return DASH
    if count >= 9.95e8:
        return f"{count / 1e9:.1f}B"
    return f"{count / 1e6:.0f}M" if count >= 1e7 else f"{count / 1e6:.1f}M"


def percent_text(share: float | None) -> str:
    """A share of one as `62 %`; unknown is a dash."""
    return DASH if share is None else f"{100 * share:.0f} %"


def setting_text(value: object) -> str:
    """A setting's value as a person would type it: lists with commas, true and false in words."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(str(v) for v in value)
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)
