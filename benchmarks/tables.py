"""Writes the tables of docs/methods.md anew from the result files: `python -m benchmarks.tables`.

A table stands between `<!-- table NAME -->` and `<!-- end -->`; NAME is a result file of benchmarks/results.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "methods.md"
RESULTS = ROOT / "benchmarks" / "results"
PLACE = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
COUNTS = {"pirate": "right", "json": "right", "support": "right"}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def of_steps(document: dict[str, Any]) -> str:
    """Memory and time of one step of each method."""
    rows = []
    for name, entry in document["methods"].items():
        times = [entry.get(f"against qlora{kind}") for kind in ("", ", checkpointing")]
        rows.append(
            [
                name,
                f"{entry['trainable']:,}",
                f"{entry['saved_bytes'] / 1e6:.1f} MB",
                f"{entry['peak_bytes'] / 2**30:.3f} GiB",
                f"{entry['step_s']:.2f} s",
                f"{entry['tokens_per_s']:,.0f}",
                *(f"{t['memory']:.2f} x, {t['time']:.2f} x" if t else "" for t in times),
            ]
        )
    head = ["method", "trained numbers", "saved", "peak", "step", "tokens/s"]
    head += ["less memory, time than QLoRA", "than QLoRA with checkpointing"]
    machine = document["machine"]
    said = f"`{document['command']}`: batch {document['batch']}, {document['seq']} tokens"
    return f"{said}, {machine['cores']} cores.\n\n{table(head, rows)}"


def of_quality(document: dict[str, Any]) -> str:
    """Held-out loss and right answers of each method on each sample."""
    samples = document["samples"]
    head, rows = ["method"], []
    for sample in samples:
        head += [f"{sample}: held-out loss", "at equal time", "right", "tokens missed, by the base too"]
    for name in next(iter(samples.values())):
        row = [name]
        for sample, found in samples.items():
            entry = found[name]
            timed = entry["heldout_loss_at_equal_time"]
            row += [
                f"{entry['heldout_loss']:.3f}",
                "" if timed is None else f"{timed:.3f}",
                f"{entry[COUNTS[sample]]} of {entry['heldout_rows']}",
                f"{entry['misses']['missed']}, {entry['misses']['missed_by_both']}",
            ]
        rows.append(row)
    return f"`{document['command']}`\n\n" + table(head, rows)


def fill(place: re.Match[str]) -> str:
    """One table."""
    document = json.loads((RESULTS / f"{place[2]}.json").read_text(encoding="utf-8"))
    made = of_quality(document) if "samples" in document else of_steps(document)
    return f"{place[1]}{made}{place[3]}"


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(PLACE.sub(fill, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")


if __name__ == "__main__":
    main()
