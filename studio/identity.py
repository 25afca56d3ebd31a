"""Identity by content: two bases, datasets or tokenizers are the same if and only if their hashes are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.errors import StudioError

if TYPE_CHECKING:
    from studio.data.rows import Row

_BLOCK_BYTES = 1 << 20
# What says nothing about what the model computes. Quantisation is a choice of a run, not another base.
_NO_IDENTITY = {
    "_name_or_path",
    "_commit_hash",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "attn_implementation",
    "transformers_version",
    "quantization_config",
    "torch_dtype",
    "dtype",
    "use_cache",
}


@dataclass(frozen=True)
class BaseIdentity:
    """`hash` stands for the whole base; `config` for its normalised config; `files` name -> sha256 of each
    file."""

    hash: str
    config: str
    files: dict[str, str]


def json_hash(value: Any) -> str:
    """sha256 (hex) of a JSON value in its canonical form: sorted keys, no spaces."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def dataset_hash(rows: Iterable[Row]) -> str:
    """Hash of what the rows say, in their order; the file they came from plays no part."""
    from studio.data.rows import content_hash

    digest = hashlib.sha256()
    for row in rows:
        digest.update(bytes.fromhex(content_hash(row)))
    return digest.hexdigest()


def normalised_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json without what says nothing about the computation, nested parts included."""
    return {
        key: normalised_config(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in _NO_IDENTITY and value is not None
    }


def base_identity(folder: Path, cache: Path, known: Mapping[str, str] | None = None) -> BaseIdentity:
    """Identity of the model in `folder`: its config and the sha256 of each weight file.

    `known` gives hashes that need no computing (the hub's metadata), by file name. Others are computed once
    and kept in the JSON file `cache` by path, size and modification time. Raises StudioError `model_foreign`
    where config.json is missing or no JSON, `model_weights_missing` where there are no weight files,
    `model_weights_incomplete` where some are missing."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StudioError("model_foreign", path=str(folder), detail=str(error)) from error
    weights = weight_files(folder)
    if not weights:
        raise StudioError("model_weights_missing", path=str(folder))
    hashes = _HashCache(cache)
    given = known or {}
    files = {path.name: given.get(path.name) or hashes.sha256(path) for path in weights}
    hashes.save()
    config_hash = json_hash(normalised_config(config))
    return BaseIdentity(json_hash({"config": config_hash, "files": files}), config_hash, files)


def adapter_identity(folder: Path, cache: Path) -> str:
    """Hash of what was learned, as it lies in `folder`: weights and settings, whatever the folder is called.

    The manifest says where it came from, and plays no part. File hashes are kept in `cache` as those of a
    base are."""
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")])
    hashes = _HashCache(cache)
    found = {file.name: hashes.sha256(file) for file in files if file.name != "manifest.json"}
    hashes.save()
    return json_hash(found)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the model's weights, by name: safetensors where there are any, else PyTorch's
    own."""
    for pattern, index in (
        ("*.safetensors", "model.safetensors.index.json"),
        ("*.bin", "pytorch_model.bin.index.json"),
    ):
        files = {path.name: path for path in folder.glob(pattern) if not path.name.startswith("adapter_")}
        if (folder / index).is_file():
            try:
                names = set(json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values())
            except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
                raise StudioError("model_foreign", path=str(folder / index), detail=str(error)) from error
            files = {name: folder / name for name in names}
            missing = sorted(name for name, path in files.items() if not path.is_file())
            if missing:
                raise StudioError(
                    "model_weights_incomplete", path=str(folder), count=len(missing), missing=missing
                )
        files.pop("training_args.bin", None)
        if files:
            return [files[name] for name in sorted(files)]
    return []


class _HashCache:
    """sha256 of files by path, size and modification time, in a JSON file that is replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = False
        try:
            self._known: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # a cache may be lost: it is computed again
            self._known = {}

    def sha256(self, path: Path) -> str:
        real = path.resolve()  # the hub's cache links to content-named files
        stat = real.stat()
        key = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        entry = self._known.get(str(real))
        if entry is not None and {k: entry.get(k) for k in key} == key:
            return str(entry["sha256"])
        digest = file_sha256(real)
        self._known[str(real)] = {**key, "sha256": digest}
        self._changed = True
        return digest

    def save(self) -> None:
        if not self._changed:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        scratch.write_text(json.dumps(self._known), encoding="utf-8")
        scratch.replace(self._path)
