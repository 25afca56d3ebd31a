"""Merges as jobs: what was asked for is checked as far as names and manifests tell, and queued."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.api import MergeRequest, Product
from backend.chat import runs
from backend.home import Home
from backend.inputs import TOKENIZER
from backend.jobs import record
from backend.jobs.record import Job
from backend.store.database import Store
from studio.errors import PlanError, Problem, StudioError
from studio.manifests import manifest_of, method_of, require_same_base
from studio.merges import merges
from studio.names import ModelName, mix_of, parse
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


def ask(home: Home, connection: sqlite3.Connection, request: MergeRequest) -> str:
    """Queue a merge; gives the job's id.

    Raises StudioError: those of `studio.names.parse`, `run_missing`, `run_has_no_adapter`,
    `checkpoint_missing`, `merge_weights_count` (weights, models), `merge_how_missing` (models),
    `merge_base_unknown`, `merge_bases_differ`, `method_not_mergeable`, `merge_not_adapter`,
    `merge_not_4_bit`, `merge_out_taken`, `unknown_extension`; PlanError for params that are wrong.
    """
    named = _named(request)
    parts = parts_of(home, named)
    require_same_base([part.folder for part in parts])
    if request.how is None and len(request.models) > 1:
        raise StudioError("merge_how_missing", models=list(request.models), known=list(merges.all()))
    _require_method(parts, request)
    plan = {
        "model": _base_name(home, parts[0], request),
        "parts": named,
        "how": request.how,
        "params": _params(request),
        "compress": request.compress,
        "exact": request.exact,
        "out": free_folder(request.out),
        "precision": precision(parts[0]),
    }
    id = record.new_id(connection, "merge", (path.name for path in home.runs.iterdir()))
    record.add(connection, id, "merge", plan)
    return id


def product(store: Store, job: Job) -> Product:
    """What a job left behind, as far as it is there."""
    result = job.result or {}
    artifact = store.value(
        "SELECT max(id) FROM artifact WHERE made_by = ? AND path = ?", job.id, result.get("path")
    )
    rest = {key: value for key, value in result.items() if key not in ("path", "files")}
    return Product(
        run=job.id,
        kind=job.kind,
        state=job.state,
        artifact=artifact,
        path=result.get("path"),
        files=tuple(result.get("files", ())),
        facts=rest,
        error=job.error,
    )


def parts_of(home: Home, named: Sequence[tuple[str, float]]) -> list[Part]:
    """The adapters of these names with their weights."""
    return [_part(home, name, weight) for name, weight in named]


def free_folder(out: str | None) -> str | None:
    """The absolute path of a folder that is wanted; StudioError `merge_out_taken` if it is not empty."""
    if out is None:
        return None
    path = Path(out).expanduser().absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise StudioError("merge_out_taken", path=str(path))
    return str(path)


def _named(request: MergeRequest) -> list[tuple[str, float]]:
    """Canonical names with weights; a mix stands for its adapters."""
    models = [parse(model) for model in request.models]
    weights = request.weights
    if weights is not None and len(weights) != len(models):
        raise StudioError("merge_weights_count", weights=len(weights), models=len(models))
    if weights is None:
        usual = merges.get(request.how).usual_weights(len(models)) if request.how else (1.0,) * len(models)
        weights = usual
    found: list[tuple[str, float]] = []
    for model, weight in zip(models, weights, strict=True):
        inside = mix_of(model).adapters if model.kind == "mix" else ((model, 1.0),)
        found += [(str(name), weight * share) for name, share in inside]
    return found


def _part(home: Home, text: str, weight: float) -> Part:
    name = parse(text)
    if name.kind in ("run", "merge"):
        folder = runs.adapter_folder(home.runs, ModelName("run", name.value, step=name.step))
        return Part(text, folder, weight, home.run(name.value))
    folder = Path(name.value)
    if name.kind != "path" or not is_adapter(folder):
        raise StudioError("adapter_missing", path=name.value if name.kind == "path" else text)
    return Part(text, folder, weight)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds thin matrices or a side network, not a model."""
    return any((folder / name).is_file() for name in ("adapter_config.json", "side.json"))


def _require_method(parts: Sequence[Part], request: MergeRequest) -> None:
    for part in parts:
        method, params = method_of(manifest_of(part.folder))
        if not method.capable("mergeable", params):
            raise StudioError("method_not_mergeable", method=method.title)
        combined = request.how is not None or len(parts) > 1
        if combined and method.capable("trains_base", params):
            raise StudioError("merge_not_adapter", path=str(part.folder), method=method.title)
        if request.exact and method.base_quantisation(params) is None:
            raise StudioError("merge_not_4_bit", method=method.title)


def _params(request: MergeRequest) -> dict[str, Any]:
    if request.how is None:
        return {}
    found: tuple[Any, list[Problem]] = parse_params(merges.get(request.how).params, request.set)
    params, problems = found
    if problems:
        raise PlanError(problems)
    return to_dict(params)


def _base_name(home: Home, part: Part, request: MergeRequest) -> str:
    first = parse(request.models[0])
    return str(mix_of(first).base) if first.kind == "mix" and part.run is None else base_name(home, part)


def base_name(home: Home, part: Part) -> str:
    """The base that the run names, or the manifest of an adapter that is of none."""
    if part.run is not None:
        return runs.base_of(home.runs, part.run.name)
    model = manifest_of(part.folder).get("model")
    if model is None:
        raise StudioError("merge_base_unknown", path=str(part.folder))
    return str(model)


def precision(part: Part) -> str:
    """In which the run was planned; that of most where it is not known."""
    plan: Mapping[str, Any] = {}
    if part.run is not None:
        plan = json.loads((part.run / "plan.json").read_text(encoding="utf-8"))
    return str(plan.get("settings", {}).get("precision") or "bf16")
