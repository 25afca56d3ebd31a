"""All methods on the same model, data, batch and sequence, in one run: trainable parameters, peak memory by
part, step time, tokens per second, size of what is saved.

    python -m benchmarks.methods 0.5b [--batch 4] [--seq 384] [--rounds 5] [--only qlora qst] [--device cpu]

The model has the named shape and random weights (`starter` is the studio's own). Half of the tokens are
labelled. Each method lives in a process of its own; they take turns step by step, so that a busy moment of
the machine meets all of them, and a ratio is the median of the rounds' ratios to the baseline: QLoRA at its
leanest (16-bit adapters of rank 16 on all linear layers, no dropout). Peak is that of live tensor bytes in
one whole step, weights included. Results go to benchmarks/results/methods-SHAPE.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BASELINE = "qlora"
LEAN = {"rank": 16, "alpha": 16, "dropout": 0.0}
CHECKPOINTED = {"gradient_checkpointing": True}
# What is measured: a name, the method, and its settings beside those that all share.
ENTRIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qlora": ("qlora", LEAN),
    "qlora, checkpointing": ("qlora", LEAN | CHECKPOINTED),
    "qst": ("qst", {}),
    "qst, 16-bit taps": ("qst", {"tap_bits": "16"}),
    "qst, average pooling": ("qst", {"downsampler": "average"}),
    "lst": ("lst", {}),
    "lora": ("lora", LEAN),
    "full": ("full", {}),
}


class Entry:
    """One method at work in its own process."""

    def __init__(self, name: str, folder: Path, options: argparse.Namespace) -> None:
        method, settings = ENTRIES[name]
        order = {
            "method": method,
            "settings": settings,
            "folder": str(folder),
            "batch": options.batch,
            "seq": options.seq,
            "device": options.device,
        }
        command = [sys.executable, "-m", "benchmarks.method_step", json.dumps(order)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        self.facts: dict[str, Any] = self._answer()

    def ask(self, what: str) -> Any:
        """`step` or `memory`, done now."""
        assert self._process.stdin
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Let it go."""
        self._process.communicate("")

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a method's process ended with {self._process.wait()}")
        return json.loads(line)


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One document: per method its facts, its peak by part, and its steps by round."""
    entries = {name: Entry(name, folder, options) for name in options.only}
    memory = {name: entry.ask("memory") for name, entry in entries.items()}
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in entries}
    names = list(entries)
    for number in range(options.rounds):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            steps[name].append(entries[name].ask("step"))
            sys.stderr.write(f"round {number}: {name} {steps[name][-1]}\n")
    for entry in entries.values():
        entry.end()
    return {
        name: {
            **entry.facts,
            **memory[name],
            "steps": steps[name],
            "step_s": round(median(s["seconds"] for s in steps[name]), 4),
            "tokens_per_s": round(options.batch * options.seq / median(s["seconds"] for s in steps[name]), 1),
        }
        for name, entry in entries.items()
    }


def compare(found: dict[str, Any]) -> None:
    """Add to each method how many times less memory and time it takes than each of the two baselines."""
    for base in (BASELINE, f"{BASELINE}, checkpointing"):
        if base not in found:
            continue
        for entry in found.values():
            times = [
                theirs["seconds"] / ours["seconds"]
                for theirs, ours in zip(found[base]["steps"], entry["steps"], strict=True)
            ]
            entry[f"against {base}"] = {
                "memory": round(found[base]["peak_bytes"] / entry["peak_bytes"], 3),
                "time": round(median(times), 3),
                "time_range": [round(min(times), 3), round(max(times), 3)],
            }


def main() -> None:
    """Measure, print a table, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seq", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", default=list(ENTRIES), choices=list(ENTRIES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.shape == "starter":
            folder = ROOT / "assets" / "starter"
        else:
            from benchmarks.shapes import write_shape

            write_shape(options.shape, folder)
        found = measure(options, folder)
    compare(found)
    document = {
        "command": shlex.join(["python", "-m", "benchmarks.methods", *sys.argv[1:]]),
        "shape": options.shape,
        "batch": options.batch,
        "seq": options.seq,
        "machine": {
            "device": options.device,
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "load_average": os.getloadavg(),
        },
        "methods": found,
    }
    suffix = "" if options.device == "cpu" else f"-gpu-b{options.batch}-s{options.seq}"
    out = RESULTS / f"methods-{options.shape}{suffix}.json"
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    for name, entry in found.items():
        sys.stdout.write(
            f"{name:22} {entry['trainable']:>12,} trainable  peak {entry['peak_bytes'] / 2**30:6.3f} GiB  "
            f"step {entry['step_s']:8.3f} s  {entry.get(f'against {BASELINE}')}\n"
        )


if __name__ == "__main__":
    main()
