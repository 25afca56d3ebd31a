"""Safetensors files rewritten tensor by tensor: what is held in memory is one tensor, not a file.

The new file has the old one's header: the same tensors in the same dtypes and shapes at the same places. The
format: eight bytes of header length, the header as JSON, then the tensors' bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from studio.errors import StudioError

_BLOCK_BYTES = 1 << 20
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Place:
    """Where a tensor stands in a file: bytes `start` to `end` of the whole file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def places(file: Path) -> list[Place]:
    """The tensors of a file in the order in which they stand in it.

    Raises StudioError `weights_unreadable` (path, detail).
    """
    with file.open("rb") as opened:
        return list(_read_header(opened, file)[1])


def rewrite(
    source: Path,
    target: Path,
    wanted: Callable[[str], Callable[[Tensor], Tensor] | None],
    written: Callable[[int], None],
) -> None:
    """Copy a file, with some of its tensors changed.

    `wanted(name)` gives the change of a tensor (from the stored one to one of the same shape, in any dtype:
    it is rounded to the stored one), or None to copy it. `written` is told the bytes of each tensor done.
    """
    with source.open("rb") as old, target.open("wb") as new:
        header, found = _read_header(old, source)
        new.write(header)
        for place in found:
            old.seek(place.start)
            change = wanted(place.name)
            if change is None:
                _copy(old, new, place.end - place.start)
            else:
                _write(new, change(_read(old, place, source)), place)
            written(place.end - place.start)


def read(file: Path, place: Place) -> Tensor:
    """One tensor of a file."""
    with file.open("rb") as opened:
        opened.seek(place.start)
        return _read(opened, place, file)


def read_as(file: Path, place: Place, dtype: torch.dtype) -> Tensor:
    """One tensor of a file in `dtype`, widened or rounded piece by piece: it is in memory once."""
    held, size = torch.empty(prod(place.shape), dtype=dtype), _kind(place, file).itemsize
    with file.open("rb") as opened:
        opened.seek(place.start)
        for piece in torch.split(held, _BLOCK_BYTES // size):
            piece.copy_(_next(opened, len(piece), place, file))
    return held.view(place.shape)


def _read_header(opened: BinaryIO, file: Path) -> tuple[bytes, Iterator[Place]]:
    length = opened.read(8)
    text = opened.read(int.from_bytes(length, "little"))
    try:
        body: dict[str, Any] = json.loads(text)
        body.pop("__metadata__", None)
        first = len(length) + len(text)
        found = [
            Place(name, t["dtype"], tuple(t["shape"]), *(first + at for at in t["data_offsets"]))
            for name, t in body.items()
        ]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StudioError("weights_unreadable", path=str(file), detail=str(error)) from error
    return length + text, iter(sorted(found, key=lambda place: place.start))


def _read(opened: BufferedReader, place: Place, file: Path) -> Tensor:
    return _next(opened, prod(place.shape), place, file).view(place.shape)


def _next(opened: BufferedReader, count: int, place: Place, file: Path) -> Tensor:
    """The next numbers of a tensor."""
    kind = _kind(place, file)
    held = bytearray(count * kind.itemsize)
    if opened.readinto(held) != len(held):
        raise StudioError("weights_unreadable", path=str(file), detail="cut off")
    return torch.frombuffer(held, dtype=kind, count=count)


def _kind(place: Place, file: Path) -> torch.dtype:
    if place.dtype not in _DTYPES:
        raise StudioError("merge_dtype", path=str(file), tensor=place.name, dtype=place.dtype)
    return _DTYPES[place.dtype]


def _write(opened: BinaryIO, tensor: Tensor, place: Place) -> None:
    assert tuple(tensor.shape) == place.shape
    stored = tensor.to(_DTYPES[place.dtype]).contiguous().flatten()
    opened.write(stored.view(torch.uint8).numpy().data)


def _copy(old: BinaryIO, new: BinaryIO, count: int) -> None:
    while count:
        block = old.read(min(count, _BLOCK_BYTES))
        if not block:
            raise StudioError("weights_unreadable", path=old.name, detail="cut off")
        new.write(block)
        count -= len(block)
