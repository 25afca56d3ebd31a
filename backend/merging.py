"""Merges as jobs: what was asked for is checked as far as names and manifests tell, and queued."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backend.api import MergeRequest, Product, Unmixable
from backend.api.chat import ChatModel
from backend.chat import runs
from backend.home import Home
from backend.inputs import HELDOUT, folder_if_on_disk
from backend.jobs import record
from backend.jobs.record import Job
from backend.parts import Part, parts_of, recipe_of, rule_of
from backend.store.database import Store
from studio.errors import StudioError
from studio.generate.precision import copy_bytes, weights_bytes
from studio.manifests import manifest_of, method_of, require_same_base
from studio.merges import merges
from studio.models.config import read_config
from studio.names import ADDED_UP, ModelName, mix_of, parse
from studio.params import to_dict

# What PEFT trains beside thin matrices, as `studio.merge.adapter` calls it, by its key in the configuration.
_BESIDE = {"dora": "use_dora", "tokens": "trainable_token_indices", "modules": "modules_to_save"}


def ask(home: Home, connection: sqlite3.Connection, request: MergeRequest) -> str:
    """Queue a merge; gives the job's id.

    Raises StudioError: those of `studio.names.parse`, `run_missing`, `run_has_no_adapter`,
    `checkpoint_missing`, `merge_weights_count` (weights, models), `merge_weight_endless` (weights),
    `merge_how_missing` (models), `merge_rules_nested` (name, how) for a mix with a rule of its own,
    `merge_base_unknown`, `merge_bases_differ`, `method_not_mergeable`, `merge_not_adapter`,
    `merge_not_4_bit`, `merge_out_taken`, `unknown_extension`; PlanError for params that are wrong.
    """
    named = _named(request)
    parts = parts_of(home.runs, named)
    require_same_base([part.folder for part in parts])
    if request.how is None and len(request.models) > 1:
        raise StudioError("merge_how_missing", models=list(request.models), known=list(merges.all()))
    _require_method(parts, request)
    plan = {
        "model": _base_name(home, parts[0], request),
        "parts": named,
        "how": request.how,
        "params": _params(request),
        "mixed": _mixed(request),
        "compress": request.compress,
        "exact": request.exact,
        "out": free_folder(request.out),
        "precision": precision(parts[0]),
    }
    id = record.new_id(connection, "merge", (path.name for path in home.runs.iterdir()))
    record.add(connection, id, "merge", plan)
    return id


def mixable(home: Home) -> list[ChatModel]:
    """Runs and merges that can be mixed, newest first: adapters with others, and each run that trained its
    base's own weights by itself, towards its base."""
    return [model for model, refused in _learned(home) if refused is None]


def unmixable(home: Home) -> list[Unmixable]:
    """The other runs and merges that answer, newest first, each with the reason."""
    return [
        Unmixable(model.name, model.base, refused.as_dict())
        for model, refused in _learned(home)
        if refused is not None
    ]


def _learned(home: Home) -> Iterator[tuple[ChatModel, StudioError | None]]:
    """What answers beside its base, newest first, and why it can't be combined, if it can't."""
    for run in runs.answering_runs(home.runs):
        with contextlib.suppress(StudioError, FileNotFoundError):  # deleted this moment
            name = runs.named(home.runs, run)
            refused = _not_mixable(home, run, name)
            method, params = runs.method_of(home.runs, run)
            base = runs.base_of(home.runs, run)
            in_4_bit = method.base_quantisation(params) is not None
            copied = _base_sizes(home, base) if method.capable("trains_base", params) else None
            yield ChatModel(name, base, in_4_bit, copied), refused


def _base_sizes(home: Home, base: str) -> tuple[int, int]:
    """Bytes of a base's weights: as stored, and in 32 bit; none while it is not on the disk."""
    folder = folder_if_on_disk(base, home.runs)
    if folder is None:
        return 0, 0
    facts = read_config(folder)
    return weights_bytes(facts), copy_bytes(facts, "float32", None)


def _not_mixable(home: Home, run: str, name: str) -> StudioError | None:
    method, params = runs.method_of(home.runs, run)
    if not method.capable("mergeable", params):
        return StudioError("method_not_mergeable", method=method.title)
    if method.capable("trains_base", params):
        return None
    folder = runs.adapter_folder(home.runs, ModelName("run", run))
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    beside = [part for part, key in _BESIDE.items() if config.get(key)]
    return StudioError("merge_not_plain", path=name, parts=beside) if beside else None


def ask_losses(home: Home, connection: sqlite3.Connection, model: str) -> str:
    """Queue the measurement of what a mix does to the held-out loss of its runs; gives the job's id.

    Raises StudioError: `model_not_mix` (name), those of `studio.names.parse` and `backend.parts.recipe_of`,
    `merge_base_unknown`, `merge_bases_differ`, `merge_heldout_missing` (models) if none has such rows.
    """
    name = parse(model)
    if name.kind != "mix":
        raise StudioError("model_not_mix", name=model)
    mix = mix_of(name)
    parts = recipe_of(home.runs, mix).parts
    require_same_base([part.folder for part in parts])
    if not any(part.run is not None and (part.run / HELDOUT).is_file() for part in parts):
        raise StudioError("merge_heldout_missing", models=[part.name for part in parts])
    plan = {"model": str(mix.base), "mix": str(name), "precision": precision(parts[0])}
    id = record.new_id(connection, "evaluate", (path.name for path in home.runs.iterdir()))
    record.add(connection, id, "evaluate", plan, devices=_devices(parts[0]))
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
    if not all(math.isfinite(weight) for weight in weights or ()):
        raise StudioError("merge_weight_endless", weights=[str(weight) for weight in weights or ()])
    if weights is None:
        usual = merges.get(request.how).usual_weights(len(models)) if request.how else (1.0,) * len(models)
        weights = usual
    found: list[tuple[str, float]] = []
    for model, weight in zip(models, weights, strict=True):
        found += [(str(name), weight * share) for name, share in _inside(model, request)]
    return found


def _inside(model: ModelName, request: MergeRequest) -> tuple[tuple[ModelName, float], ...]:
    """The adapters of a mix; a rule of its own is kept only where it goes into the base."""
    if model.kind != "mix":
        return ((model, 1.0),)
    mix = mix_of(model)
    if mix.how != ADDED_UP and (request.how is not None or len(request.models) > 1 or request.weights):
        raise StudioError("merge_rules_nested", name=str(model), how=mix.how)
    return mix.adapters


def _mixed(request: MergeRequest) -> dict[str, Any] | None:
    """The rule by which a mix becomes one adapter before it goes into the base; None where nothing has to."""
    name = parse(request.models[0])
    if request.how is not None or name.kind != "mix":
        return None
    mix = mix_of(name)
    if mix.how == ADDED_UP and len(mix.adapters) == 1:
        return None
    # Side by side computes the sum without any rounding.
    how, params = rule_of("cat" if mix.how == ADDED_UP else mix.how, mix.params)
    return {"how": how.id, "params": to_dict(params)}


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
    return {} if request.how is None else to_dict(rule_of(request.how, request.set)[1])


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
    """In which the first run was planned; that of most where it is not known."""
    return str(_settings(part).get("precision") or "bf16")


def _devices(part: Part) -> tuple[str, ...]:
    """Where the first run was trained; the processor, where it is not known."""
    return (str(_settings(part).get("device") or "cpu"),)


def _settings(part: Part) -> Mapping[str, Any]:
    if part.run is None:
        return {}
    plan: Mapping[str, Any] = json.loads((part.run / "plan.json").read_text(encoding="utf-8"))
    return dict(plan.get("settings", {}))
