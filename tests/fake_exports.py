"""Exports in memory: the part of the fake facade about them. Three have ended in different ways, one runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backend.api import ExportRequest, ExportRoom, Holding, Product, RunDetail, RunSummary, Unmixable
from studio import params
from studio.errors import PlanError, StudioError
from studio.exports import exports

MIB = 2**20
PARITY = {
    "max_difference": 0.0004,
    "mean_difference": 0.00009,
    "largest": 18.2,
    "bound": 0.18,
    "passed": True,
    "prompts": 8,
    "same_answers": 8,
}
FILES = {"Modelfile": 61, "README.md": 1800, "manifest.json": 300, "model-q8_0.gguf": 4 * MIB}


class FakeExports:
    """What `backend.api.Facade` says of exports, over jobs that stand still until they are moved on."""

    home: Path

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.exported: list[ExportRequest] = []
        self.export_jobs = {job.run: job for job in _jobs()}
        self._asked = {
            "export-4": ("run:pirate-2", "safetensors"),
            "export-3": ("run:pirate-1", "gguf"),
            "export-2": ("run:json-1", "gguf"),
            "export-1": ("merge:merge-1", "safetensors"),
        }

    def exports(self) -> list[dict[str, Any]]:
        return [
            {
                "id": format.id,
                "title": format.title,
                "summary": format.summary,
                "params": [info.as_dict() for info in params.describe(format.params)],
            }
            for format in exports.all().values()
        ]

    def export(self, request: ExportRequest) -> str:
        self.export_room(request)
        self.exported.append(request)
        id = f"export-{len(self._asked) + 1}"
        self._asked[id] = (request.model, request.format)
        self.export_jobs = {id: _job(id, "queued"), **self.export_jobs}
        return id

    def export_room(self, request: ExportRequest) -> ExportRoom:
        format = exports.get(request.format)
        if problems := params.parse(format.params, request.set)[1]:
            raise PlanError(problems)
        if format.compact and request.model != "merge:small-1":
            raise StudioError("export_not_compact", model=request.model)
        if request.model == "run:side-1" and format.merged:
            raise StudioError("method_not_mergeable", method="LST")
        if not request.model.startswith(("run:", "merge:")) and not format.merged:
            raise StudioError("export_no_adapter", model=request.model)
        needed = 274 * MIB if format.merged else 3 * MIB
        return ExportRoom(needed, 90_000 * MIB, () if request.model == "run:small-1" else ("exact",))

    def unmixable(self) -> list[Unmixable]:
        refused = StudioError("method_not_mergeable", method="LST")
        return [Unmixable("run:side-1", "starter", refused.as_dict())]

    def _move_export(self, run: str, state: str) -> RunSummary:
        self.export_jobs[run] = dataclasses.replace(self.export_jobs[run], state=state, error=None)
        return self.export_jobs[run]

    def _export(self, run: str) -> RunDetail:
        """An export as `run` gives it."""
        model, format = self._asked[run]
        plan = {"asked": model, "model": "starter", "part": model, "format": format}
        folder = str(self.home / "runs" / run)
        summary = self.export_jobs[run]
        held = self._held(run, folder) if summary.state == "done" else None
        return RunDetail(summary, plan, {}, folder, f"{folder}/log.txt", (), None, {}, (), holding=held)

    def _held(self, run: str, folder: str) -> Holding:
        """What an export left on the disk, as the library has it."""
        size = sum(FILES.values())
        name, made_of = f"export:{run}", (self._asked[run][0],)
        return Holding(name, "export", run, folder, "whole", size, size, "delete", run, made_of=made_of)

    def _exported(self, run: str) -> Product:
        """What it left behind; the files are made when they are asked for."""
        job = self.export_jobs[run]
        if job.state != "done":
            return Product(run, "export", job.state, None, None, (), {}, job.error)
        folder = self.home / "runs" / run / "export"
        folder.mkdir(parents=True, exist_ok=True)
        for name, size in FILES.items():
            if not (folder / name).exists():
                (folder / name).write_bytes(b"\x07" * size)
        passed = run != "export-1"
        parity = PARITY if passed else {**PARITY, "passed": False, "max_difference": 2.4, "same_answers": 1}
        facts: Mapping[str, Any] = {
            "format": self._asked[run][1],
            "size_bytes": sum(FILES.values()),
            "file_bytes": FILES,
            "parity": parity,
            **({"uploaded": "https://huggingface.co/ada/pirate"} if passed else {}),
        }
        return Product(run, "export", "done", 9, str(folder), tuple(FILES), facts, None)


def _jobs() -> list[RunSummary]:
    full = {"path": "/home/runs/export-2", "needed_bytes": 140 * MIB, "free_bytes": 90 * MIB}
    return [
        _job("export-4", "running", phase="exporting", progress=0.62),
        _job("export-3", "done"),
        _job("export-2", "failed", error={"code": "disk_full", "facts": full}),
        _job("export-1", "done"),
    ]


def _job(run: str, state: str, **more: Any) -> RunSummary:
    fields = dict.fromkeys(field.name for field in dataclasses.fields(RunSummary))
    known = {"run": run, "kind": "export", "state": state, "model": "starter", "steps": 0, "created": 0.0}
    return RunSummary(**{**fields, **known, "answering": True, "attempt": 1, **more})
