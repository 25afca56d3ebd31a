"""The memory estimate and the trace against what others measured: `python -m benchmarks.memory`.

The rows and what each program did stand in memory_rows.csv, chosen before any prediction (memory_rows.md).
Results go to benchmarks/results/memory.json and into docs/memory.md; `--page` writes the page alone.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import memory_inference, memory_others
from benchmarks.memory_rows import Row, facts, plan, rows, switches, their_models
from benchmarks.tables import put, table
from studio.memory.estimate import estimate
from studio.memory.need import Need

HERE = Path(__file__).parent
RESULT = HERE / "results" / "memory.json"
COMMAND = "python -m benchmarks.memory"
KINDS = ("estimate", "trace")
CAPACITY = {"A100-80GB": 85_094_825_984}  # as its driver tells
CAPABILITY = {
    "A100-80GB": (8, 0),
    "A100-40GB": (8, 0),
    "RTX 4080 16GB": (8, 9),
    "L40S": (8, 9),
    "RTX3090": (8, 6),
}


def predicted(row: Row) -> dict[str, Need]:
    """Both predictions of a row."""
    if row["method"] == "inference":
        return {"estimate": memory_inference.predicted(row), "trace": memory_inference.traced(row)}
    capacity = CAPACITY.get(row["gpu"])
    return {
        "estimate": estimate(
            plan(row), facts(row), 1.0, switches(row), capacity, capability=CAPABILITY.get(row["gpu"])
        ),
        "trace": memory_others.traced(row),
    }


def compared(row: Row) -> dict[str, Any]:
    """One row's measurement and its predictions, in GiB."""
    measured = float(row["measured_gib"])
    said = ("id", "in", "source", "model", "method", "batch", "seq", "loss", "checkpointing")
    found: dict[str, Any] = {name: row[name] for name in said} | {"measured": measured}
    for kind, need in predicted(row).items():
        size = need.allocated / 2**30
        parts = {name: round(part / 2**30, 3) for name, part in need.parts.items()}
        found[kind] = {"allocated": round(size, 3), "moment": need.moment, "parts": parts}
        found[kind]["error"] = round(size / measured - 1, 5)
    return found


def summary(found: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Errors by source and over all of them: median and worst of their sizes."""
    by_source: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        for name in (one["source"], "all"):
            by_source.setdefault(name, []).append(one)
    return {
        name: {"rows": len(group)}
        | {
            kind: {
                "median": median(abs(one[kind]["error"]) for one in group),
                "worst": max(abs(one[kind]["error"]) for one in group),
            }
            for kind in KINDS
        }
        for name, group in by_source.items()
    }


def predictable(row: Row) -> bool:
    """Peaks of torch's counter; of those that are out, lit-gpt's QLoRA (the studio has no LLaMA-Adapter)."""
    return row["metric"] == "allocated" and (row["in"] == "yes" or _kept_inputs(row))


def _kept_inputs(row: Row) -> bool:
    return "litgpt" in row["source"] and row["method"] == "qlora"


def page(document: dict[str, Any]) -> str:
    """The section of docs/memory.md."""
    head = ["source", "rows", "estimate: median", "worst", "trace: median", "worst"]
    groups = {**document["in"], "all, with lit-gpt's QLoRA": document["with those out"]["all"]}
    lines = [
        [name, str(found["rows"])]
        + [f"{100 * found[kind][which]:.2f}%" for kind in KINDS for which in ("median", "worst")]
        for name, found in groups.items()
    ]
    each = []
    for one in document["rows"]:
        name = one["id"] + ("" if one["in"] == "yes" else ", out")
        said = [name, one["model"], one["method"], f"{one['batch']} x {one['seq']}", f"{one['measured']:.3f}"]
        both = [f"{one[kind]['allocated']:.3f} ({100 * one[kind]['error']:+.2f}%)" for kind in KINDS]
        each.append(said + both)
    columns = ["row", "model", "method", "rows x tokens", "measured", "estimate", "trace"]
    out = [[source, str(count), reason] for source, count, reason in document["out"]]
    return (
        f"`{document['command']}`, peak of torch's counter in GiB.\n\n{table(head, lines)}\n"
        f"{table(columns, each)}\nRows with torch's peak that are out:\n\n"
        f"{table(['source', 'rows', 'why'], out)}"
    )


def left_out() -> list[tuple[str, int, str]]:
    """Rows of the same kind that are out, by source and reason."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows():
        if row["metric"] == "allocated" and row["in"] != "yes":
            key = (row["source"], row["reason"])
            counts[key] = counts.get(key, 0) + 1
    return [(source, count, reason) for (source, reason), count in counts.items()]


@their_models()
def measure() -> dict[str, Any]:
    """All rows, one after the other, said as they are found."""
    found = []
    for row in rows():
        if predictable(row):
            one = compared(row)
            found.append(one)
            errors = "  ".join(f"{kind} {100 * one[kind]['error']:+.2f}%" for kind in KINDS)
            sys.stdout.write(f"{one['id']} {one['model']} {one['method']} {one['measured']:.3f}  {errors}\n")
            sys.stdout.flush()
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "torch": torch.__version__}
    summed = {
        "in": summary(one for one in found if one["in"] == "yes"),
        "with those out": summary(found),
    }
    return {"command": COMMAND, "machine": machine, **summed, "out": left_out(), "rows": found}


def main() -> None:
    """Compare, write, print."""
    if "--page" not in sys.argv:
        RESULT.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    document = json.loads(RESULT.read_text(encoding="utf-8"))
    put("memory.md", "memory", page(document))
    sys.stdout.write(json.dumps(document["in"], indent=1) + "\n")


if __name__ == "__main__":
    main()
