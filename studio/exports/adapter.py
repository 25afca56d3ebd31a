"""What a run learned, by itself: an adapter that PEFT loads, or a side network with its code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio.exports import ExportFormat
from studio.merge.expand_adapter import COMPACT, expanded_bytes


@dataclass(frozen=True)
class AdapterParams:
    pass


def size(base: Path, adapter: Path | None, params: AdapterParams) -> int:
    """The adapter's files, a compact one's as they become, and a tokenizer."""
    del params
    assert adapter is not None, "the facade lets no whole model come here"
    files = [*adapter.iterdir(), *base.glob("tokenizer*")]
    compact = adapter / COMPACT
    return sum(file.stat().st_size for file in files) + (expanded_bytes(compact) if compact.is_file() else 0)


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
