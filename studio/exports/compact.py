"""An adapter that was saved compact, as it is, with the code that makes an ordinary one of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio.exports import ExportFormat


@dataclass(frozen=True)
class CompactParams:
    pass


def size(base: Path, adapter: Path | None, params: CompactParams) -> int:
    """The adapter's files and a tokenizer."""
    del params
    assert adapter is not None, "the facade lets no whole model come here"
    return sum(file.stat().st_size for file in [*adapter.iterdir(), *base.glob("tokenizer*")])


EXTENSION = ExportFormat(
    id="compact",
    title="Compact adapter",
    summary="An adapter that was saved in ternary numbers, as small as it is, with one file of Python that "
    "makes an ordinary one of it for PEFT.",
    params=CompactParams,
    torch="studio.export.compact:CompactWriter",
    merged=False,
    size=size,
    compact=True,
)
