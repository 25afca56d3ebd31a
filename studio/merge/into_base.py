"""A run merged into its base: a complete model folder that plain transformers loads.

Written shard by shard, one tensor in memory at a time; tokenizer, template and stop ids are the run's own.
The folder is whole when it has its name: until then it is hidden, and without a manifest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.data.render import Renderer
from studio.errors import StudioError
from studio.identity import file_sha256, weight_files
from studio.manifests import manifest_of, method_of
from studio.merge import shards
from studio.merge.adapter import read_adapter
from studio.merge.change import Change, FullChange, LoraChange, in_4_bit
from studio.merge.layout import Layout
from studio.models.load import weights_dtype
from studio.train import checkpoint

Progress = Callable[[float], None]
_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Source:
    """What is merged: the folder that a method saved, the base (its folder and hash), the tokenizer (the
    run's; None: the base's), and the precision that the run was planned with, which says in what number
    format a base in 4 bit was loaded."""

    adapter: Path
    base: Path
    base_hash: str
    tokenizer: Path | None = None
    precision: str = "bf16"

    @property
    def dtype(self) -> torch.dtype:
        """That of a base in 4 bit, as the run loaded it."""
        return weights_dtype(self.precision, trained=False)


def merge_into_base(
    source: Source,
    out: Path,
    *,
    exact: bool = False,
    weight: float = 1.0,
    progress: Progress = lambda _: None,
    compare: Callable[[Path], None] = lambda _: None,
) -> Path:
    """Write base + weight x (what was learned) into the folder `out`, in the base's dtypes.

    With a `weight` between 0 and 1 the result lies between the base and the tuned model. `exact`, for a run
    over a base in 4 bit: merge into those rounded weights, on which it was trained; else into the base as it
    is stored. `progress` is told the share that is done, `compare` looks at what was written before it has
    its name; both may raise to end the work, and nothing is left.

    Raises StudioError `merge_out_taken` (path), `merge_other_base` (path, trained, found),
    `method_not_mergeable` (method), `merge_not_4_bit` (method), `merge_tensor_unknown` (tensors, count),
    `merge_dtype`, `disk_full`, and those of `read_adapter`.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StudioError("merge_out_taken", path=str(out))
    layout = Layout(source.base)
    change = change_of(source, layout, exact)
    files = weight_files(source.base)
    require_places(files, layout, change.names)
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.require_room(out.parent, sum(file.stat().st_size for file in files))

    def fill(folder: Path) -> None:
        write_shards(folder, files, layout, change, weight, progress)
        write_rest(folder, source.base, source.tokenizer)
        compare(folder)

    facts = {
        "kind": "merge",
        "base": source.base_hash,
        "adapter": file_sha256(next(source.adapter.glob("*.safetensors"))),
        "exact": exact,
        "weight": weight,
    }
    return checkpoint.write_folder(out, fill, facts)


def change_of(source: Source, layout: Layout, exact: bool) -> Change:
    """What the run changes, or why it can't be merged."""
    manifest = manifest_of(source.adapter)
    if manifest["base"] != source.base_hash:
        raise StudioError(
            "merge_other_base", path=str(source.base), trained=manifest["base"], found=source.base_hash
        )
    method, params = method_of(manifest)
    if not method.capable("mergeable", params):
        raise StudioError("method_not_mergeable", method=method.title)
    quantisation = method.base_quantisation(params)
    if exact and quantisation is None:
        raise StudioError("merge_not_4_bit", method=method.title)
    if method.capable("trains_base", params):
        return FullChange(source.adapter, layout)
    held = in_4_bit(quantisation, source.dtype) if exact and quantisation else None
    return LoraChange(read_adapter(source.adapter), layout, held)


def require_places(files: list[Path], layout: Layout, names: frozenset[str]) -> None:
    """Raises StudioError `merge_tensor_unknown` (tensors, count) for parameters that no file keeps whole."""
    stored = [place.name for file in files for place in shards.places(file)]
    missing = sorted(names - set(layout.parameters(stored).values()))
    if missing:
        raise StudioError("merge_tensor_unknown", tensors=missing[:3], count=len(missing))


def write_shards(
    folder: Path,
    files: list[Path],
    layout: Layout,
    change: Change,
    weight: float,
    progress: Progress,
) -> None:
    """Write the base's files with the change in them."""
    total, done = sum(file.stat().st_size for file in files), 0

    def written(count: int) -> None:
        nonlocal done
        done += count
        progress(done / total)

    for file in files:
        inside = layout.parameters(place.name for place in shards.places(file))

        def wanted(stored: str, inside: dict[str, str] = inside) -> Callable[[Tensor], Tensor] | None:
            name = inside.get(stored)
            return None if name not in change.names else lambda tensor: moved(change, name, tensor, weight)

        shards.rewrite(file, folder / file.name, wanted, written)


def moved(change: Change, name: str, tensor: Tensor, weight: float) -> Tensor:
    """A parameter between what it was (weight 0) and what it became (1), in 32 bit."""
    after = change.of(name, tensor)
    if weight == 1.0:
        return after
    before = change.before(name, tensor)
    return before + weight * (after - before)


def write_rest(folder: Path, base: Path, tokenizer: Path | None) -> None:
    """What makes weights a model; config.json last, since a folder without it is none."""
    if (base / _INDEX).is_file():
        shutil.copyfile(base / _INDEX, folder / _INDEX)
    Renderer.from_folder(tokenizer or base).save(folder)
    own, file = base / "generation_config.json", folder / "generation_config.json"
    if own.is_file():  # its way of sampling stays, but where an answer ends is the run's word
        body: dict[str, Any] = json.loads(own.read_text(encoding="utf-8"))
        body |= json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    shutil.copyfile(base / "config.json", folder / "config.json")
