"""Names for models, the same on the command line, in the store, in addresses and in the chat protocol.

    starter                    the model that ships with the studio
    path:DIR                   a folder with config.json, weights and tokenizer
    hub:ORG/NAME[@REVISION]    a model of the Hugging Face hub
    run:ID[@STEP|@best]        what a run made; without @ its newest complete state
    merge:ID                   what a merge made: an adapter, or a whole model
    mix:{"base": MODEL, "adapters": [[MODEL, weight], ...]}      adapters over one base, combined in memory:
                               added up, or by the rule of `studio.merges` that "how" names, with its "params"

The prefix may be left out where only one reading is possible. Parsing looks at the disk only to tell a folder
from a hub id or a run; whether the thing exists is the business of `studio.models.locate`.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from studio.errors import StudioError

Kind = Literal["starter", "path", "hub", "run", "merge", "mix"]

ADDED_UP = "linear"
_PREFIXES = ("starter", "path:", "hub:", "run:", "merge:", "mix:")
# The hub's own rules for the two halves of an id: letters, digits, '-', '_' and '.'; no '--' and no '..'.
_HUB_ID = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}")
_REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*")
_RUN_ID = re.compile(r"[A-Za-z0-9][\w.-]*")
_SHORT_RUN_ID = re.compile(r"[a-z0-9][a-z0-9_.-]*-\d+")
_MERGE_ID = re.compile(r"merge-\d+")
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_HUB_PAGE = re.compile(
    r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/([^/?#]+/[^/?#]+)(?:/tree/([^?#]+))?.*"
)


@dataclass(frozen=True)
class ModelName:
    """A parsed name. `value` is the folder (absolute), the hub id, the id of the run or merge, or a mix as
    JSON in its one canonical form; empty for the starter."""

    kind: Kind
    value: str = ""
    revision: str | None = None
    step: int | Literal["best"] | None = None

    def __str__(self) -> str:
        """The canonical text; `parse` reads it back to an equal name."""
        if self.kind == "starter":
            return "starter"
        mark = self.revision if self.kind == "hub" else self.step
        return f"{self.kind}:{self.value}" + ("" if mark is None else f"@{mark}")


@dataclass(frozen=True)
class Mix:
    """Adapters over one base, each with its weight, and the rule (an id of `studio.merges`) that combines
    them, with its params."""

    base: ModelName
    adapters: tuple[tuple[ModelName, float], ...]
    how: str = ADDED_UP
    params: Mapping[str, Any] = field(default_factory=dict)


def parse(text: str) -> ModelName:
    """Read a name.

    Raises StudioError `model_name_bad` (no reading is possible), `mix_name_bad` (name) or
    `model_name_ambiguous` (several are: the facts list them with their prefixes).
    """
    text = text.strip()
    if text == "starter":
        return ModelName("starter")
    for prefix, read in _READERS.items():
        if text.startswith(prefix):
            return read(text[len(prefix) :], text)
    if page := _HUB_PAGE.fullmatch(text):
        return _hub(page[1] + (f"@{page[2].rstrip('/')}" if page[2] else ""), text)
    readings = _readings(text)
    if not readings:
        raise StudioError("model_name_bad", name=text, known=list(_PREFIXES))
    if len(readings) > 1:
        raise StudioError("model_name_ambiguous", name=text, choices=[f"{r.kind}:{text}" for r in readings])
    return readings[0]


def _readings(text: str) -> list[ModelName]:
    """Every way to read a name that has no prefix."""
    looks_like_path = text.startswith(("/", ".", "~")) or _WINDOWS_PATH.match(text) is not None
    exists = bool(text) and os.path.exists(os.path.expanduser(text))
    is_hub = _HUB_ID.fullmatch(text.partition("@")[0]) is not None
    is_merge = _MERGE_ID.fullmatch(text) is not None
    is_run = not is_merge and _SHORT_RUN_ID.fullmatch(text.partition("@")[0]) is not None
    is_deep = "/" in text or "\\" in text
    if looks_like_path:
        return [_path(text, text)]
    found = [_path(text, text)] if exists or (is_deep and not is_hub and ":" not in text) else []
    if is_hub:
        found.append(_hub(text, text))
    if is_run:
        found.append(_run(text, text))
    if is_merge:
        found.append(_merge(text, text))
    return found


def _path(value: str, text: str) -> ModelName:
    if not value.strip():
        raise StudioError("model_name_bad", name=text, known=list(_PREFIXES))
    if _WINDOWS_PATH.match(value):
        return ModelName("path", value)
    return ModelName("path", os.path.abspath(os.path.expanduser(value)))


def _hub(value: str, text: str) -> ModelName:
    repo, at, revision = value.partition("@")
    if not _HUB_ID.fullmatch(repo) or (at and not _REVISION.fullmatch(revision)):
        raise StudioError("model_name_bad", name=text, known=list(_PREFIXES))
    return ModelName("hub", repo, revision=revision or None)


def _run(value: str, text: str) -> ModelName:
    run, at, mark = value.partition("@")
    if not _RUN_ID.fullmatch(run) or (at and mark != "best" and not mark.isdecimal()):
        raise StudioError("model_name_bad", name=text, known=list(_PREFIXES))
    if not at:
        return ModelName("run", run)
    return ModelName("run", run, step="best" if mark == "best" else int(mark))


def _merge(value: str, text: str) -> ModelName:
    if not _RUN_ID.fullmatch(value):
        raise StudioError("model_name_bad", name=text, known=list(_PREFIXES))
    return ModelName("merge", value)


def _mix(value: str, text: str) -> ModelName:
    try:
        body = json.loads(value)
        adapters = [(str(parse(name)), float(weight)) for name, weight in body["adapters"]]
        base = str(parse(body["base"]))
        how, params = body.get("how", ADDED_UP), dict(body.get("params", {}))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StudioError("mix_name_bad", name=text) from error
    known = set(body) <= {"base", "adapters", "how", "params"} and isinstance(how, str)
    if not adapters or not known or not all(math.isfinite(weight) for _, weight in adapters):
        raise StudioError("mix_name_bad", name=text)
    return mix(base, adapters, how, params)


def mix(
    base: str,
    adapters: Sequence[tuple[str, float]],
    how: str = ADDED_UP,
    params: Mapping[str, Any] | None = None,
) -> ModelName:
    """The name of a mix of these canonical names with their weights."""
    body: dict[str, Any] = {"base": base, "adapters": list(adapters)}
    if how != ADDED_UP:
        body["how"] = how
    if params:
        body["params"] = dict(sorted(params.items()))
    return ModelName("mix", json.dumps(body))


def mix_of(name: ModelName) -> Mix:
    """What the name of a mix says."""
    body = json.loads(name.value)
    adapters = tuple((parse(adapter), weight) for adapter, weight in body["adapters"])
    return Mix(parse(body["base"]), adapters, body.get("how", ADDED_UP), body.get("params", {}))


_READERS = {"path:": _path, "hub:": _hub, "run:": _run, "merge:": _merge, "mix:": _mix}
