"""Exports as jobs: what was asked for is checked as far as names and manifests tell, and queued."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.api import ExportRequest, ExportRoom
from backend.home import Home
from backend.inputs import folder_if_on_disk
from backend.jobs import record
from backend.merging import base_name, free_folder, is_adapter, precision
from backend.parts import Part, parts_of
from studio.errors import PlanError, Problem, StudioError
from studio.export.commands import bare_name
from studio.exports import EXACT, ExportFormat, exports
from studio.manifests import manifest_of, method_of
from studio.merge.expand_adapter import COMPACT
from studio.models.config import load_config
from studio.models.locate import locate
from studio.names import ModelName, parse
from studio.params import parse as parse_params
from studio.params import to_dict


def ask(home: Home, connection: sqlite3.Connection, request: ExportRequest) -> str:
    """Queue an export; gives the job's id.

    Raises StudioError: those of `studio.names.parse` and `studio.models.locate`, `unknown_extension`,
    `export_of_mix`, `export_no_adapter` (model), `export_not_compact` (model), `method_not_mergeable`,
    `export_family_unknown` (format, family, known), `merge_out_taken`, `export_repo_bad` (repo),
    `run_missing`, `run_has_no_adapter`, `checkpoint_missing`, `merge_base_unknown`; PlanError for params that
    are wrong.
    """
    subject = _subject(home, request)
    if request.upload is not None and not _is_repo(request.upload):
        raise StudioError("export_repo_bad", repo=request.upload)
    learned = subject.learned
    plan = {
        "asked": subject.name,
        "model": subject.base,
        "part": subject.name if learned else None,
        "format": subject.format.id,
        "params": to_dict(subject.params),
        "out": free_folder(request.out),
        "upload": request.upload,
        "public": request.public,
        "precision": precision(learned) if learned else "fp32",
    }
    id = record.new_id(connection, "export", (path.name for path in home.runs.iterdir()))
    record.add(connection, id, "export", plan)
    return id


def room(home: Home, request: ExportRequest) -> ExportRoom:
    """What an export would take and what is free where it would go; raises what `ask` does."""
    subject = _subject(home, request)
    folder = folder_if_on_disk(subject.base, home.runs)
    where = home.runs if request.out is None else Path(str(free_folder(request.out)))
    there = next(place for place in (where, *where.parents) if place.is_dir())
    learned = subject.learned.folder if subject.learned else None
    return ExportRoom(
        needed_bytes=None if folder is None else subject.format.size(folder, learned, subject.params),
        free_bytes=shutil.disk_usage(there).free,
        idle=() if _in_4_bit(subject.learned) else (EXACT,),
    )


def _in_4_bit(learned: Part | None) -> bool:
    """Whether it was learned over a base in 4 bit."""
    if learned is None:
        return False
    method, params = method_of(manifest_of(learned.folder))
    return method.base_quantisation(params) is not None


@dataclass(frozen=True)
class _Subject:
    """What is exported as what: its name, the base's, and what was learned beside that."""

    name: str
    format: ExportFormat
    params: Any
    learned: Part | None
    base: str


def _subject(home: Home, request: ExportRequest) -> _Subject:
    """What a request means, with all checked that names and manifests tell."""
    format, name = exports.get(request.format), parse(request.model)
    params = _params(format, request)
    learned = learned_of(home, name)
    base = base_name(home, learned) if learned else _whole(home, name)
    _require_fit(home, format, name, learned, base)
    return _Subject(str(name), format, params, learned, base)


def learned_of(home: Home, name: ModelName) -> Part | None:
    """What was learned beside a base, where the name means that; None for a model as a whole."""
    if name.kind == "mix":
        raise StudioError("export_of_mix")
    adapter = name.kind == "path" and is_adapter(Path(name.value))
    if name.kind == "run" or adapter or (name.kind == "merge" and _merged_folder(home, name) is None):
        return parts_of(home.runs, [(str(name), 1.0)])[0]
    return None


def _merged_folder(home: Home, name: ModelName) -> str | None:
    """Where a merge put a whole model; None if it made an adapter, or is not there."""
    plan = home.run(name.value) / "plan.json"
    merged = json.loads(plan.read_text(encoding="utf-8")).get("merged") if plan.is_file() else None
    return None if merged is None else str(merged)


def _whole(home: Home, name: ModelName) -> str:
    """The name of a model that is exported as it is."""
    return f"path:{locate(name, home.runs)}" if name.kind == "merge" else str(name)


def _params(format: ExportFormat, request: ExportRequest) -> Any:
    found: tuple[Any, list[Problem]] = parse_params(format.params, request.set)
    params, problems = found
    if problems:
        raise PlanError(problems)
    return params


def _require_fit(home: Home, format: ExportFormat, name: ModelName, learned: Part | None, base: str) -> None:
    """Raise what makes this format impossible for this model."""
    if format.compact and (learned is None or not (learned.folder / COMPACT).is_file()):
        raise StudioError("export_not_compact", model=bare_name(str(name)))
    if learned is None and not format.merged:
        raise StudioError("export_no_adapter", model=bare_name(str(name)))
    if learned is not None:
        method, params = method_of(manifest_of(learned.folder))
        if format.merged and not method.capable("mergeable", params):
            raise StudioError("method_not_mergeable", method=method.title)
        if not format.merged and method.capable("trains_base", params):
            raise StudioError("export_no_adapter", model=bare_name(str(name)))
    folder = folder_if_on_disk(base, home.runs)
    family = None if folder is None else load_config(folder / "config.json").get("model_type")
    if family is not None and format.families is not None and family not in format.families:
        raise StudioError(
            "export_family_unknown", format=format.title, family=family, known=list(format.families)
        )


def _is_repo(text: str) -> bool:
    """Whether a text is a repository's id, without a revision."""
    try:
        name = parse(f"hub:{text}")
    except StudioError:
        return False
    return name.value == text
