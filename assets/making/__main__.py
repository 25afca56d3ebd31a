"""`python -m assets.making --out DIR` makes the starter model from one seed: text, tokenizer, weights."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

# The allocator gives memory back and takes it again at every step otherwise; that cost a third of the time.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1", "MALLOC_TOP_PAD_": "268435456"}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m assets.making", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model's files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of steps")
    parser.add_argument(
        "--stage",
        choices=("skills", "wordings", "openings"),
        help="only this one; a later one needs the files of the one before",
    )
    parser.add_argument("--eager", action="store_true", help="train without torch.compile")
    return parser.parse_args(arguments)


def main() -> None:
    """Make the starter model."""
    if any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        os.execve(
            sys.executable, [sys.executable, "-m", "assets.making", *sys.argv[1:]], os.environ | ALLOCATOR
        )
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    from assets.making.make import STAGES, make

    record = options.out / "training.json"
    for stage in STAGES:
        if options.stage in (None, stage.name):
            done = [] if stage.first else json.loads(record.read_text(encoding="utf-8"))
            done.append(
                make(
                    options.out,
                    stage=stage,
                    seed=options.seed,
                    scale=options.scale,
                    compiled=not options.eager,
                )
            )
            record.write_text(json.dumps(done, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
