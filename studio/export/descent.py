"""What a model was made of, step by step: the runs that learned, and the merges that joined them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.manifests import manifest_of
from studio.plan import Plan


@dataclass(frozen=True)
class Learned:
    """A run over `base`, or an adapter that is of none. `run` and `adapter` are folders that are still there;
    the plan is known longer, and so are `hashes` (`dataset`) and the `result`."""

    name: str
    base: str = ""
    plan: Plan | None = None
    run: Path | None = None
    adapter: Path | None = None
    hashes: Mapping[str, str] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """What lies beside its weights; empty where they are gone, or nothing does."""
        try:
            return {} if self.adapter is None else manifest_of(self.adapter)
        except StudioError:
            return {}

    @property
    def base_hash(self) -> str | None:
        """Hash of the base that it was tuned over."""
        return self.hashes.get("base") or self.manifest.get("base")

    @property
    def rows_hash(self) -> str | None:
        """Hash of the rows that it learned."""
        return self.manifest.get("rows") or self.hashes.get("dataset")

    @property
    def rows(self) -> int | None:
        """How many those are; None where they are gone."""
        file = None if self.run is None else self.run / "rows.jsonl"
        return len(file.read_text(encoding="utf-8").splitlines()) if file and file.is_file() else None

    @cached_property
    def ended(self) -> Mapping[str, Any]:
        """Steps, losses and memory, as far as they are known."""
        file = None if self.run is None else self.run / "result.json"
        if file is None or not file.is_file():
            return self.result
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found


@dataclass(frozen=True)
class Merged:
    """A merge of `parts` (names of other steps with their weights) by the rule `how` into an adapter; into
    the base where `how` is None, by the rule of `mixed` before that where there is one."""

    name: str
    base: str
    parts: tuple[tuple[str, float], ...]
    how: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    mixed: Mapping[str, Any] | None = None
    compress: float | None = None
    exact: bool = False


@dataclass(frozen=True)
class Descent:
    """All steps, each behind those that it is made of; `root`: the model that none of them made, with its
    folder and hash where it is on this disk."""

    root: str
    root_folder: Path | None = None
    root_hash: str | None = None
    steps: tuple[Learned | Merged, ...] = ()

    @property
    def last(self) -> Learned | None:
        """What learned last; None where a merge came last, or nothing."""
        return self.steps[-1] if self.steps and isinstance(self.steps[-1], Learned) else None

    @property
    def merges(self) -> tuple[Merged, ...]:
        return tuple(step for step in self.steps if isinstance(step, Merged))

    @property
    def learned(self) -> tuple[Learned, ...]:
        return tuple(step for step in self.steps if isinstance(step, Learned))
