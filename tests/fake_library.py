"""The models on a disk that exists in memory only: the part of the fake facade about them."""

from __future__ import annotations

from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Any

from backend.api import Dependent, DiskUse, Holding, Library, RunSummary
from studio.errors import StudioError

MIB = 2**20
HOLDINGS = (
    Holding("starter", "base", "starter", "/app/assets/starter", "whole", 11 * MIB, 0, None),
    Holding(
        name="hub:HuggingFaceTB/SmolLM2-135M-Instruct",
        kind="base",
        title="HuggingFaceTB/SmolLM2-135M-Instruct",
        path="/cache/models--HuggingFaceTB--SmolLM2-135M-Instruct",
        state="whole",
        size_bytes=272 * MIB,
        frees_bytes=272 * MIB,
        removal="delete",
        made_by="download-1",
        dependents=(Dependent("pirate-1", "train", True), Dependent("merge-1", "merge", False)),
    ),
    Holding("path:/models/own", "base", "own", "/models/own", "missing", 0, 0, "forget"),
    *(
        Holding(
            name=name,
            kind=kind,
            title=name.removeprefix("run:"),
            path=f"/home/runs/{name}",
            state="whole",
            size_bytes=size * MIB,
            frees_bytes=size * MIB,
            removal="delete",
            made_by="pirate-1",
            base="hub:HuggingFaceTB/SmolLM2-135M-Instruct",
            dependents=(Dependent("merge-1", "merge", False),) if kind == "adapter" else (),
        )
        for name, kind, size in (
            ("run:pirate-1", "adapter", 31),
            ("run:pirate-1@300", "checkpoint", 9),
            ("run:pirate-1@200", "checkpoint", 9),
        )
    ),
    Holding(
        name="merge:merge-1",
        kind="merge",
        title="merge-1",
        path="/elsewhere/merged",
        state="whole",
        size_bytes=272 * MIB,
        frees_bytes=1 * MIB,
        removal="delete",
        made_by="merge-1",
        base="hub:HuggingFaceTB/SmolLM2-135M-Instruct",
        made_of=("run:pirate-1",),
        stays="/elsewhere/merged",
        in_use=("export-1",),
    ),
)


def _download(run: str, model: str, state: str, **more: Any) -> RunSummary:
    fields = dict.fromkeys(field.name for field in fields_of(RunSummary))
    known = {"run": run, "kind": "download", "state": state, "model": model, "steps": 0, "created": 0.0}
    return RunSummary(**{**fields, **known, "answering": True, "attempt": 1, **more})


DOWNLOADS = (
    _download(
        "download-3",
        "hub:Qwen/Qwen2.5-0.5B-Instruct",
        "running",
        phase="downloading",
        progress=0.62,
        size_bytes=953 * MIB,
    ),
    _download(
        run="download-2",
        model="hub:ada/large",
        state="failed",
        error={
            "code": "hub_disk_full",
            "facts": {
                "repo": "ada/large",
                "needed_bytes": 140 * 2**30,
                "free_bytes": 90 * 2**30,
                "path": "/c",
            },
        },
    ),
)


class FakeLibrary:
    """`backend.api.library.LibraryFacade` in memory."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.holdings = list(HOLDINGS)
        self.downloads = list(DOWNLOADS)
        self.asked: list[str] = []  # models whose download was asked for
        self.quota: int | None = None

    def empty_the_disk(self) -> None:
        """Nothing but what came with the studio."""
        self.holdings, self.downloads = self.holdings[:1], []

    def library(self) -> Library:
        taken = 400 * MIB
        passed = self.quota is not None and self.quota < taken
        disk = DiskUse(
            home="/home",
            home_bytes=taken - 272 * MIB,
            hub="/cache",
            hub_bytes=272 * MIB,
            free_bytes=90_000 * MIB,
            total_bytes=240_000 * MIB,
            quota_bytes=self.quota,
            warning="quota_passed" if passed else None,
        )
        return Library(tuple(self.holdings), disk)

    def download(self, model: str) -> str:
        self.asked.append(model)
        return "pirate-1"

    def register(self, folder: str) -> str:
        name = f"path:{folder.removeprefix('path:')}"
        self.holdings.append(Holding(name, "base", "added", folder, "whole", MIB, 0, "forget"))
        return name

    def held(self, name: str) -> Holding | None:
        return next((i for i in self.holdings if name in (i.name, i.name.partition(":")[2])), None)

    def refuse(self, item: Holding, knowing: tuple[str, ...]) -> None:
        if item.needed_by:
            raise StudioError("library_needed", name=item.name, runs=list(item.needed_by))
        if unknown := [d.run for d in item.dependents if d.run not in knowing]:
            raise StudioError("library_has_dependents", name=item.name, runs=unknown)

    def remove(self, name: str, knowing: tuple[str, ...] = ()) -> Holding:
        item = self.held(name)
        if item is None and (
            gone := getattr(self, "export_jobs", {}).pop(name.removeprefix("export:"), None)
        ):
            return self._held(gone.run, "")
        if item is None:
            raise StudioError("library_missing", name=name)
        self.refuse(item, knowing)
        self.holdings = [
            replace(i, dependents=tuple(d for d in i.dependents if d.run != item.title))
            for i in self.holdings
            if i is not item
        ]
        return item

    def set_quota(self, quota_bytes: int | None) -> None:
        self.quota = quota_bytes
