"""Several adapters of one base into one: matrix by matrix, then written as an adapter of that base."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from studio.errors import StudioError
from studio.manifests import combined_method, manifest_of, method_of, require_same_base
from studio.merge import compeft
from studio.merge.adapter import Adapter, PeftForm, peft_form, read_adapter, write_adapter
from studio.merge.expand_adapter import CONFIG
from studio.merge.factors import Factors, Truncated, truncated
from studio.merges import Merge
from studio.params import to_dict
from studio.registry import load_part
from studio.train import checkpoint

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Combined:
    """A combined adapter. `error`: Frobenius norm of what was cut off over that of what was wanted, all
    matrices together; `compression_error`: the same of what ternary numbers lost after that, None where it is
    not compressed; `size_bytes` of all its files beside the manifest, `input_bytes` of the adapters'."""

    folder: Path
    rank: int
    error: float
    compression_error: float | None
    size_bytes: int
    input_bytes: int


def combine(
    inputs: Sequence[tuple[Path, float]],
    how: Merge,
    params: Any,
    out: Path,
    *,
    density: float | None = None,
    progress: Progress = lambda _: None,
) -> Combined:
    """Combine the adapters in the folders of `inputs`, each with its weight, into the folder `out`.

    With a `density` the result is stored as ComPEFT does, with that share of its numbers. `progress` is told
    the share that is done, and may raise to end the work; nothing is left of it then.

    Raises StudioError: those of `read_adapter`, `merge_not_adapter` (path, method), `merge_not_plain` (path,
    parts), `merge_bases_differ` (paths, bases), `adapter_unfit`.
    """
    adapters = [require_plain(folder) for folder, _ in inputs]
    require_same_base([folder for folder, _ in inputs])
    weights = [weight for _, weight in inputs]
    cut = combined(adapters, weights, how, params, progress)
    changes = {path: each.factors for path, each in cut.items()}
    error = _relative(sum(each.lost for each in cut.values()), sum(each.wanted for each in cut.values()))
    lost = None if density is None else compression_error(changes, density)
    rank = max(factors.rank for factors in changes.values())
    facts = {
        "how": how.id,
        "params": to_dict(params),
        "inputs": [{"hash": content_hash(a), "weight": w} for a, w in zip(adapters, weights, strict=True)],
        "error": error,
        "density": density,
        "compression_error": lost,
    }
    form = peft_form(changes, fan_in_fan_out=adapters[0].fan_in_fan_out)
    fill = partial(write_adapter, adapter=form, density=density)
    checkpoint.write_folder(out, fill, {**_manifest(adapters, rank), "merge": facts})
    return Combined(out, rank, error, lost, _bytes(out), sum(_bytes(a.folder) for a in adapters))


def combine_in_memory(inputs: Sequence[tuple[Path, float]], how: Merge, params: Any) -> PeftForm:
    """The adapter that `combine` would write.

    Raises StudioError as `combine` does.
    """
    adapters = [require_plain(folder) for folder, _ in inputs]
    require_same_base([folder for folder, _ in inputs])
    cut = combined(adapters, [weight for _, weight in inputs], how, params)
    changes = {path: each.factors for path, each in cut.items()}
    return peft_form(changes, fan_in_fan_out=adapters[0].fan_in_fan_out)


def combined(
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    how: Merge,
    params: Any,
    progress: Progress = lambda _: None,
) -> dict[str, Truncated]:
    """What the rule makes of the adapters, by path; a matrix is left to those that change it."""
    rule = load_part(how.torch)
    paths = sorted({path for adapter in adapters for path in adapter.modules})
    found: dict[str, Truncated] = {}
    for done, path in enumerate(paths):
        progress(done / len(paths))
        there = [(a.factors(path), w) for a, w in zip(adapters, weights, strict=True) if path in a.modules]
        changes = [factors for factors, _ in there]
        _require_same_shape(adapters, path, changes)
        generator = _generator(getattr(params, "seed", 0), path)
        wanted = rule(changes, [weight for _, weight in there], params, generator)
        found[path] = truncated(wanted, how.rank(params, [factors.rank for factors in changes]))
    return found


def require_plain(folder: Path) -> Adapter:
    """The adapter in `folder`, if it is two matrices per layer and nothing else.

    Raises StudioError: those of `read_adapter`, `merge_not_adapter`, `merge_not_plain`.
    """
    if not (folder / CONFIG).is_file() and any(folder.glob("*.safetensors")):
        method, _ = method_of(manifest_of(folder))
        raise StudioError("merge_not_adapter", path=str(folder), method=method.title)
    adapter = read_adapter(folder)
    if adapter.parts:
        raise StudioError("merge_not_plain", path=str(folder), parts=adapter.parts)
    return adapter


def compression_error(changes: Mapping[str, Factors], density: float) -> float:
    """Frobenius norm of what ternary factors lose of the changes, over that of the changes."""
    lost = wanted = 0.0
    for factors in changes.values():
        kept = Factors(compeft.ternary(factors.a, density), compeft.ternary(factors.b, density))
        # The difference as factors side by side: never whole.
        gone = Factors(torch.cat([factors.a, kept.a]), torch.cat([factors.b, -kept.b], dim=1))
        lost += max(0.0, gone.squared())
        wanted += factors.squared()
    return _relative(lost, wanted)


def content_hash(adapter: Adapter) -> str:
    """sha256 (hex) over what the adapter holds, whatever file it stands in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(adapter.tensors.items()):
        digest.update(f"{name} {list(tensor.shape)}".encode())
        digest.update(tensor.float().numpy().tobytes())
    return digest.hexdigest()


def _require_same_shape(adapters: Sequence[Adapter], path: str, changes: Sequence[Factors]) -> None:
    shapes = sorted({(factors.b.shape[0], factors.a.shape[1]) for factors in changes})
    if len(shapes) > 1:
        raise StudioError("adapter_unfit", path=str(adapters[-1].folder), detail=f"{path}: {shapes}")


def _manifest(adapters: Sequence[Adapter], rank: int) -> dict[str, Any]:
    method, params = combined_method([adapter.manifest for adapter in adapters])
    kept = {name: value for name, value in to_dict(params).items() if name in ("quant", "double_quant")}
    return {
        "method": method.id,
        "method_params": to_dict(method.params(**kept, rank=rank, alpha=float(rank))),
        "model": adapters[0].manifest.get("model"),
        "base": adapters[0].base,
    }


def _generator(seed: int, path: str) -> torch.Generator:
    """Random numbers of one matrix, the same in whatever order and company it is merged."""
    digest = hashlib.sha256(f"{seed} {path}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def _relative(lost: float, wanted: float) -> float:
    return (lost / wanted) ** 0.5 if wanted else 0.0


def _bytes(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.iterdir() if f.is_file() and f.name != checkpoint.MANIFEST)
