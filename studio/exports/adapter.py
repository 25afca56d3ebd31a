"""What a run learned, by itself: an adapter that PEFT loads, or a side network with its code."""

from __future__ import annotations

from dataclasses import dataclass

from studio.exports import ExportFormat


@dataclass(frozen=True)
class AdapterParams:
    pass


EXTENSION = ExportFormat(
    id="adapter",
    title="Adapter",
    summary="What was learned, beside its base: small, and PEFT loads it. A side network comes with one file "
    "of Python that needs nothing of the studio.",
    params=AdapterParams,
    torch="studio.export.adapter:AdapterWriter",
    merged=False,
)
