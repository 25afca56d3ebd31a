"""What the headers of safetensors files say of a model: shapes, number formats; no weight is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from math import prod
from pathlib import Path
from re import compile as pattern
from typing import Any

from studio.errors import StudioError

_SHARD = pattern(r"(model|pytorch_model)(-\d{5}-of-\d{5})?\.safetensors")
# Their words for the formats that a model's weights are saved in, and torch's.
_FORMATS = {"BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64"}


def weight_files(names: Collection[str]) -> list[str]:
    """The safetensors files that hold the model: the usual names, else all that there are.

    Other copies of the weights (consolidated, other precisions) stand beside them in some repositories.
    """
    usual = sorted(n for n in names if _SHARD.fullmatch(n))
    return usual or sorted(
        n for n in names if n.endswith(".safetensors") and not n.startswith("adapter_model")
    )


def count_in_headers(folder: Path) -> int | None:
    """Numbers in the files that hold a folder's model; None if there are none."""
    files = _files(folder)
    return sum(prod(shape) for file in files for shape in read_shapes(file).values()) if files else None


def saved_format(folder: Path) -> str | None:
    """The number format of most weights of a folder, as torch calls it, by its first file, as transformers
    goes by one; None without files, or where it is none that weights are computed with."""
    files = _files(folder)
    if not files:
        return None
    formats = Counter[str]()
    for entry in _header(files[0]).values():
        formats[entry["dtype"]] += prod(entry["shape"])
    return _FORMATS.get(formats.most_common(1)[0][0]) if formats else None


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors in a safetensors file by name. Raises StudioError `weights_unreadable`."""
    return {name: tuple(entry["shape"]) for name, entry in _header(file).items()}


def _files(folder: Path) -> list[Path]:
    return [folder / name for name in weight_files([file.name for file in folder.iterdir()])]


def _header(file: Path) -> Mapping[str, Mapping[str, Any]]:
    """`dtype` and `shape` of each tensor by name.

    The file starts with the header's length (8 bytes, little endian) and the header, a JSON object
    (https://github.com/huggingface/safetensors#format). Raises StudioError `weights_unreadable`.
    """
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= 100_000_000:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(stream.read(length))
        return {
            name: {"dtype": str(entry["dtype"]), "shape": [int(size) for size in entry["shape"]]}
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise StudioError("weights_unreadable", path=str(file), detail=str(error)) from None
