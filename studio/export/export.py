"""A model written in a format: room first, then the files, then how they compare, then its name.

The folder is hidden until it is whole, and its manifest is the last that is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studio.errors import StudioError
from studio.export.parity import Parity, measure
from studio.export.subject import Subject, Writer
from studio.exports import ExportFormat
from studio.registry import load_part
from studio.train import checkpoint

Said = Callable[[str, float | None], None]
Companions = Callable[[Path, Parity], None]


@dataclass(frozen=True)
class Exported:
    """A finished export."""

    folder: Path
    parity: Parity
    size_bytes: int


def export(
    subject: Subject,
    format: ExportFormat,
    params: Any,
    out: Path,
    prompts: Sequence[Sequence[int]],
    *,
    companions: Companions = lambda *_: None,
    said: Said = lambda *_: None,
) -> Exported:
    """Write `subject` into the folder `out`, and measure on `prompts` (token ids) whether it is still itself.

    `companions` writes what goes along (a model card), knowing the measurement. `said` is told what is being
    done and the share of it, and may raise to end the work; then nothing is left.

    Raises StudioError `merge_out_taken` (path), `disk_full`, and those of the format's writer.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StudioError("merge_out_taken", path=str(out))
    writer: Writer = load_part(format.torch)(subject, params)
    out.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.require_room(out.parent, format.size(subject.base, subject.adapter, params))
    measured: list[Parity] = []

    def fill(folder: Path) -> None:
        writer.write(folder, prompts, lambda share: said("exporting", share))
        said("verifying", None)
        measured.append(measure(subject, writer, folder, prompts))
        companions(folder, measured[0])

    checkpoint.write_folder(out, fill, {"kind": "export", "format": format.id, "base": subject.base_hash})
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    return Exported(out, measured[0], size)
