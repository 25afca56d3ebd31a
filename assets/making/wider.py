"""Wordings that only the last stage of training adds.

The first stages settle the skills on common wordings; these loosen them from their words.
"""

from __future__ import annotations

from assets.making.phrasing import wordings

_WRITTEN = wordings("wider")
# By the name of what is asked for.
WIDER: dict[str, tuple[str, ...]] = {name: tuple(found) for name, found in _WRITTEN["requests"].items()}
# More ways of small talk, by its answer.
SMALL_TALK_WIDER: dict[str, tuple[str, ...]] = {
    answer: tuple(found) for answer, found in _WRITTEN["small_talk"].items()
}
