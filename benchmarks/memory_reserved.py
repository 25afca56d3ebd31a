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
from studio.memory.reserved import SLACK

HERE = Path(__file__).parent
RESULT = HERE / "results" / "memory-reserved.json"
COMMAND = "python -m benchmarks.memory_reserved"
WIDE = 0.25  # of what was measured
ADDED = ("largest block", "allowance", "context")  # sources of an interval


def sources(row: Row) -> dict[str, Any]:
    """What a row's interval is made of, in GiB, whatever the card has, where neither end is the tensors':
    what an allocator takes that finds each block again, and its largest block, taken once more."""
    capability = CAPABILITY.get(row["gpu"])
    need = estimate(plan(row), facts(row), 1.0, switches(row), capability=capability)
    least, most = context_bytes("cuda", capability)
    played = (need.reserved[0] - least) / (1 - SLACK)
    largest = (need.reserved[1] - most) / (1 + SLACK) - played
    read = row["metric"] == "nvidia-smi"
    found = {
        "tensors": need.allocated,
        "played back": played,
        "largest block": largest,
        "allowance": SLACK * (2 * played + largest),
        "context": read * (most - least),
    }
    ends = (end - (not read) * off for end, off in zip(need.reserved, (least, most), strict=True))
    return {name: round(size / 2**30, 3) for name, size in found.items()} | {
        "ends": [round(end / 2**30, 3) for end in ends]
    }


def compared(row: Row) -> dict[str, Any]:
    """A row's measurement and the interval for it, in GiB."""
    capability = CAPABILITY.get(row["gpu"])
    need = estimate(
        plan(row), facts(row), 1.0, switches(row), CAPACITY.get(row["gpu"]), capability=capability
    )
    beside = (0, 0) if row["metric"] == "nvidia-smi" else context_bytes("cuda", capability)
    low, high = (round((end - off) / 2**30, 3) for end, off in zip(need.reserved, beside, strict=True))
    measured = float(row["measured_gib"])
    width = round((high - low) / measured, 3)
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
        "width": width,
    } | ({"sources": sources(row)} if width > WIDE else {})


def page(document: dict[str, Any]) -> str:
    """The section of docs/memory.md."""
    outside = [one for one in document["rows"] if not one["inside"]]
    wide = [one for one in document["rows"] if one["width"] > WIDE]
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
        f"above {100 * WIDE:.0f}% in {len(wide)} rows. Those outside or wider:\n\n{table(head, lines)}\n"
        f"{made_of(wide)}"
    )


def made_of(wide: list[dict[str, Any]]) -> str:
    """Where the wide intervals come from."""
    head = ["row", "tensors", "played back", "largest block, once more", f"{100 * SLACK:.0f}% either way"]
    head += ["context", "both ends", "within the card"]
    lines = [
        [
            *(one["id"], *(f"{one['sources'][name]:.2f}" for name in ("tensors", "played back"))),
            *(_share(one["sources"][name], one["measured"]) for name in ADDED),
            *(
                f"{low:.2f} to {high:.2f}"
                for low, high in (one["sources"]["ends"], (one["low"], one["high"]))
            ),
        ]
        for one in wide
    ]
    return (
        "What the wide ones are made of, in GiB and as a share of what was measured. Where the upper end is "
        f"beyond the card, the interval goes from the tensors to the card's size:\n\n{table(head, lines)}"
    )


def _share(size: float, measured: float) -> str:
    return f"{size:.2f} ({100 * size / measured:.0f}%)"


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
