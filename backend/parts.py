"""What merges and mixes are made of: adapters by name, each with its weight, and the rule that combines them.
No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.chat import runs
from backend.inputs import TOKENIZER
from studio.errors import PlanError, Problem, StudioError
from studio.identity import adapter_identity, json_hash
from studio.manifests import manifest_of, method_of
from studio.merges import Merge, merges
from studio.methods import Method
from studio.names import ADDED_UP, Mix, ModelName, mix_of, parse
from studio.params import parse as parse_params
from studio.params import to_dict


@dataclass(frozen=True)
class Part:
    """One adapter of a merge: what it is called, where it is, its weight; the run's folder and tokenizer
    where it is of a run."""

    name: str
    folder: Path
    weight: float
    run: Path | None = None

    @property
    def tokenizer(self) -> Path | None:
        """The run's, if it has one."""
        return self.run / TOKENIZER if self.run is not None and (self.run / TOKENIZER).is_dir() else None


@dataclass(frozen=True)
class Recipe:
    """A mix as it lies on disk."""

    parts: tuple[Part, ...]
    how: Merge
    params: Any

    @property
    def inputs(self) -> list[tuple[Path, float]]:
        """What `studio.merge.combine` takes."""
        return [(part.folder, part.weight) for part in self.parts]

    @property
    def whole(self) -> tuple[Part, Method, Any] | None:
        """The one run in it, with its method and params, if that trained the base's own weights: the mix is
        then the weights between the base and the run."""
        if len(self.parts) != 1 or self.how.id != ADDED_UP:
            return None
        method, params = method_of(manifest_of(self.parts[0].folder))
        return (self.parts[0], method, params) if method.capable("trains_base", params) else None

    @property
    def tokenizer(self) -> Path | None:
        """That of the first run that has one, as a merge takes it."""
        return next((part.tokenizer for part in self.parts if part.tokenizer is not None), None)

    def hash(self, cache: Path) -> str:
        """Identity of what the mix computes: its parts by content, their weights, the rule."""
        parts = [[adapter_identity(part.folder, cache), part.weight] for part in self.parts]
        return json_hash({"parts": parts, "how": self.how.id, "params": to_dict(self.params)})


def recipe_of(folder: Path, mix: Mix) -> Recipe:
    """What this mix of the runs in `folder` is made of.

    Raises StudioError: those of `parts_of` and `rule_of`.
    """
    named = [(str(name), weight) for name, weight in mix.adapters]
    return Recipe(tuple(parts_of(folder, named)), *rule_of(mix.how, mix.params))


def parts_of(folder: Path, named: Sequence[tuple[str, float]]) -> list[Part]:
    """The adapters of these names with their weights; `folder` holds the runs.

    Raises StudioError: those of `backend.chat.runs.adapter_folder`, `adapter_missing` (path).
    """
    return [_part(folder, name, weight) for name, weight in named]


def require_adapters(folder: Path, name: ModelName) -> None:
    """Raises StudioError where something that this model answers with, beside its base, is not there."""
    if name.kind == "mix":
        recipe_of(folder, mix_of(name))
    elif runs.answered_by(folder, name) != str(name):
        runs.adapter_folder(folder, name)


def rule_of(how: str, settings: Mapping[str, Any]) -> tuple[Merge, Any]:
    """The rule and its params. Raises `unknown_extension`; PlanError where a param is wrong."""
    merge = merges.get(how)
    found: tuple[Any, list[Problem]] = parse_params(merge.params, settings)
    params, problems = found
    if problems:
        raise PlanError(problems)
    return merge, params


def _part(runs_folder: Path, text: str, weight: float) -> Part:
    name = parse(text)
    if name.kind in ("run", "merge"):
        folder = runs.adapter_folder(runs_folder, ModelName("run", name.value, step=name.step))
        return Part(text, folder, weight, runs_folder / name.value)
    folder = Path(name.value)
    if name.kind != "path" or not (folder / "adapter_config.json").is_file():
        raise StudioError("adapter_missing", path=name.value if name.kind == "path" else text)
    return Part(text, folder, weight)
