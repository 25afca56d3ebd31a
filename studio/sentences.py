"""Codes and facts put into sentences. The sentences themselves are the caller's: they live in `ui/i18n`.

A sentence holds placeholders: `{name}` is the fact of that name, written as a person reads it (bytes,
durations, large numbers, lists); `{rows|row|rows}` is the word that fits the number in `rows`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from studio.errors import Problem, Reason, StudioError

DASH = "\u2013"  # what is not known
_UNITS = ("B", "KB", "MB", "GB", "TB")
_PLACEHOLDER = re.compile(r"\{(\w+)(?:\|([^|{}]*)\|([^|{}]*))?\}")
# Numbers that name something: no thousands separators.
_NAMES = frozenset({"port", "pid", "seed", "status", "step", "line", "row"})


class Sentences:
    """Sentences by their keys. KeyError for a key that is not there, or a fact that a sentence wants.

    `labels`: what settings are called where a person sets them, by their keys; without one a setting is
    called by its key, as on the command line.
    """

    def __init__(self, entries: Mapping[str, str], labels: Mapping[str, str] | None = None) -> None:
        self._entries = dict(entries)
        self._labels = dict(labels or {})

    def has(self, key: str) -> bool:
        return key in self._entries

    def text(self, key: str, **facts: Any) -> str:
        """The words under a key with its facts filled in."""
        return fill(self._entries[key], facts)

    def error(self, error: StudioError) -> tuple[str, str]:
        """Cause and remedy. A wrong plan names every problem, one a line; advice is a sentence each."""
        facts = error.facts
        if "problems" in facts:
            facts = facts | {"problems": "\n".join(" ".join(self.problem(p)) for p in facts["problems"])}
        if "advice" in facts:
            facts = facts | {
                "advice": " ".join(self.text(f"advice.{a['code']}", **a) for a in facts["advice"])
            }
        return self._pair(f"error.{error.code}", ("message", "remedy"), facts)

    def problem(self, problem: Problem | Mapping[str, Any]) -> tuple[str, str]:
        """Cause and fix of one problem of a plan or of a row; a refusal among them has an error's words."""
        body = problem.as_dict() if isinstance(problem, Problem) else problem
        around = {k: v for k, v in body.items() if k not in ("code", "facts") and v is not None}
        if "key" in around:
            around["key"] = self._labels.get(around["key"], around["key"])
        facts = around | dict(body["facts"])
        if f"problem.{body['code']}.message" in self._entries:
            return self._pair(f"problem.{body['code']}", ("message", "fix"), facts)
        return self._pair(f"error.{body['code']}", ("message", "remedy"), facts)

    def reason(self, reason: Reason) -> str:
        """Why something is so."""
        return self.text(f"reason.{reason.code}", **reason.facts)

    def _pair(self, key: str, ends: tuple[str, str], facts: Mapping[str, Any]) -> tuple[str, str]:
        return fill(self._entries[f"{key}.{ends[0]}"], facts), fill(self._entries[f"{key}.{ends[1]}"], facts)


def fill(text: str, facts: Mapping[str, Any]) -> str:
    """The text with its placeholders replaced; what else stands in braces is left alone."""

    def put(match: re.Match[str]) -> str:
        name, one, many = match.groups()
        if one is None:
            return fact_text(name, facts[name])
        return one if facts[name] == 1 else many

    return _PLACEHOLDER.sub(put, text)


def placeholders(text: str) -> set[str]:
    """Names of the facts that a text wants."""
    return {match[1] for match in _PLACEHOLDER.finditer(text)}


def fact_text(name: str, value: Any) -> str:
    """A fact as a person reads it; its name tells the unit (`free_bytes`, `left_seconds`)."""
    if value is None:
        return "?"
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(fact_text(name, v) for v in value) or "?"
    if not isinstance(value, int | float):
        return str(value)
    if name.endswith("bytes"):
        return bytes_text(value)
    if name.endswith("seconds"):
        return duration_text(value)
    if name in _NAMES:
        return str(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def bytes_text(count: float | None) -> str:
    """1024-based: 1503238554 -> `1.4 GB`. Unknown is a dash."""
    if count is None:
        return DASH
    power = 0
    while abs(count) >= 1000 and power < len(_UNITS) - 1:
        count /= 1024
        power += 1
    digits = 0 if abs(count) >= 10 or power < 2 else 1
    return f"{count:.{digits}f} {_UNITS[power]}"


def duration_text(seconds: float | None) -> str:
    """`8 s`, `3 min`, `1 h 20 min`, `2 d 3 h`. Unknown is a dash."""
    if seconds is None:
        return DASH
    if seconds < 90:
        return f"{max(0, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"
