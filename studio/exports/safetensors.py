"""A whole model: what was learned merged into the base's weights, as transformers loads it."""

from __future__ import annotations

from dataclasses import dataclass

from studio.exports import ExportFormat, exact_param


@dataclass(frozen=True)
class SafetensorsParams:
    exact: bool = exact_param()


EXTENSION = ExportFormat(
    id="safetensors",
    title="Whole model (safetensors)",
    summary="What was learned merged into the base, in the base's own number format: transformers, vLLM and "
    "most others load it. It takes the base's size on the disk.",
    params=SafetensorsParams,
    torch="studio.export.whole:WholeWriter",
    merged=True,
)
