"""One file of Python that runs a side network without the studio: our own modules, one after the other.

What it takes over is read from their source, so that the file computes what the studio computes. Imports of
the studio fall away; the few things that those brought in are `_HEAD`.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import asdict
from types import ModuleType

from studio.export import side_loading
from studio.models.families import Family
from studio.train.side import blocks, hooks, network, pointer, shape

FILE = "side_network.py"
_MODULES = (shape, blocks, pointer, network, hooks, side_loading)
_TITLE = '''"""A side network beside a frozen language model; it needs torch, transformers and safetensors.

    python {file} BASE "a prompt"          answer with the model BASE (a folder or a hub id)

From Python: `from side_network import load; model = load(BASE)`, then as any model of transformers.
"""
'''
_HEAD = '''
_FAMILY = {family}


class StudioError(ValueError):
    """What does not fit; the facts are its second argument."""

    def __init__(self, code: str, **facts: object) -> None:
        super().__init__(code, facts)


class Anatomy:
    """Where a model of this family keeps its parts."""

    def __init__(self, model: Any) -> None:
        self.model, self.config = model, model.config.get_text_config()
        self.decoder = model.get_submodule(_FAMILY["decoder"])
        self.layers = self.decoder.get_submodule(_FAMILY["layers"])
        self.head = model.get_submodule(_FAMILY["head"])
'''


def standalone_source(family: Family) -> str:
    """The file's text, for bases of this family."""
    paths = {key: value for key, value in asdict(family).items() if key in ("decoder", "layers", "head")}
    imports: dict[str, None] = {}
    bodies = [_body(module, imports) for module in _MODULES]
    parts = [_TITLE.format(file=FILE), "\n".join(imports), _HEAD.format(family=paths), *bodies]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _body(module: ModuleType, imports: dict[str, None]) -> str:
    """A module's text without its docstring and imports; those of other packages go to `imports`."""
    text = inspect.getsource(module)
    lines = text.splitlines()
    for node in _above(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in _foreign(node):
                imports.setdefault(name)
        assert node.end_lineno is not None
        lines[node.lineno - 1 : node.end_lineno] = [""] * (node.end_lineno - node.lineno + 1)
    return "\n".join(lines)


def _above(tree: ast.Module) -> Iterator[ast.stmt]:
    for node in tree.body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if docstring or isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def _foreign(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """An import as lines of one name each, which can be told apart; none for what the file itself has."""
    if isinstance(node, ast.Import):
        yield from (ast.unparse(ast.Import([name])) for name in node.names)
    elif not (node.module or "").startswith("studio"):
        yield from (f"from {node.module} import {ast.unparse(name)}" for name in node.names)
