"""What the manifest beside a trained change says: its base, and the method that made it. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.methods import Method
from studio.models.quantisation import Quantisation
from studio.params import parse
from studio.plan import methods


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest of what a run learned: in its folder, or above it in a checkpoint.

    Raises StudioError `merge_base_unknown` (path) if there is none, or none that names the base.
    """
    for file in (folder / "manifest.json", folder.parent / "manifest.json"):
        if file.is_file():
            body: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            if "base" in body:
                return body
    raise StudioError("merge_base_unknown", path=str(folder))


def method_of(manifest: Mapping[str, Any]) -> tuple[Method, Any]:
    """The method that made what the manifest is about, and its params."""
    method: Method = methods.get(manifest["method"])
    return method, parse(method.params, manifest["method_params"])[0]


def combined_method(manifests: Sequence[Mapping[str, Any]]) -> tuple[Method, Any]:
    """The method, with its params, that says how several adapters combined are to be held: over a base in 4
    bit only if all of them were trained so."""
    declared = [method_of(manifest) for manifest in manifests]
    held = {method.base_quantisation(params) for method, params in declared}
    return declared[0] if len(held) == 1 else (methods.get("lora"), methods.get("lora").params())


def held_in(folders: Sequence[Path]) -> Quantisation | None:
    """How the base of these adapters combined is held in 4 bit; None: it is not."""
    method, params = combined_method([manifest_of(folder) for folder in folders])
    return method.base_quantisation(params)


def require_same_base(folders: list[Path]) -> str:
    """The hash of the base that all these were trained on.

    Raises StudioError `merge_base_unknown`, `merge_bases_differ` (paths, bases).
    """
    first = str(manifest_of(folders[0])["base"])
    for folder in folders[1:]:
        other = str(manifest_of(folder)["base"])
        if other != first:
            paths = [str(folders[0]), str(folder)]
            raise StudioError("merge_bases_differ", paths=paths, bases=[first, other])
    return first
