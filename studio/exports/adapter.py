"""What a run learned, by itself: an adapter that PEFT loads, or a side network with its code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio.exports import ExportFormat


@dataclass(frozen=True)
class AdapterParams:
    pass


def size(base: Path, adapter: Path | None, params: AdapterParams) -> int:
    """The adapter's files and a tokenizer."""
    del params
    assert adapter is not None, "the facade lets no whole model come here"
    return sum(file.stat().st_size for file in [*adapter.iterdir(), *base.glob("tokenizer*")])


EXTENSION = ExportFormat(
    id="adapter",
    title="Adapter",
    summary="What was learned, beside its base: small, and PEFT loads it. A side network comes with one file "
    "of Python that needs nothing of the studio.",
    params=AdapterParams,
    torch="studio.export.adapter:AdapterWriter",
    merged=False,
    size=size,
)
