"""Files that are either whole or not there, also after a power cut; what a folder takes. No torch."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from studio.errors import StudioError


def write_json(path: Path, body: Any) -> None:
    """Replace a JSON file in one step, on the disk when this returns."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(body, file, indent=1, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def tree_bytes(folder: Path) -> int:
    """Bytes of all files below a folder, or of one file. Links count as nothing: what they lead to is
    elsewhere, or counted already. What vanishes meanwhile counts as nothing too."""
    try:
        if folder.is_symlink():
            return 0
        if folder.is_dir():
            return sum(tree_bytes(entry) for entry in folder.iterdir())
        return folder.stat().st_size
    except FileNotFoundError:
        return 0


def remove_folder(folder: Path, root: Path) -> None:
    """Delete a folder that lies inside `root`.

    Raises StudioError `library_outside` (path, root) if it lies elsewhere, or leads there as a link.
    """
    if not folder.resolve().is_relative_to(root.resolve()) or folder.resolve() == root.resolve():
        raise StudioError("library_outside", path=str(folder), root=str(root))
    # Renamed first: what can't be removed at once is out of the way, and never half there.
    doomed = folder.with_name(f".deleted-{uuid.uuid4().hex}")
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
