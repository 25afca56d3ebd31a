"""A compact adapter (ternary numbers, ComPEFT, arXiv 2311.13171) into an ordinary one that peft loads.

    python expand_adapter.py OUT          writes the adapter beside this file into the new folder OUT

It needs numpy and safetensors, and stands alone: an exported compact adapter brings this very file along.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

COMPACT = "compeft.safetensors"
WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
LONG = 255  # a byte of this value adds itself to the gap and says that it goes on


def expand(folder: Path, out: Path) -> None:
    """Write the compact adapter in `folder` in PEFT's format, in 32 bit, into the existing folder `out`."""
    save_file(arrays(folder / COMPACT), out / WEIGHTS, metadata={"format": "pt"})
    shutil.copyfile(folder / CONFIG, out / CONFIG)


def arrays(file: Path) -> dict[str, Any]:
    """What a compact file holds, by name as numpy arrays in 32 bit."""
    found: dict[str, Any] = {}
    with safe_open(file, framework="np") as saved:
        for name, shape in json.loads(saved.metadata()["shapes"]).items():
            gaps = _gaps_of_bytes(saved.get_tensor(f"{name}:gaps"))
            signs = np.unpackbits(saved.get_tensor(f"{name}:signs"), count=len(gaps))
            flat = np.zeros(prod(shape), dtype=np.float32)
            scale = saved.get_tensor(f"{name}:scale")
            flat[np.cumsum(gaps + 1) - 1] = np.where(signs, scale, -scale)
            found[name] = flat.reshape(shape)
    return found


def expanded_bytes(file: Path) -> int:
    """Size of what `expand` makes of a compact file."""
    with safe_open(file, framework="np") as saved:
        shapes: dict[str, list[int]] = json.loads(saved.metadata()["shapes"])
    return 4 * sum(prod(shape) for shape in shapes.values())


@contextmanager
def expanded(folder: Path) -> Iterator[Path]:
    """The adapter in `folder` for PEFT to read: itself, of a compact one a copy that goes afterwards."""
    if not (folder / COMPACT).is_file():
        yield folder
        return
    with TemporaryDirectory(prefix="adapter-") as made:
        expand(folder, Path(made))
        yield Path(made)


def _gaps_of_bytes(stored: Any) -> Any:
    ends = np.flatnonzero(stored != LONG)
    return np.diff(np.cumsum(stored, dtype=np.int64)[ends], prepend=0)


def main() -> None:
    """Expand the adapter beside this file."""
    parser = argparse.ArgumentParser(description="Write a compact adapter as an ordinary one for peft.")
    parser.add_argument("out", metavar="OUT", type=Path, help="the folder to make")
    out = parser.parse_args().out
    if out.exists():
        parser.error(f"{out} is there already")
    out.mkdir(parents=True)
    expand(Path(__file__).parent, out)


if __name__ == "__main__":
    main()
