"""All methods on the same model, data, batch and sequence, in one run: trainable parameters, peak memory by
part, step time, tokens per second, size of what is saved.

    python -m benchmarks.methods 0.5b [--batch 4] [--seq 384] [--rounds 5] [--only qlora qst] [--device cpu]
    python -m benchmarks.methods llama-2-7b --device cuda --rounds 7

The model has the named shape and random weights (`starter` is the studio's own). Half of the tokens are
labelled. Each method lives in a process of its own; they take turns step by step, so that a busy moment of
the machine meets all of them, and a ratio is the median of the rounds' ratios to the baseline: QLoRA at its
leanest (16-bit adapters of rank 16 on all linear layers, no dropout). Peak is that of live tensor bytes in
one whole step, weights included. On a GPU, which holds one large model and is nobody else's, one method is
done after the other, each after steps that don't count; what doesn't fit is written down as that. Results go
to benchmarks/results/methods-SHAPE.json, after each method where they come one by one.
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
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import psutil

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


WARM_UPS = 10  # steps before those that count, on a GPU


class Failed(Exception):
    """A method's process could not go on."""


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
        """`step` or `memory`, done now. Raises Failed."""
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
            raise Failed(f"its process ended with {self._process.wait()}")
        answer = json.loads(line)
        if "failed" in answer:
            self.end()
            raise Failed(answer["failed"])
        return answer


def one_by_one(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    """The document as it grows by a method: facts, peak by part, steps, or why there are none."""
    found: dict[str, Any] = {}
    for name in options.only:
        try:
            entry = Entry(name, folder, options)
            memory = entry.ask("memory")
            steps = [entry.ask("step") for _ in range(WARM_UPS + options.rounds)][WARM_UPS:]
            entry.end()
            found[name] = _of(options, entry, memory, steps)
        except Failed as why:
            found[name] = {"failed": str(why)}
        yield found


def side_by_side(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The document where all methods take turns."""
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
    return {name: _of(options, entry, memory[name], steps[name]) for name, entry in entries.items()}


def _of(
    options: argparse.Namespace, entry: Entry, memory: Any, steps: list[dict[str, float]]
) -> dict[str, Any]:
    seconds = median(step["seconds"] for step in steps)
    return {
        **entry.facts,
        **memory,
        "steps": steps,
        "step_s": round(seconds, 4),
        "tokens_per_s": round(options.batch * options.seq / seconds, 1),
    }


def compare(found: dict[str, Any]) -> None:
    """Add to each method how many times less memory and time it takes than each of the two baselines."""
    for base in (BASELINE, f"{BASELINE}, checkpointing"):
        if "steps" not in found.get(base, {}):
            continue
        for entry in (entry for entry in found.values() if "steps" in entry):
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
    parser.add_argument("--out", type=Path, help="another file than the one among the results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.shape == "starter":
            folder = ROOT / "assets" / "starter"
        else:
            from benchmarks.shapes import write_shape

            write_shape(options.shape, folder)
        apart = options.device != "cpu"
        for found in one_by_one(options, folder) if apart else [side_by_side(options, folder)]:
            compare(found)
            write(options, found)
    for name, entry in found.items():
        sys.stdout.write(f"{name:22} {_line(entry)}\n")


def _line(entry: dict[str, Any]) -> str:
    if "failed" in entry:
        return str(entry["failed"])
    return (
        f"{entry['trainable']:>12,} trainable  peak {entry['peak_bytes'] / 2**30:6.3f} GiB  "
        f"step {entry['step_s']:8.3f} s  {entry.get(f'against {BASELINE}')}"
    )


def write(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """The result file, with the machine's description."""
    document = {
        "command": shlex.join(["python", "-m", "benchmarks.methods", *sys.argv[1:]]),
        "shape": options.shape,
        "batch": options.batch,
        "seq": options.seq,
        "machine": {
            "device": options.device,
            "cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "system": platform.platform(),
            "load_average": os.getloadavg(),
        },
        "methods": found,
    }
    suffix = "" if options.device == "cpu" else f"-gpu-b{options.batch}-s{options.seq}"
    out = options.out or RESULTS / f"methods-{options.shape}{suffix}.json"
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
