"""What is made of a run: merges, endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class MergeRequest:
    """What is to be merged. `models`: runs, adapters or mixes of one base. With `how` (an id of `merges()`)
    and its settings `set` they become one adapter, stored as ComPEFT does where `compress` gives a density.
    Without it, one run is merged into its base; with a weight below 1, only so far; `exact`: into the rounded
    weights of a base in 4 bit. `weights` are one per model, None: the usual. `out`: a folder that is not
    there yet; None: within the home."""

    models: Sequence[str]
    how: str | None = None
    weights: Sequence[float] | None = None
    set: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False
    compress: float | None = None
    out: str | None = None


@dataclass(frozen=True)
class ExportRequest:
    """What is to leave the studio: a run, a merge, an adapter or a whole `model`, as `format` (an id of
    `exports()`) with its settings `set`. `out`: a folder that is not there yet; None: within the home.
    `upload`: a repository of the hub (ORG/NAME) that gets the finished folder, seen by its owner alone unless
    `public`."""

    model: str
    format: str = "safetensors"
    set: Mapping[str, Any] = field(default_factory=dict)
    out: str | None = None
    upload: str | None = None
    public: bool = False


@dataclass(frozen=True)
class ExportRoom:
    """About what an export takes on the disk (None while its base is not on this one), and what is free.
    `idle`: settings of the format that change nothing for this model."""

    needed_bytes: int | None
    free_bytes: int
    idle: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unmixable:
    """A run or a merge that can't be mixed with others of its base, and the error that says why."""

    name: str
    base: str
    error: Mapping[str, Any]


@dataclass(frozen=True)
class Product:
    """What a merge (or another job that makes files) left behind; None and empty before it has.

    `facts` of an adapter: `rank`, `error`, `compression_error`, `size_bytes`, `input_bytes`; of merged
    weights: `verified` and, for a base in 4 bit, `ways` (`max_difference`, `mean_difference`, `largest`,
    `bound`, and `passed`), see `studio.merge.verify`; of a measured mix: `losses`, a list of `of` (a run),
    `rows` (its held-out ones) and `losses` by who answers (`base`, each part by its name, `mix`). Of an
    export: `format`, `size_bytes`, `file_bytes`, `parity` (the same, `prompts`, `same_answers`), see
    `studio.export.parity`, `uploaded`, the page on the hub, and `upload_error` where it is None in spite of
    a wish.
    """

    run: str
    kind: str
    state: str
    artifact: int | None
    path: str | None
    files: tuple[str, ...]
    facts: Mapping[str, Any]
    error: Mapping[str, Any] | None


@dataclass(frozen=True)
class ServeRequest:
    """Models of one base to keep on an OpenAI-compatible endpoint, and what it takes on at most.

    `port` None: the first free one. `rows` are answers at a time, `waiting` further ones in line,
    `max_tokens` those of one answer (None: until the context is full).
    """

    models: Sequence[str]
    host: str = "127.0.0.1"
    port: int | None = None
    device: str | None = None
    rows: int = 8
    waiting: int = 64
    max_tokens: int | None = None
    body_bytes: int = 8 * 2**20


@dataclass(frozen=True)
class Endpoint:
    """Where a job of kind `serve` answers, and the key that opens it."""

    run: str
    url: str
    token: str
    models: tuple[str, ...]
