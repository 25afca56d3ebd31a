"""What a run's folder says to the chat engine: its base, its template, its newest adapter. No torch."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.methods import Method
from studio.names import ModelName, mix_of, parse
from studio.params import parse as parse_params
from studio.plan import methods


def base_of(runs: Path, run: str) -> str:
    """Canonical name of the base that a run tunes.

    Raises:
        StudioError: `run_missing` (run), `run_unreadable` (run, path) if its plan is broken.
    """
    plan = runs / run / "plan.json"
    if not plan.is_file():
        raise StudioError("run_missing", run=run)
    if (base := _planned_base(plan)) is None:
        raise StudioError("run_unreadable", run=run, path=str(plan))
    return base


def answered_by(runs: Path, name: ModelName) -> str:
    """Canonical name of the base in whose engine a model answers: its own where it stands by itself.

    Raises:
        StudioError: `run_missing`, `run_unreadable`.
    """
    if name.kind == "mix":
        return str(mix_of(name).base)
    if name.kind == "run" or (name.kind == "merge" and merged_weights(runs, name.value) is None):
        return base_of(runs, name.value)
    return str(name)


def merged_weights(runs: Path, job: str) -> Path | None:
    """The folder of the whole model that a merge made; None for one that made an adapter, and for a run.

    Raises:
        StudioError: as `base_of`.
    """
    base_of(runs, job)
    merged = _read(runs / job / "plan.json").get("merged")
    return None if merged is None else Path(merged)


def named(runs: Path, job: str) -> str:
    """`run:ID`, or `merge:ID` for what a merge made."""
    return f"merge:{job}" if "merged" in _read(runs / job / "plan.json") else f"run:{job}"


def method_of(runs: Path, run: str) -> tuple[Method, Any]:
    """The method that a run tunes with, and its params.

    Raises:
        StudioError: `run_missing` (run).
    """
    base_of(runs, run)
    plan = _read(runs / run / "plan.json")
    method: Method = methods.get(plan["method"])
    return method, parse_params(method.params, plan["method_params"])[0]


def tokenizer_folder(runs: Path, run: str) -> Path:
    """Where the run's tokenizer, template and stop ids are.

    Raises:
        StudioError: `run_missing`; `run_has_no_adapter` before they are written.
    """
    base_of(runs, run)
    folder = runs / run / "tokenizer"
    if not folder.is_dir():
        raise StudioError("run_has_no_adapter", run=run, state=None)
    return folder


def adapter_folder(runs: Path, name: ModelName) -> Path:
    """The adapter that `run:ID`, `run:ID@best` or `run:ID@STEP` means; without @ the newest complete one.

    Raises:
        StudioError: `run_missing`, `run_has_no_adapter` (run, state), `checkpoint_missing` (run, step,
            steps).
    """
    base_of(runs, name.value)
    run = runs / name.value
    final = run / "adapter"
    kept = checkpoints(run)
    finished = (final / "manifest.json").is_file()
    if not kept and not finished:
        raise StudioError("run_has_no_adapter", run=name.value, state=None)
    if name.step is None:
        return final if finished else kept[max(kept)]
    step = _best_step(run) if name.step == "best" else name.step
    if step in kept:
        return kept[step]
    raise StudioError("checkpoint_missing", run=name.value, step=name.step, steps=sorted(kept))


def trained_on(adapter: Path) -> str:
    """Hash of the base that an adapter was trained on, from the manifest beside or above it."""
    manifest = adapter / "manifest.json"
    body = _read(manifest if manifest.is_file() else adapter.parent / "manifest.json")
    base: str = body["base"]
    return base


def answering_runs(runs: Path, base: str | None = None) -> list[str]:
    """Ids of the runs and merges that have an adapter, newest first; only those of `base` (canonical) if it
    is given."""
    found: list[tuple[float, str]] = []
    # A name with a dot is that of a run being made or deleted.
    for plan in runs.glob("[!.]*/plan.json"):
        run, planned = plan.parent, _planned_base(plan)
        if planned is None or base not in (None, planned):
            continue
        if (run / "adapter" / "manifest.json").is_file() or checkpoints(run):
            with contextlib.suppress(FileNotFoundError, StudioError):  # deleted this moment
                if merged_weights(runs, run.name) is not None:
                    continue
                found.append((plan.stat().st_mtime, run.name))
    return [name for _, name in sorted(found, reverse=True)]


def merged_models(runs: Path) -> list[str]:
    """`merge:ID` of every merge that made a whole model which is still there, newest first."""
    found: list[tuple[float, str]] = []
    for plan in runs.glob("[!.]*/plan.json"):
        with contextlib.suppress(OSError, ValueError, StudioError):  # deleted this moment, or broken
            merged = merged_weights(runs, plan.parent.name)
            if merged is not None and merged.is_dir():
                found.append((plan.stat().st_mtime, f"merge:{plan.parent.name}"))
    return [name for _, name in sorted(found, reverse=True)]


def marks(runs: Path, run: str) -> list[str]:
    """What may stand behind the name of a run: `@best` where it was measured and kept, and `@STEP` of every
    complete checkpoint, newest first."""
    steps = sorted(checkpoints(runs / run), reverse=True)
    best = ["@best"] if _best_step(runs / run) in steps else []
    return [*best, *(f"@{step}" for step in steps)]


def checkpoints(run: Path) -> dict[int, Path]:
    """Adapter folders of the complete checkpoints by step: their manifests, written last, are there."""
    manifests = (run / "checkpoints").glob("step-*/manifest.json")
    return {int(file.parent.name.removeprefix("step-")): file.parent / "adapter" for file in manifests}


def _planned_base(plan: Path) -> str | None:
    """Canonical name of the base in a plan; None if the file is gone or is no plan."""
    try:
        return str(parse(_read(plan)["model"]))
    except (OSError, ValueError, LookupError, TypeError, StudioError):
        return None


def _best_step(run: Path) -> int | None:
    best = run / "best.json"
    return int(_read(best)["step"]) if best.is_file() else None


def _read(file: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return body
