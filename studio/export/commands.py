"""The studio's commands that make a model again: of a run, and of merges with all that went into them.

Paths of this machine stay here: a base or dataset that is a folder or file is called by its last name.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from studio.export.descent import Descent, Learned, Merged
from studio.names import parse
from studio.plan import Plan, addresses

_OPTIONS = frozenset({"steps", "epochs", "batch", "seq", "lr", "seed"})  # of the command line's own
_HEAD = """#!/bin/sh
# The recipe of this model, runnable in the studio's folder: sh recipe.sh
# Names beside the script's own ones are set before it: BASE=FOLDER DATA_1=ROWS.jsonl sh recipe.sh
set -eu

STUDIO="${STUDIO:-python3 launch.py}"
"""
_MADE = """
# Runs a command of the studio, and gives the name of what it made: the first word that it says.
made() {
    said=$($STUDIO "$@") || exit 1
    echo "${said%% *}"
}
"""


def public_name(model: str) -> str:
    """A model's name without the folders above it."""
    name = parse(model)
    return PurePath(name.value).name if name.kind == "path" else str(name)


def bare_name(model: str) -> str:
    """`public_name` without what says of which kind it is."""
    public = public_name(model)
    return public.partition(":")[2] or public


def command(plan: Plan) -> str:
    """The studio's command for this plan, with all that is not as it stands by itself."""
    words = ["python", "launch.py", "train", public_name(plan.model), PurePath(plan.dataset).name]
    return shlex.join([*words, *_settings(plan)])


def rule_text(merge: Merged) -> str:
    """How a merge joined its parts, for a reader."""
    how, params = _rule(merge)
    settings = ", ".join(f"{key} {value}" for key, value in params.items() if value is not None)
    said = [] if how is None else [how + (f" ({settings})" if settings else "")]
    said += ["added to the weights of the base"] if merge.how is None else []
    said += ["as rounded to 4 bit"] if merge.exact else []
    said += [f"compressed to {merge.compress:g} of its numbers"] if merge.compress else []
    return ", ".join(said)


def recipe(descent: Descent) -> str:
    """A shell script that makes a model of merges again, from the base and the data."""
    script = _Script(descent)
    for step in descent.steps:
        if isinstance(step, Merged):
            script.merge(step)
        else:
            script.learn(step)
    return _HEAD + "\n".join(script.given) + "\n" + _MADE + "\n" + "\n".join(script.lines) + "\n"


class _Script:
    """`given`: what has to be there; `lines`: what is done; by the name of each step, what the shell has it
    by."""

    def __init__(self, descent: Descent) -> None:
        self.given: list[str] = []
        self.lines: list[str] = []
        self._data: dict[tuple[str, str | None], str] = {}
        root = parse(descent.root)
        said = f"{public_name(descent.root)}, content {descent.root_hash or 'unknown'}"
        usual = None if root.kind == "path" else str(root)
        self._names = {descent.root: self._give("BASE", usual, f"the base: {said}")}

    def learn(self, step: Learned) -> None:
        """A run, trained again; an adapter from elsewhere has to be given."""
        number = len(self._names)
        if step.plan is None:
            said = f"the adapter {public_name(step.name)}, of which no recipe is known"
            self._names[step.name] = self._give(f"ADAPTER_{number}", None, said)
            return
        run, _, mark = step.name.partition("@")
        if run not in self._names:
            base = self._names[step.base]
            words = f"train {base} {self._rows(step)} {shlex.join(_settings(step.plan))} --wait"
            self._names[run] = self._do(f"RUN_{number}", words, "run", f"as {run}")
        name = self._names[run]
        self._names[step.name] = f'{name[:-1]}@{mark}"' if mark else name

    def merge(self, step: Merged) -> None:
        """The parts into one adapter where there is a rule, and that or the one part into the base."""
        number, parts = len(self._names), step.parts
        names = " ".join(self._names[name] for name, _ in parts)
        words = f"merge {names} --weights={','.join(repr(weight) for _, weight in parts)}"
        how, params = _rule(step)
        if how is not None:
            words += "".join(f" {word}" for word in _rule_words(how, params))
            words += f" --compress {step.compress!r}" if step.compress else ""
            name = self._do(f"MERGE_{number}", words, "merge", f"as {step.name}")
            words = f"merge {name}"
        if step.how is None:
            words += " --exact" if step.exact else ""
            name = self._do(f"MODEL_{number}", words, "merge", f"as {step.name}, in the weights of the base")
        self._names[step.name] = name

    def _do(self, variable: str, words: str, kind: str, said: str) -> str:
        self.lines += [f"# {said}", f"{variable}=$(made {words})", f'echo "{kind}:${variable}"']
        return f'"{kind}:${variable}"'

    def _give(self, variable: str, usual: str | None, said: str) -> str:
        """A name that is set from outside; `usual` where it is not."""
        taken = f': "${{{variable}:?see the line above it}}"'
        if usual is not None:
            taken = f'[ -n "${{{variable}:-}}" ] || {variable}={shlex.quote(usual)}'
        self.given += [f"# {' '.join(said.split())}", taken]
        return f'"${variable}"'

    def _rows(self, step: Learned) -> str:
        assert step.plan is not None
        key = (step.plan.dataset, step.rows_hash)
        if key not in self._data:
            said = f"the data of {step.name}: {step.rows or 'its'} rows, content {step.rows_hash}"
            usual = PurePath(step.plan.dataset).name
            self._data[key] = self._give(f"DATA_{len(self._data) + 1}", usual, said)
        return self._data[key]


def _rule(merge: Merged) -> tuple[str | None, Mapping[str, Any]]:
    """The rule that makes one adapter of the parts, and its params; None where there is one part as it is."""
    mixed = merge.mixed or {}
    return (merge.how, merge.params) if merge.how else (mixed.get("how"), mixed.get("params", {}))


def _rule_words(how: str, params: Mapping[str, Any]) -> list[str]:
    words = ["--how", how]
    for key, value in params.items():
        if value is not None:
            words += ["--set", shlex.quote(f"{key}={_text(value)}")]
    return words


def _settings(plan: Plan) -> list[str]:
    """Method, objective, and each setting that is not as it stands by itself."""
    spaces = {"plan": plan.settings, "method": plan.method_params, "objective": plan.objective_params}
    spaces["optimizer"] = plan.optimizer_params
    words = ["--method", plan.method, "--objective", plan.objective]
    for address, info in addresses(plan.method, plan.objective, plan.settings.optimizer or "adamw").items():
        space, _, name = address.rpartition(".")
        held = [spaces[space]] if space else list(spaces.values())
        value = next(getattr(params, name) for params in held if hasattr(params, name))
        if value is None or value == info.default or address == "device":
            continue
        if address == "epochs" and plan.settings.steps is not None:
            continue  # the plan knows both, and takes one
        text = _text(value)
        words += [f"--{address}", text] if address in _OPTIONS else ["--set", f"{address}={text}"]
    return words


def _text(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return text.lower() if isinstance(value, bool) else text
