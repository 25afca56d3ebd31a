"""Merges as jobs: what was asked for is checked as far as names and manifests tell, and queued."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backend.api import MergeRequest, Product
from backend.chat import runs
from backend.home import Home
from backend.jobs import record
from backend.jobs.record import Job
from backend.parts import Part, parts_of, rule_of
from backend.store.database import Store
from studio.errors import StudioError
from studio.manifests import manifest_of, method_of, require_same_base
from studio.merges import merges
from studio.names import mix_of, parse
from studio.params import to_dict


def ask(home: Home, connection: sqlite3.Connection, request: MergeRequest) -> str:
    """Queue a merge; gives the job's id.

    Raises StudioError: those of `studio.names.parse`, `run_missing`, `run_has_no_adapter`,
    `checkpoint_missing`, `merge_weights_count` (weights, models), `merge_how_missing` (models),
    `merge_base_unknown`, `merge_bases_differ`, `method_not_mergeable`, `merge_not_adapter`,
    `merge_not_4_bit`, `merge_out_taken`, `unknown_extension`; PlanError for params that are wrong.
    """
    named = _named(request)
    parts = parts_of(home.runs, named)
    require_same_base([part.folder for part in parts])
    if request.how is None and len(request.models) > 1:
        raise StudioError("merge_how_missing", models=list(request.models), known=list(merges.all()))
    _require_method(parts, request)
    out = None if request.out is None else Path(request.out).expanduser().absolute()
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StudioError("merge_out_taken", path=str(out))
    plan = {
        "model": _base_name(home, parts[0], request),
        "parts": named,
        "how": request.how,
        "params": _params(request),
        "compress": request.compress,
        "exact": request.exact,
        "out": None if out is None else str(out),
        "precision": _precision(parts[0]),
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
    return {} if request.how is None else to_dict(rule_of(request.how, request.set)[1])


def _base_name(home: Home, part: Part, request: MergeRequest) -> str:
    """The base that the run names, or the manifest of an adapter that is of none."""
    if part.run is not None:
        return runs.base_of(home.runs, part.run.name)
    mixed = [parse(model) for model in request.models]
    if mixed[0].kind == "mix":
        return str(mix_of(mixed[0]).base)
    model = manifest_of(part.folder).get("model")
    if model is None:
        raise StudioError("merge_base_unknown", path=str(part.folder))
    return str(model)


def _precision(part: Part) -> str:
    """In which the first run was planned; that of most where it is not known."""
    plan: Mapping[str, Any] = {}
    if part.run is not None:
        plan = json.loads((part.run / "plan.json").read_text(encoding="utf-8"))
    return str(plan.get("settings", {}).get("precision") or "bf16")
