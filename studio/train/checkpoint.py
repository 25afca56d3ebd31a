"""Folders that are either complete or not there: checkpoints and the final adapter.

A folder is filled under another name, its manifest is written last, and then it is renamed. What a method
learned is in `adapter/` (safetensors and JSON); optimizer, schedule and random state are in `state.pt`,
written by us and read with `weights_only=True`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from studio.errors import StudioError
from studio.files import write_json

MANIFEST = "manifest.json"
STATE = "state.pt"
ADAPTER = "adapter"
_FORMAT = 1
_MARGIN_BYTES = 8 * 2**20


def write_folder(target: Path, fill: Callable[[Path], None], manifest: dict[str, Any]) -> Path:
    """Make `target` out of what `fill` writes, replacing an older one; its manifest lists every file's
    size. Nothing is left where `fill` raises."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        fill(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    files = {str(f.relative_to(partial)): f.stat().st_size for f in sorted(partial.rglob("*")) if f.is_file()}
    write_json(partial / MANIFEST, {"format": _FORMAT, **manifest, "files": files})
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return target


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a complete folder; None if the folder is not complete."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    for name, size in manifest["files"].items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != size:
            return None
    return manifest


def checkpoint_folder(root: Path, step: int) -> Path:
    return root / f"step-{step:08d}"


def checkpoints(root: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return [folder for folder in sorted(root.glob("step-*")) if read_manifest(folder) is not None]


def prune(root: Path, keep: int, best: int | None) -> None:
    """Delete all but the newest `keep` checkpoints and the best one."""
    kept = None if best is None else checkpoint_folder(root, best)
    for folder in checkpoints(root)[:-keep]:
        if folder != kept:
            shutil.rmtree(folder)


def read_state(folder: Path) -> dict[str, Any]:
    """Optimizer, schedule, random and method state of a checkpoint, on the CPU."""
    state: dict[str, Any] = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    return state


def require_room(folder: Path, needed: int) -> None:
    """Raises StudioError `disk_full` if `needed` bytes and a margin are not free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < needed + _MARGIN_BYTES:
        raise StudioError("disk_full", path=str(folder), needed_bytes=needed + _MARGIN_BYTES, free_bytes=free)
