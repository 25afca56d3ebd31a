"""Extensions are files: a registry walks a package and collects the `EXTENSION` of each module.

Listing imports no torch: an extension names its torch part by a string (`"studio.train.lora:LoraTuner"`), and
`load_part` imports it when a job needs it. Installed packages add extensions through the entry-point group
`studio.<kind>`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any, Generic, Protocol, TypeVar

from studio.errors import StudioError


class Extension(Protocol):
    """What every extension has: an id, a title, a one-sentence summary and a params dataclass."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def params(self) -> type: ...


E = TypeVar("E", bound=Extension)


class Registry(Generic[E]):
    """All extensions of one kind, e.g. `Registry("methods")` for the modules of `studio.methods`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._found: dict[str, E] | None = None

    def all(self) -> dict[str, E]:
        """Extensions by id, sorted by id. The first call imports the modules.

        Raises StudioError `extension_twice` where an installed package brings an id that is taken.
        """
        if self._found is None:
            found: dict[str, E] = {}
            for extension in sorted(self._walk(), key=lambda e: e.id):
                self._add(extension, found)
            self._found = found
        return self._found

    def get(self, id: str) -> E:
        """The extension with this id; StudioError `unknown_extension` names the known ones."""
        known = self.all()
        if id not in known:
            raise StudioError("unknown_extension", kind=self.kind, id=id, known=list(known))
        return known[id]

    @contextmanager
    def added(self, extension: E) -> Iterator[E]:
        """The extension registered for the length of a `with` block."""
        found = self.all()
        self._add(extension, found)
        try:
            yield extension
        finally:
            del found[extension.id]

    def _add(self, extension: E, found: dict[str, E]) -> None:
        if extension.id in found:
            raise StudioError("extension_twice", kind=self.kind, id=extension.id)
        found[extension.id] = extension

    def _walk(self) -> Iterator[E]:
        package = importlib.import_module(f"studio.{self.kind}")
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            if hasattr(module, "EXTENSION"):
                yield module.EXTENSION
        for point in entry_points(group=f"studio.{self.kind}"):
            yield point.load()


def load_part(where: str) -> Any:
    """The object named by `"package.module:name"`."""
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)
