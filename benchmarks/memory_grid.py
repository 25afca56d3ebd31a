"""Estimate and trace against real steps on a GPU: `python -m benchmarks.memory_grid --device cuda:0`.

Every method on models of 0.5 and 7 billion parameters (the shapes of Qwen 2.5, made-up weights), one row and
four, 512 tokens and 2048, without gradient checkpointing and with it. Each cell takes two steps in a process
of its own; torch's counters of the second stand beside the predictions. What an estimate says is too large
for the device is passed over, and said so. `--device cpu --sizes tiny` tries the program where there is no
GPU: there tensors are counted one by one. Weights are written to a folder once per size (15 GB for the
largest, `--folder`). Results go to benchmarks/results/memory-grid-DEVICE.json (`--out`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.memory_tracker import counted, rehearsed
from studio.memory.cards import Capability, context_bytes
from studio.memory.estimate import estimate
from studio.memory.need import Need
from studio.memory.trace import trace
from studio.models.config import ModelFacts, facts_of
from studio.plan import Plan, methods, parse_request

RESULTS = Path(__file__).parent / "results"
LEARNED = 1.0
BOUND = 0.03  # of the estimate's tensors
_QWEN = {"model_type": "qwen2", "max_position_embeddings": 32768, "pad_token_id": 0}
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        **_QWEN,
        "vocab_size": 4000,
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "0.5B": {
        **_QWEN,
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "7B": {
        **_QWEN,
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
}


@dataclass(frozen=True)
class Cell:
    """One step to compare."""

    method: str
    size: str
    batch: int
    seq: int
    checkpointing: bool
    precision: str


def cells(sizes: Sequence[str], batches: Sequence[int], seqs: Sequence[int], precision: str) -> list[Cell]:
    """The grid, every method in it."""
    return [
        Cell(method, size, batch, seq, checkpointing, precision)
        for size, method, batch, seq, checkpointing in product(
            sizes, sorted(methods.all()), batches, seqs, (False, True)
        )
    ]


def planned(cell: Cell, device: str, facts: ModelFacts) -> Plan:
    """The cell's plan, everything else as the method has it."""
    settings = {"batch": cell.batch, "seq": cell.seq, "precision": cell.precision, "device": device}
    settings |= {"lr": 1e-4, "steps": 1, "gradient_checkpointing": cell.checkpointing}
    settings |= {"optimizer_impl": "fused"}
    plan = parse_request("path:shape", "rows", cell.method, set=settings)
    choose = methods.get(cell.method).choose
    return replace(plan, method_params=choose(plan.method_params, facts)[0]) if choose else plan


def write_model(size: str, folder: Path) -> None:
    """A model of this size with made-up weights, unless it is there."""
    if (folder / "config.json").is_file():
        return
    config = AutoConfig.for_model(**SIZES[size])
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)


def measured(plan: Plan, folder: Path, device: str, vocabulary: int) -> dict[str, int]:
    """Bytes of a real second step: `allocated`, and on a GPU `reserved` of both."""
    rehearsal = rehearsed(plan, folder, device, LEARNED)
    if device == "cpu":
        return {"allocated": counted(rehearsal, vocabulary).peak}
    torch.cuda.empty_cache()  # what loading left
    torch.cuda.reset_peak_memory_stats(device)
    rehearsal.step()
    first = torch.cuda.max_memory_reserved(device)
    torch.cuda.reset_peak_memory_stats(device)
    rehearsal.step()
    torch.cuda.synchronize(device)
    reserved = max(first, torch.cuda.max_memory_reserved(device))
    return {"allocated": torch.cuda.max_memory_allocated(device), "reserved": reserved}


def predicted(cell: Cell, device: str) -> tuple[Plan, Need]:
    """The cell's plan and its estimate."""
    facts = facts_of(SIZES[cell.size])
    plan = planned(cell, device, facts)
    return plan, estimate(plan, facts, LEARNED, capability=capability(device))


def capability(device: str) -> Capability | None:
    """Of a GPU that is there."""
    there = device != "cpu" and torch.cuda.is_available()
    return torch.cuda.get_device_capability(device) if there else None


def compared(cell: Cell, folder: Path, device: str) -> dict[str, Any]:
    """The cell with bytes measured and predicted, and how far the predictions are off."""
    plan, need = predicted(cell, device)
    found = measured(plan, folder, device, SIZES[cell.size]["vocab_size"])
    said = {
        "estimate": need.allocated,
        "trace": trace(plan, SIZES[cell.size], LEARNED, capability(device)).allocated,
    }
    row = asdict(cell) | found | said
    row |= {f"{kind}_error": round(size / found["allocated"] - 1, 5) for kind, size in said.items()}
    if "reserved" in found:
        (low, high), context = need.reserved, context_bytes(device, capability(device))
        row["interval"] = [low - context[0], high - context[1]]  # a context is not the allocator's
        row["inside"] = row["interval"][0] <= found["reserved"] <= row["interval"][1]
    return row


def unable(cell: Cell, device: str) -> str | None:
    """Why a cell is passed over, None if it is not."""
    if cell.method in ("qlora", "qst"):
        try:
            import bitsandbytes  # noqa: F401
        except ImportError:
            return "bitsandbytes is not installed"
    if device == "cpu":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    needed = predicted(cell, device)[1].reserved[0]
    return f"needs {needed / 2**30:.1f} GiB, {free / 2**30:.1f} are free" if needed > free else None


def rows_of(grid: Sequence[Cell], folder: Path, device: str) -> Iterator[dict[str, Any]]:
    """Each cell's row, from a process of its own; one that fails says how."""
    for cell in grid:
        if reason := unable(cell, device):
            yield asdict(cell) | {"skipped": reason}
            continue
        write_model(cell.size, folder / cell.size)
        command = [sys.executable, "-m", "benchmarks.memory_grid", "--one", json.dumps(asdict(cell))]
        command += ["--device", device, "--folder", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            yield json.loads(done.stdout.splitlines()[-1])
        else:
            yield asdict(cell) | {"failed": (done.stderr.strip().splitlines() or ["no message"])[-1]}


def line(row: dict[str, Any]) -> str:
    """A row in words."""
    name = f"{row['size']} {row['method']} {row['batch']} x {row['seq']}"
    name += " checkpointing" * row["checkpointing"]
    if stopped := row.get("skipped") or row.get("failed"):
        return f"{name}: {'skipped' if 'skipped' in row else 'FAILED'}, {stopped}"
    errors = ", ".join(f"{kind} {100 * row[kind + '_error']:+.2f}%" for kind in ("estimate", "trace"))
    beyond = " BEYOND 3%" * (abs(row["estimate_error"]) > BOUND)
    outside = " OUTSIDE the interval" if row.get("inside") is False else ""
    return f"{name}: {row['allocated'] / 2**20:.1f} MiB, {errors}{beyond}{outside}"


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    found: dict[str, Any] = {"system": platform.platform(), "cores": os.cpu_count()}
    found["torch"] = torch.__version__
    if device != "cpu":
        card = torch.cuda.get_device_properties(device)
        found |= {"gpu": card.name, "bytes": card.total_memory, "cuda": torch.version.cuda}
    return found


def main() -> None:
    """Run the grid, say each row, write them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["0.5B", "7B"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--seqs", nargs="+", type=int, default=[512, 2048])
    parser.add_argument("--precision", default="mixed", choices=("bf16", "mixed", "fp32"))
    parser.add_argument("--folder", type=Path, help="where weights are written; a temporary one if not said")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help="one cell here, as JSON")
    options = parser.parse_args()
    if options.one:
        cell = Cell(**json.loads(options.one))
        row = compared(cell, options.folder / cell.size, options.device)
        sys.stdout.write(json.dumps(row) + "\n")
        return
    grid = cells(options.sizes, options.batches, options.seqs, options.precision)
    out = options.out or RESULTS / f"memory-grid-{options.device.partition(':')[0]}.json"
    document = {"command": " ".join(["python -m benchmarks.memory_grid", *sys.argv[1:]])}
    whole: dict[str, Any] = {**document, "machine": machine(options.device), "sizes": SIZES, "rows": []}
    with tempfile.TemporaryDirectory() as own:
        for row in rows_of(grid, options.folder or Path(own), options.device):
            whole["rows"].append(row)
            out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
            sys.stdout.write(line(row) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
