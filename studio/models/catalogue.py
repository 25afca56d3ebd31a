"""The models that the studio proposes, from assets/catalogue.json: the starter, and open ones of the hub that
it can tune, from 0.1 to 70 billion parameters.

An entry's `config` holds what decides sizes, memory and attention in the model's own config.json; that file
is what a run reads. Weights are stored in 16 bit. `parameters` is the published count, of all towers where
there are several, with a shared weight counted once; `stored_parameters` stands beside it where the files on
the hub repeat that weight.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import assets
from studio.models.config import ModelFacts, facts_of, load_config


@dataclass(frozen=True)
class Entry:
    """A proposed model. `name` follows `studio.names`; `size_bytes` are its weights on disk; `gated`: the hub
    hands it out only after its terms were accepted; `config` is what is known of its config.json."""

    name: str
    title: str
    summary: str
    licence: str
    gated: bool
    size_bytes: int
    facts: ModelFacts
    config: Mapping[str, Any]


@cache
def entries() -> tuple[Entry, ...]:
    """All proposed models, the starter first, then by size."""
    bodies: list[dict[str, Any]] = json.loads(assets.path("catalogue.json").read_text(encoding="utf-8"))
    return tuple(_entry(body) for body in bodies)


def find(name: str) -> Entry | None:
    """The entry with this canonical name; a revision is left out of the comparison."""
    return next((e for e in entries() if e.name == name.partition("@")[0]), None)


def _entry(body: dict[str, Any]) -> Entry:
    shipped = body["config"] is None  # the starter says itself what it is
    if shipped:
        config = load_config(assets.path("starter") / "config.json")
        size = sum(f.stat().st_size for f in assets.path("starter").glob("*.safetensors"))
    else:
        config = {"dtype": "bfloat16", **body["config"]}
        size = 2 * body.get("stored_parameters", body["parameters"])
    return Entry(
        name=body["name"],
        title=body["title"],
        summary=body["summary"],
        licence=body["licence"],
        gated=body["gated"],
        size_bytes=size,
        facts=facts_of(config, body["name"]),
        config=config,
    )
