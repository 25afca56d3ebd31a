"""The name of a dataset -> its path: a shipped sample by name, else a file or folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import assets
from studio.errors import StudioError


@dataclass(frozen=True)
class Sample:
    """A shipped dataset: a folder with `train.jsonl`, `heldout.jsonl` and `sample.json`."""

    name: str
    title: str
    summary: str
    goal: str  # what it teaches: style | format | facts
    path: Path


def list_samples() -> list[Sample]:
    """The shipped samples, by name."""
    folders = sorted(f.parent for f in assets.path("samples").glob("*/sample.json"))
    return [_sample(folder) for folder in folders]


def _sample(folder: Path) -> Sample:
    body = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
    return Sample(folder.name, body["title"], body["summary"], body["goal"], folder)


def resolve_dataset(name: str) -> Path:
    """Path of a sample by its name, or of a file or folder. Raises StudioError `dataset_missing`."""
    names = [sample.name for sample in list_samples()]
    if name in names:
        return assets.path("samples", name)
    path = Path(os.path.expanduser(name))
    if name and os.path.exists(path):  # False, not an error, for what can't be a path
        return path
    raise StudioError("dataset_missing", name=name, samples=names)
