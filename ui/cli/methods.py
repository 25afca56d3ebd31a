"""`methods`: the ways to tune a model, with their settings."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from backend.api import Facade
from studio.errors import StudioError
from ui.cli.output import Output
from ui.cli.parser import Sub
from ui.fragments.format import setting_text
from ui.fragments.text import Text
from ui.words import Words

NAME = "methods"


def add(commands: Sub) -> None:
    parser = commands.add(NAME, "List the tuning methods and their settings.")
    parser.set_defaults(run=run)


def run(options: Namespace, facade: Facade, output: Output) -> int:  # noqa: ARG001
    found = [_document(method, output.words) for method in facade.methods()]
    output.result(found, "\n\n".join(_text(method, output.words.text) for method in found))
    return 0


def _document(method: Mapping[str, Any], words: Words) -> dict[str, Any]:
    """With the sentences of why this machine can't run it."""
    if method["unable"] is None:
        return dict(method)
    message, remedy = words.error(StudioError.from_dict(method["unable"]))
    return {**method, "unable": {**method["unable"], "message": message, "remedy": remedy}}


def _text(method: Mapping[str, Any], tell: Text) -> str:
    lines = [f"{method['id']}  {method['title']}: {method['summary']}"]
    if unable := method["unable"]:
        lines.append(f"  {tell('methods.unable', message=unable['message'], remedy=unable['remedy'])}")
    return "\n".join([*lines, *(param_line(p, tell) for p in method["params"])])


def param_line(param: Mapping[str, Any], tell: Text) -> str:
    """A setting's name, kind, what it can be, default and help."""
    nothing = "auto" if param["default"] is None else "none"
    default = tell("methods.default", default=setting_text(param["default"]) or nothing)
    kind = ", ".join([param["type"], *filter(None, [_allowed(param, tell)]), default])
    return f"  {param['name']} ({kind})  {param['help']}"


def _allowed(param: Mapping[str, Any], tell: Text) -> str | None:
    """The choices, or the range with what switches it off."""
    limits = param["range"]
    if limits is None:
        return None
    if param["type"] in ("str", "list"):
        return " | ".join(limits)
    low, high = limits
    code = "at_least" if high is None else "at_most" if low is None else "range"
    allowed = tell(f"methods.{code}", low=low, high=high)
    return allowed if param["off"] is None else tell("methods.or_off", off=param["off"], allowed=allowed)
