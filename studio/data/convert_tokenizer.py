"""`python -m studio.data.convert_tokenizer FOLDER OUT`: give a tokenizer its fast form (tokenizer.json).

A process of its own, because this needs transformers, which nothing else in this package may import. Code of
the model's repository is never run."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def convert(folder: Path, out: Path) -> None:
    """Write tokenizer.json and its companions of `folder` to `out`, with the model's end ids beside them."""
    from transformers import AutoTokenizer

    out.mkdir(parents=True, exist_ok=True)
    for name in ("generation_config.json", "config.json"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    tokenizer = AutoTokenizer.from_pretrained(str(folder), use_fast=True, trust_remote_code=False)
    # The file that marks a finished conversion appears last and whole.
    tokenizer.save_pretrained(str(out / "unfinished"))
    for path in sorted((out / "unfinished").iterdir(), key=lambda path: path.name == "tokenizer.json"):
        path.replace(out / path.name)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
