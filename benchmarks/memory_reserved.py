"""The estimate's interval against what processes took: `python -m benchmarks.memory_reserved`.

Rows of memory_rows.csv that read the allocator's reserve or nvidia-smi (reserve and context). Results go to
benchmarks/results/memory-reserved.json and into docs/memory.md.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.memory import CAPABILITY, CAPACITY
from benchmarks.memory_rows import Row, facts, plan, rows, switches, their_models
from benchmarks.tables import put, table
from studio.memory.cards import context_bytes
from studio.memory.estimate import estimate

HERE = Path(__file__).parent
RESULT = HERE / "results" / "memory-reserved.json"
COMMAND = "python -m benchmarks.memory_reserved"


def compared(row: Row) -> dict[str, Any]:
    """A row's measurement and the interval for it, in GiB."""
    capability = CAPABILITY.get(row["gpu"])
    need = estimate(
        plan(row), facts(row), 1.0, switches(row), CAPACITY.get(row["gpu"]), capability=capability
    )
    beside = (0, 0) if row["metric"] == "nvidia-smi" else context_bytes("cuda", capability)
    low, high = (round((end - off) / 2**30, 3) for end, off in zip(need.reserved, beside, strict=True))
    measured = float(row["measured_gib"])
    return {
        "id": row["id"],
        "metric": row["metric"],
        "model": row["model"],
        "method": row["method"],
        "batch": row["batch"],
        "measured": measured,
        "low": low,
        "high": high,
        "inside": low <= measured <= high,
        "width": round((high - low) / measured, 3),
    }


def page(document: dict[str, Any]) -> str:
    """The section of docs/memory.md."""
    outside = [one for one in document["rows"] if not one["inside"]]
    wide = [one for one in document["rows"] if one["width"] > 0.25]
    lines = [
        [
            *(one["id"], one["metric"], one["model"], one["method"], f"{one['measured']:.2f}"),
            *(f"{one['low']:.2f} to {one['high']:.2f}", f"{100 * one['width']:.0f}%"),
        ]
        for one in [*outside, *(one for one in wide if one not in outside)]
    ]
    head = ["row", "read", "model", "method", "measured", "interval", "width"]
    return (
        f"`{document['command']}`: {document['inside']} of {len(document['rows'])} rows lie inside their "
        f"interval; its width is {100 * document['median width']:.0f}% of what was measured (median), and "
        f"above 25% in {len(wide)} rows. Those outside or wider:\n\n{table(head, lines)}"
    )


@their_models()
def main() -> None:
    """Compare, write, print."""
    found = [
        compared(row)
        for row in rows()
        if row["in"] == "yes" and row["metric"] in ("reserved", "nvidia-smi") and row["method"] != "inference"
    ]
    widths = sorted(one["width"] for one in found)
    document = {
        "command": COMMAND,
        "inside": sum(one["inside"] for one in found),
        "median width": widths[len(widths) // 2],
        "rows": found,
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    made = page(document)
    put("memory.md", "reserved", made)
    sys.stdout.write(made)


if __name__ == "__main__":
    main()
