"""`methods`: the ways to tune a model, with their settings."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from backend.api import Facade
from ui.cli.output import Output
from ui.cli.parser import Sub
from ui.fragments.format import setting_text

NAME = "methods"


def add(commands: Sub) -> None:
    parser = commands.add(NAME, "List the tuning methods and their settings.")
    parser.set_defaults(run=run)


def run(options: Namespace, facade: Facade, output: Output) -> int:  # noqa: ARG001
    found = facade.methods()
    output.result(found, "\n\n".join(_text(method) for method in found))
    return 0


def _text(method: Mapping[str, Any]) -> str:
    head = f"{method['id']}  {method['title']}: {method['summary']}"
    return "\n".join([head, *(_param_line(p) for p in method["params"])])


def _param_line(param: Mapping[str, Any]) -> str:
    nothing = "auto" if param["default"] is None else "none"
    default = setting_text(param["default"]) or nothing
    return f"  {param['name']} ({param['type']}, default {default})  {param['help']}"
