"""Settings as frozen dataclasses: one declaration drives form, command line, checks, saved plan and docs.

A field is declared with `param(default, "help", low=..., high=..., choices=...)`. From the class alone
come `describe` (what the form and `methods --json` show) and `parse` (texts or JSON values in, instance and
problems out).
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from studio.errors import Problem

T = TypeVar("T")
_WORDS_TRUE = {"true", "yes", "on", "1"}
_WORDS_FALSE = {"false", "no", "off", "0"}


def param(
    default: Any,
    help: str,
    *,
    title: str | None = None,
    low: float | None = None,
    high: float | None = None,
    off: float | None = None,
    choices: tuple[str, ...] | None = None,
    never: Mapping[str, str] | None = None,
    expert: bool = False,
) -> Any:
    """A field of a params dataclass.

    `low` and `high` are inclusive; `off` is one value outside of them, which switches it off. `choices` are
    the allowed texts; `never` are some that others allow, by the code of the problem that says why this one
    does not. `expert` folds it away on the screen.
    A default of None means "the studio chooses, and says why".
    """
    limits = {"low": low, "high": high, "off": off, "choices": choices, "never": never or {}}
    meta = {"help": help, "title": title, **limits, "expert": expert}
    return dataclasses.field(default=default, metadata=meta)


@dataclass(frozen=True)
class ParamInfo:
    """What form, command line and docs need to know of one field.

    `type` is one of `bool`, `int`, `float`, `str`, `list`; `optional` says that None (automatic) is allowed.
    """

    name: str
    type: str
    default: Any
    help: str
    title: str
    low: float | None
    high: float | None
    choices: tuple[str, ...] | None
    optional: bool
    expert: bool
    off: float | None = None
    never: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """JSON form; `range` is `[low, high]`, the list of choices, or null; `off` a value beside it."""
        limits = None if self.low is None and self.high is None else [self.low, self.high]
        return {
            "name": self.name,
            "type": self.type,
            "default": list(self.default) if isinstance(self.default, tuple) else self.default,
            "help": self.help,
            "title": self.title,
            "range": list(self.choices) if self.choices else limits,
            "off": self.off,
            "optional": self.optional,
            "expert": self.expert,
        }


@functools.cache  # reading the hints costs a millisecond, and a list of models asks for hundreds
def describe(cls: type) -> tuple[ParamInfo, ...]:
    """The fields of a params dataclass, in order of declaration."""
    hints = typing.get_type_hints(cls)
    return tuple(_info(f, hints[f.name]) for f in dataclasses.fields(cls))


def _info(f: dataclasses.Field[Any], hint: Any) -> ParamInfo:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    optional = type(None) in options
    base = next(o for o in options if o is not type(None))
    meta = f.metadata
    return ParamInfo(
        name=f.name,
        type="list" if typing.get_origin(base) is tuple else base.__name__,
        default=f.default,
        help=meta["help"],
        title=meta["title"] or f.name.replace("_", " ").capitalize(),
        low=meta["low"],
        high=meta["high"],
        choices=meta["choices"],
        optional=optional,
        expert=meta["expert"],
        off=meta["off"],
        never=meta["never"],
    )


def parse(cls: type[T], values: Mapping[str, Any], prefix: str = "") -> tuple[T, list[Problem]]:
    """Build `cls` from JSON values or texts, and report every problem instead of stopping at the first.

    Unknown keys are problems that name the known ones. A field with a problem keeps its default, so
    that the instance can always be shown. `prefix` goes before the key in a problem
    (`method.` for a method's params).
    """
    infos = {i.name: i for i in describe(cls)}  # type: ignore[arg-type]  # a class is hashable
    good: dict[str, Any] = {}
    problems: list[Problem] = []
    for key, raw in values.items():
        if key not in infos:
            known = {"known": sorted(infos)}
            problems.append(Problem("unknown_setting" if infos else "no_settings", prefix + key, known))
            continue
        try:
            good[key] = _value(infos[key], raw)
        except _Unfit as unfit:
            problems.append(Problem(unfit.code, prefix + key, unfit.facts))
    return cls(**good), problems


def to_dict(settings: Any) -> dict[str, Any]:
    """The fields of a params instance as JSON values."""
    return {f.name: _plain(getattr(settings, f.name)) for f in dataclasses.fields(settings)}


def automatic(raw: Any) -> bool:
    """Whether a value leaves the choice to the studio."""
    return raw is None or (isinstance(raw, str) and raw.strip().lower() in {"", "auto", "null", "none"})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class _Unfit(Exception):
    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(code)
        self.code, self.facts = code, facts


def _value(info: ParamInfo, raw: Any) -> Any:
    if raw is None or (automatic(raw) and info.optional):
        if info.optional:
            return None
        raise _Unfit("setting_missing", default=_plain(info.default))
    value = _READERS[info.type](raw)
    if value == () and info.default != ():
        raise _Unfit("setting_not_list", value="")
    if info.choices and any(v not in info.choices for v in (value if info.type == "list" else [value])):
        code = info.never.get(str(value), "setting_not_a_choice")
        raise _Unfit(code, value=raw, choices=list(info.choices))
    below = info.low is not None and value < info.low
    above = info.high is not None and value > info.high
    if (below or above) and info.off is not None and value != info.off:
        raise _Unfit("setting_off_or_range", value=value, low=info.low, high=info.high, off=info.off)
    if (below or above) and info.off is None:
        raise _Unfit("setting_out_of_range", value=value, low=info.low, high=info.high)
    return value


def _read_bool(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word in _WORDS_TRUE | _WORDS_FALSE:
        return word in _WORDS_TRUE
    raise _Unfit("setting_not_bool", value=raw)


def _read_int(raw: Any) -> int:
    try:
        number = float(raw)
    except (TypeError, ValueError):
        raise _Unfit("setting_not_int", value=str(raw)) from None
    if (
        isinstance(raw, bool)
        or number != number
        or number in (float("inf"), float("-inf"))
        or number != int(number)
    ):
        raise _Unfit("setting_not_int", value=str(raw))
    return int(number)


def _read_float(raw: Any) -> float:
    try:
        number = float(raw)
    except (TypeError, ValueError):
        raise _Unfit("setting_not_number", value=str(raw)) from None
    if isinstance(raw, bool) or number != number or number in (float("inf"), float("-inf")):
        raise _Unfit("setting_not_number", value=str(raw))
    return number


def _read_list(raw: Any) -> tuple[str, ...]:
    if not isinstance(raw, str | list | tuple):
        raise _Unfit("setting_not_list", value=str(raw))
    items = raw.split(",") if isinstance(raw, str) else raw
    return tuple(str(i).strip() for i in items if str(i).strip())


_READERS: dict[str, Any] = {
    "bool": _read_bool,
    "int": _read_int,
    "float": _read_float,
    "str": lambda raw: str(raw).strip(),
    "list": _read_list,
}
