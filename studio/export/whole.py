"""A whole model as safetensors, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import AutoModelForCausalLM

from studio.export.subject import Progress, Subject
from studio.exports.safetensors import SafetensorsParams
from studio.identity import weight_files
from studio.merge.into_base import require_places, write_rest, write_shards
from studio.merge.layout import Layout
from studio.merge.verify import BOUNDS, stored_dtype


class WholeWriter:
    """See `studio.export.subject.Writer`."""

    def __init__(self, subject: Subject, params: SafetensorsParams) -> None:
        self._subject, self._params = subject, params

    def write(self, folder: Path, prompts: Sequence[Sequence[int]], progress: Progress) -> None:
        del prompts
        base = self._subject.base
        layout, files = Layout(base), weight_files(base)
        change = self._subject.change(layout, self._params.exact)
        require_places(files, layout, change.names)
        write_shards(folder, files, layout, change, 1.0, progress)
        write_rest(folder, base, self._subject.tokenizer)

    def open(self, folder: Path) -> nn.Module:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=self._subject.dtype, local_files_only=True
        )
        return cast(nn.Module, model.eval())

    def allowed(self, folder: Path) -> float:
        return max(BOUNDS[stored_dtype(folder)], BOUNDS[self._subject.dtype])
