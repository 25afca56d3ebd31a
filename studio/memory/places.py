"""Where in a model computation is: the module that runs, or in a backward pass the one whose graph it is."""

from __future__ import annotations

from bisect import bisect_right
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

_sequence_number: Any = torch._C._autograd._get_sequence_nr


class Places:
    """Active as a context manager; `now` is then a name of `root.named_modules()`, "" outside of them.

    Autograd numbers the nodes of its graph in the order in which they are made. So the numbers at which
    modules are entered and left say which of them a node of the backward pass belongs to.
    """

    def __init__(self, root: nn.Module) -> None:
        self._names = {id(module): name for name, module in root.named_modules()}
        self._inside: list[str] = []
        self._starts = [0]  # node numbers, ascending
        self._owners = [""]  # the module that makes nodes from there on
        self._handles: list[Any] = []

    def __enter__(self) -> Places:
        self._handles = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, always_call=True),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()

    @property
    def now(self) -> str:
        """In the backward pass a checkpoint's layers run anew: then they are where it is at."""
        if self._inside:
            return self._inside[-1]
        node: Any = torch._C._current_autograd_node()
        if node is None:
            return ""
        number = node._sequence_nr()
        return self._owners[bisect_right(self._starts, number) - 1]

    def _enter(self, module: nn.Module, args: Any) -> None:
        del args
        if (name := self._names.get(id(module))) is not None:
            self._inside.append(name)
            self._note(name)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        del args, output
        if id(module) in self._names:
            self._inside.pop()
            self._note(self._inside[-1] if self._inside else "")

    def _note(self, name: str) -> None:
        self._starts.append(_sequence_number())
        self._owners.append(name)
