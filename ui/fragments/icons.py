"""Line icons, 20 by 20, drawn with the colour of the text around them, and the studio's mark."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from markupsafe import Markup

_FILE = Path(__file__).parent.parent / "look" / "icons.json"


@cache
def _paths() -> dict[str, str]:
    body: dict[str, str] = json.loads(_FILE.read_text(encoding="utf-8"))
    return body


def icon(name: str, size: int = 20) -> Markup:
    """Hidden from screen readers: a word always stands beside it, or the button carries a label."""
    return Markup(
        f'<svg class="icon" viewBox="0 0 20 20" width="{size}" height="{size}" aria-hidden="true" '
        'fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" '
        f'stroke-linejoin="round">{_paths()[name]}</svg>'
    )


def mark(size: int = 26) -> Markup:
    """The studio's mark: a flat curve (base) bent into another (tuned)."""
    return Markup(
        f'<svg viewBox="0 0 28 28" width="{size}" height="{size}" aria-hidden="true">'
        '<rect width="28" height="28" rx="8" fill="var(--accent-fill)"/>'
        '<g fill="none" stroke="#fff" stroke-width="2.2" stroke-linecap="round">'
        '<path d="M6 18.5h16" stroke-opacity=".45"/>'
        '<path d="M6 18.5c5 0 5.5-10 9-10s2.5 5 7 5"/></g></svg>'
    )
