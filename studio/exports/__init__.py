"""Exports: formats in which a model leaves the studio. One file each, found by walking this package.

A format's file holds a frozen params dataclass and one `EXTENSION`, an `ExportFormat`. Its torch part is
named by a string, a `studio.export.subject.Writer`. Listing imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.params import param
from studio.registry import Registry


@dataclass(frozen=True)
class ExportFormat:
    """A format. `merged`: what was learned goes into the base's weights, so that the method has to be
    mergeable, and a model as a whole can be exported too; else it needs something learned. `size(base,
    adapter, params)`: about how many bytes it takes, of the folders of both. `families`: the model types that
    it can say; None: all.
    `compact`: it takes only an adapter that was saved compact."""

    id: str
    title: str
    summary: str
    params: type
    torch: str
    merged: bool
    size: Callable[[Path, Path | None, Any], int]
    families: tuple[str, ...] | None = None
    compact: bool = False


exports: Registry[ExportFormat] = Registry("exports")


EXACT = "exact"


def exact_param() -> Any:
    """The field `EXACT` of a format of merged weights: it says something over a base in 4 bit alone."""
    return param(
        True,
        "For a run over a base in 4 bit: merge into the rounded weights, on which it was trained, so that "
        "the export answers as the studio does. Off, it is merged into the weights as they are stored.",
        title="Exact",
    )
