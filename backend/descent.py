"""What a model was made of, out of the plans of the jobs: those of deleted jobs are kept, so it is known of
what is not there any more too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.chat import runs
from backend.home import Home
from backend.inputs import base_hash
from backend.merging import is_adapter
from backend.store.database import Store
from studio.errors import StudioError
from studio.export.descent import Descent, Learned, Merged
from studio.manifests import manifest_of
from studio.models.locate import locate
from studio.names import ModelName, parse
from studio.plan import Plan


def descent_of(home: Home, store: Store, model: str) -> Descent:
    """The steps behind a model, by its name (no mix). Of what is no job's, only that it is there."""
    walk = _Walk(home, store)
    walk.visit(parse(model))
    root, steps = walk.root or model, tuple(walk.steps.values())
    # As it was when it was tuned; what lies there now may be another one.
    over = (step for step in steps if isinstance(step, Learned) and step.base == root)
    hash = next((found for step in over if (found := step.base_hash) is not None), None)
    try:
        folder = locate(root, home.runs)
    except StudioError:
        return Descent(root, None, hash, steps)
    return Descent(root, folder, hash or base_hash(folder, home), steps)


class _Walk:
    def __init__(self, home: Home, store: Store) -> None:
        self._home, self._store = home, store
        self.steps: dict[str, Learned | Merged] = {}
        self.root: str | None = None

    def visit(self, name: ModelName) -> str:
        """Note a model's steps; gives the name that they have it by."""
        job = self._job(name)
        if job is None:
            return self._foreign(name)
        id, kind, plan, hashes, result = job
        if kind == "export":
            return self.visit(parse(plan["asked"]))
        if kind == "merge":
            return self._merge(f"merge:{id}", plan)
        return self._run(id, name, plan, hashes, result)

    def _merge(self, name: str, plan: Mapping[str, Any]) -> str:
        if name not in self.steps:
            base = self.visit(parse(plan["model"]))
            parts = tuple((self.visit(parse(part)), weight) for part, weight in plan["parts"])
            kept = {key: plan.get(key) for key in ("how", "mixed", "compress")}
            params, exact = plan.get("params") or {}, bool(plan.get("exact"))
            self.steps[name] = Merged(name, base, parts, params=params, exact=exact, **kept)
        return name

    def _run(
        self, id: str, name: ModelName, plan: Mapping[str, Any], hashes: Mapping[str, str], result: Any
    ) -> str:
        own = name if name.kind == "run" else self._checkpoint(id, name)
        text, folder = str(own), self._home.run(id)
        if text not in self.steps:
            base = self.visit(parse(plan["model"]))
            try:
                adapter: Path | None = runs.adapter_folder(self._home.runs, own)
            except StudioError:  # deleted
                adapter = None
            run = folder if folder.is_dir() else None
            read = _read(plan)
            self.steps[text] = Learned(text, base, read, run, adapter, hashes, result or {})
        return text

    def _checkpoint(self, id: str, name: ModelName) -> ModelName:
        """The run's name for a folder that is within its own."""
        found = {path: step for step, path in runs.checkpoints(self._home.run(id)).items()}
        return ModelName("run", id, step=found.get(Path(name.value)) if name.kind == "path" else None)

    def _foreign(self, name: ModelName) -> str:
        """What no job made: an adapter from elsewhere, or the model that all began with."""
        text = str(name)
        folder = Path(name.value)
        if name.kind != "path" or not is_adapter(folder):
            self.root = self.root or text
        elif text not in self.steps:
            try:
                if (base := manifest_of(folder).get("model")) is not None:
                    self.visit(parse(str(base)))
            except StudioError:
                pass
            self.steps[text] = Learned(text, adapter=folder)
        return text

    def _job(self, name: ModelName) -> tuple[str, str, Any, Any, Any] | None:
        """Id, kind, plan, hashes and result of the job that made this, deleted ones too."""
        id = name.value if name.kind in ("run", "merge") else self._maker(name)
        if id is None:
            return None
        rows = self._store.rows("SELECT kind, plan, hashes, result FROM job WHERE id = ?", id)
        if rows and rows[0][0] in ("train", "merge", "export"):
            kind, *bodies = rows[0]
            plan, hashes, result = (json.loads(body) if body else {} for body in bodies)
            return id, kind, plan, hashes, result
        file = self._home.run(id) / "plan.json"  # a folder out of another home
        plan = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return (id, "train", plan, {}, {}) if "settings" in plan else None

    def _maker(self, name: ModelName) -> str | None:
        """Which job a folder is of."""
        if name.kind != "path":
            return None
        folder = Path(name.value)
        if folder.is_relative_to(self._home.runs) and folder != self._home.runs:
            return folder.relative_to(self._home.runs).parts[0]
        sql = "SELECT made_by FROM artifact WHERE path = ? AND made_by IS NOT NULL ORDER BY id DESC LIMIT 1"
        made: str | None = self._store.value(sql, name.value)
        return made


def _read(plan: Mapping[str, Any]) -> Plan | None:
    """A run's plan; None for one that this studio does not understand any more."""
    try:
        return Plan.from_dict(dict(plan))
    except (StudioError, LookupError, TypeError, ValueError):
        return None
