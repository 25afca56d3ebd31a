"""Writes the tables of docs/methods.md and docs/export.md anew: `python -m benchmarks.tables`.

A table stands between `<!-- table NAME -->` and `<!-- end -->`; NAME is a result file of benchmarks/results.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "docs" / name for name in ("methods.md", "export.md")]
RESULTS = ROOT / "benchmarks" / "results"
PLACE = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
COUNTS = {"pirate": "right", "json": "right", "support": "right"}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def put(page: str, name: str, made: str) -> None:
    """Write the table of this name on a page of docs/ anew."""
    path = ROOT / "docs" / page
    place = re.compile(f"(<!-- table {name} -->\\n).*?(<!-- end -->)", re.DOTALL)
    text = place.sub(lambda found: found[1] + made + found[2], path.read_text(encoding="utf-8"))
    path.write_text(text, encoding="utf-8")


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


def of_llama_cpp(document: dict[str, Any]) -> str:
    """What llama.cpp makes of exports: the tuned starter in each type, then the other vocabularies."""
    starter = document["starter"]
    found = {f"starter tuned on {starter['sample']}, {t.upper()}": e for t, e in starter["types"].items()}
    found |= {f"{name}, F16": entry for name, entry in document["vocabularies"].items()}
    rows = [
        [
            name,
            f"{entry['same_prompt_ids']} of {entry['prompts']}",
            f"{entry['same_strings']} of {entry['strings']}" if "strings" in entry else "",
            f"{entry['same_answer_ids']} of {entry['prompts']}",
            f"{entry['max_difference'] / entry['largest']:.1e}",
            f"{entry['parity_max_difference'] / entry['largest']:.1e}",
            ", ".join(f"{parted['gap'] / entry['largest']:.1e}" for parted in entry["differ"]),
        ]
        for name, entry in found.items()
    ]
    head = ["", "same prompt ids", "same ids of odd text", "same answers", "largest difference"]
    head += ["by parity", "gap where answers part"]
    said = f"`{document['command']}`, llama-cpp-python {starter['llama_cpp_python']}, {document['machine']}."
    return f"{said}\n\n{table(head, rows)}"


def fill(place: re.Match[str]) -> str:
    """One table."""
    document = json.loads((RESULTS / f"{place[2]}.json").read_text(encoding="utf-8"))
    kinds = {"samples": of_quality, "vocabularies": of_llama_cpp, "methods": of_steps}
    made = next(make(document) for key, make in kinds.items() if key in document)
    return f"{place[1]}{made}{place[3]}"


def main() -> None:
    """Rewrite the pages."""
    for page in PAGES:
        page.write_text(PLACE.sub(fill, page.read_text(encoding="utf-8")), encoding="utf-8")
        sys.stdout.write(f"{page}\n")


if __name__ == "__main__":
    main()
