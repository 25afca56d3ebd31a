"""The one exception for what a person can mend.

It carries a code and facts, never words: the words of every code live in `ui/i18n/<language>.json` under
`error.<code>.message` and `error.<code>.remedy`, with the facts as placeholders.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


class StudioError(Exception):
    """Something the person can mend: `code` names it, `facts` fill the placeholders of its sentence.

    Facts are JSON values, so that an error crosses processes as `as_dict()` unchanged.
    """

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(code, facts)
        self.code = code
        self.facts: dict[str, Any] = facts

    def __str__(self) -> str:
        inner = ", ".join(f"{k}={v!r}" for k, v in self.facts.items())
        return f"{self.code}({inner})"

    def as_dict(self) -> dict[str, Any]:
        """`{"code", "facts"}`, the form that goes into the store and over the wire."""
        return {"code": self.code, "facts": self.facts}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> StudioError:
        """Inverse of `as_dict`."""
        return cls(body["code"], **body["facts"])


@dataclass(frozen=True)
class Reason:
    """Why something is so: a code whose words are in i18n under `reason.<code>`, and its facts."""

    code: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a plan: `key` is the setting it is about (None: the plan as a whole)."""

    code: str
    key: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return {"code": self.code, "key": self.key, "facts": dict(self.facts)}


class PlanError(StudioError):
    """A plan with everything that is wrong with it, reported together (code `plan_invalid`)."""

    def __init__(self, problems: list[Any]) -> None:
        dicts = [p.as_dict() if isinstance(p, Problem) else dict(p) for p in problems]
        super().__init__("plan_invalid", problems=dicts)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.facts["problems"])
