"""A whole model: what was learned merged into the base's weights, as transformers loads it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studio.exports import ExportFormat, exact_param
from studio.identity import weight_files


@dataclass(frozen=True)
class SafetensorsParams:
    exact: bool = exact_param()


def size(base: Path, adapter: Path | None, params: SafetensorsParams) -> int:
    """As the base: what was learned takes no place of its own."""
    del adapter, params
    return sum(file.stat().st_size for file in weight_files(base))


EXTENSION = ExportFormat(
    id="safetensors",
    title="Whole model (safetensors)",
    summary="What was learned merged into the base, in the base's own number format: transformers, vLLM and "
    "most others load it. It takes the base's size on the disk.",
    params=SafetensorsParams,
    torch="studio.export.whole:WholeWriter",
    merged=True,
    size=size,
)
