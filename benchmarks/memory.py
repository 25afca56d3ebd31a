"""The memory estimate against what others measured: `python -m benchmarks.memory`.

The rows and what each program did stand in memory_rows.csv, chosen before any prediction (memory_rows.md).
Results go to benchmarks/results/memory.json.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

from benchmarks.memory_rows import Row, facts, plan, rows, switches
from studio.memory.estimate import estimate
from studio.memory.need import Need

HERE = Path(__file__).parent
RESULT = HERE / "results" / "memory.json"
_CAPACITY = {"A100-80GB": 85_094_825_984}  # as its driver tells


def predicted(row: Row) -> Need:
    """The estimate for a row of training."""
    return estimate(plan(row), facts(row), 1.0, switches(row), _CAPACITY.get(row["gpu"]))


def main() -> None:
    """Compare, print, write."""
    found = []
    for row in rows():
        if row["in"] != "yes" or row["metric"] != "allocated" or row["method"] == "inference":
            continue
        need = predicted(row)
        measured = float(row["measured_gib"])
        error = need.allocated / 2**30 / measured - 1
        found.append({"id": row["id"], "source": row["source"], "error": round(error, 4)})
        parts = {name: round(size / 2**30, 2) for name, size in need.parts.items()}
        sys.stdout.write(
            f"{row['id']} {row['source'][:12]} {row['model'][:14]:14} {row['method']:5} b{row['batch']:>2} "
            f"{row['loss']:12} {row['kernels'][:12]:12} {row['autocast']:4} {row['kbit_cast']:5} {measured:7.2f} {need.allocated / 2**30:7.2f} "
            f"{100 * error:+6.1f}% {need.moment} {parts}\n"
        )
    errors = [abs(one["error"]) for one in found]
    sys.stdout.write(f"{len(errors)} rows: median {median(errors):.3f}, worst {max(errors):.3f}\n")


if __name__ == "__main__":
    main()
