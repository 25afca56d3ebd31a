"""From a model's name to the folder that holds its config.json, weights and tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import assets
from studio.errors import StudioError
from studio.models import hub
from studio.models.folder import check_model_folder
from studio.names import ModelName, mix_of, parse


def locate(name: ModelName | str, runs_folder: Path | None = None) -> Path:
    """The folder of a model that is on disk, checked to be complete.

    A hub model is looked for in the hub client's own cache; nothing is downloaded. `runs_folder` is where a
    merge is found, and what a run is based on.

    Raises StudioError with the codes of `studio.models.folder.check_model_folder`, and `model_not_on_disk`
    (a hub model not downloaded yet), `run_missing`, `model_is_run` (a run, a merge of adapters or a mix is a
    change, not a model).
    """
    parsed = parse(name) if isinstance(name, str) else name
    if parsed.kind == "mix":
        raise StudioError("model_is_run", name=str(parsed), base=str(mix_of(parsed).base))
    folder = _folder(parsed, runs_folder)
    check_model_folder(folder)
    return folder


def _folder(name: ModelName, runs_folder: Path | None) -> Path:
    if name.kind in ("run", "merge"):
        return _merged(name, runs_folder)
    if name.kind == "hub":
        found = hub.local_folder(name.value, name.revision)
        if found is None:
            raise StudioError("model_not_on_disk", name=str(name))
        return found
    return assets.path("starter") if name.kind == "starter" else Path(name.value)


def _merged(name: ModelName, runs_folder: Path | None) -> Path:
    """The model that a merge made; the refusal of a run, and of a merge that made an adapter."""
    plan = None if runs_folder is None else runs_folder / name.value / "plan.json"
    if plan is None or not plan.is_file():
        raise StudioError("run_missing", run=name.value)
    body = json.loads(plan.read_text(encoding="utf-8"))
    if name.kind == "merge" and body.get("merged") is not None:
        return Path(body["merged"])
    raise StudioError("model_is_run", name=str(name), base=body["model"])
