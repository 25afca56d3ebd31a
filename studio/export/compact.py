"""A compact adapter as it is stored, and the file of ours that makes an ordinary one of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from studio.export.adapter import TOKENIZER, AdapterWriter, run_file
from studio.export.subject import Progress
from studio.merge import expand_adapter
from studio.merge.expand_adapter import COMPACT, CONFIG

FILE = "expand_adapter.py"


class CompactWriter(AdapterWriter):
    """See `studio.export.subject.Writer`."""

    def write(self, folder: Path, prompts: Sequence[Sequence[int]], progress: Progress) -> None:
        del prompts
        for name in (COMPACT, CONFIG):
            shutil.copyfile(self.adapter / name, folder / name)
        shutil.copyfile(expand_adapter.__file__, folder / FILE)
        self.subject.renderer.save(folder / TOKENIZER)
        progress(1.0)

    def open(self, folder: Path) -> nn.Module:
        """By the exported code, then by plain peft."""
        with TemporaryDirectory(prefix="adapter-") as made:
            run_file(folder / FILE).expand(folder, Path(made))
            return super().open(Path(made))
