"""From a model's name to the folder that holds its config.json, weights and tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import assets
from studio.errors import StudioError
from studio.models import hub
from studio.models.folder import check_model_folder
from studio.names import ModelName, parse


def locate(name: ModelName | str, runs_folder: Path | None = None) -> Path:
    """The folder of a model that is on disk, checked to be complete.

    A hub model is looked for in the hub client's own cache; nothing is downloaded. `runs_folder` serves to
    say what a run is based on.

    Raises StudioError with the codes of `studio.models.folder.check_model_folder`, and `model_not_on_disk`
    (a hub model not downloaded yet), `run_missing`, `model_is_run` (a run is a change, not a model).
    """
    parsed = parse(name) if isinstance(name, str) else name
    if parsed.kind == "run":
        raise _not_a_base(parsed, runs_folder)
    if parsed.kind == "hub":
        folder = hub.local_folder(parsed.value, parsed.revision)
        if folder is None:
            raise StudioError("model_not_on_disk", name=str(parsed))
    else:
        folder = assets.path("starter") if parsed.kind == "starter" else Path(parsed.value)
    check_model_folder(folder)
    return folder


def _not_a_base(name: ModelName, runs_folder: Path | None) -> StudioError:
    plan = None if runs_folder is None else runs_folder / name.value / "plan.json"
    if plan is None or not plan.is_file():
        return StudioError("run_missing", run=name.value)
    base = json.loads(plan.read_text(encoding="utf-8"))["model"]
    return StudioError("model_is_run", name=str(name), base=base)
