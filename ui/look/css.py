"""The stylesheet: the tokens as custom properties, then the rules, which name no colour themselves."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ui.look import tokens

FOLDER = Path(__file__).parent


@cache
def stylesheet() -> str:
    """All rules of the studio. `html[data-theme]` decides between light and dark (see `studio.js`)."""
    fixed = {**tokens.SIZES, "sans": tokens.SANS, "mono": tokens.MONO, "chart-text": tokens.CHART_TEXT}
    rules = [
        (FOLDER / name).read_text(encoding="utf-8") for name in ("studio.css", "chat.css", "library.css")
    ]
    return "\n".join(
        [
            _block(":root", {**fixed, **tokens.LIGHT}),
            _block('html[data-theme="dark"]', tokens.DARK),
            *rules,
        ]
    )


@cache
def script() -> str:
    """What the page does by itself: no answer lost, clicks to events, address, theme, connection."""
    return "\n".join((FOLDER / f"{part}.js").read_text(encoding="utf-8") for part in ("answers", "studio"))


def _block(selector: str, values: dict[str, str]) -> str:
    inner = "\n".join(f"  --{name}: {value};" for name, value in values.items())
    return f"{selector} {{\n{inner}\n}}"
