"""A real step counted tensor by tensor: `python -m benchmarks.memory_tracker [METHOD ...]`.

Beside the count stand estimate and trace of the same step. A Llama of 0.5 billion parameters (hidden 1024,
MLP 2816, 32 layers) with made-up weights takes its second step on this processor, one row of 128 tokens, half
of them learned, in bf16. Each method runs in a process of its own, without gradient checkpointing and with
it. Results go to benchmarks/results/memory-tracker.json, and replace those of the same methods there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.tables import put, table
from studio.memory.estimate import estimate
from studio.memory.rehearsal import Rehearsal, prepared
from studio.memory.trace import trace
from studio.memory.tracker import StorageTracker
from studio.models.config import facts_of
from studio.models.load import load_model, weights_dtype
from studio.plan import Plan, methods, parse_request

RESULT = Path(__file__).parent / "results" / "memory-tracker.json"
COMMAND = "python -m benchmarks.memory_tracker"
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
}
LEARNED = 0.5


def planned(method: str, checkpointing: bool) -> Plan:
    """One row of 128 tokens on the processor, everything else as the method has it."""
    settings = {"batch": 1, "seq": 128, "lr": 1e-4, "steps": 1, "precision": "bf16", "device": "cpu"}
    settings |= {"optimizer_impl": "fused", "gradient_checkpointing": checkpointing}
    plan = parse_request("path:shape", "rows", method, set=settings)
    choose = methods.get(method).choose
    return replace(plan, method_params=choose(plan.method_params, facts_of(CONFIG))[0]) if choose else plan


def rehearsed(plan: Plan, folder: Path, device: str, learned: float) -> Rehearsal:
    """A run of this plan on the model in `folder`, a step at a time; `learned`: the share of the tokens."""
    method = methods.get(plan.method)
    dtype = weights_dtype(
        plan.settings.precision or "fp32", method.capable("trains_base", plan.method_params)
    )
    quantisation = method.base_quantisation(plan.method_params)
    base = load_model(folder, dtype=dtype, device=device, quantisation=quantisation)
    tuned, tuner = prepared(plan, base)
    return Rehearsal(plan, base, tuned, tuner, device, learned)


def counted(rehearsal: Rehearsal, vocabulary: int) -> StorageTracker:
    """The tracker after a real second step on the processor."""
    tracker = StorageTracker(vocabulary=vocabulary)
    with tracker:
        rehearsal.hold(tracker)
        rehearsal.make_optimizer_state()
        rehearsal.hold_optimizer(tracker)
        tracker.restart_peak()
        rehearsal.step(tracker)
    return tracker


def compared(method: str, checkpointing: bool) -> dict[str, Any]:
    """Bytes at the peak by all three, and how far the two predictions are off."""
    plan = planned(method, checkpointing)
    with tempfile.TemporaryDirectory() as folder:
        config = {key: value for key, value in CONFIG.items() if key != "model_type"}
        model = AutoModelForCausalLM.from_config(LlamaConfig(**config), dtype=torch.bfloat16)
        model.save_pretrained(folder)
        del model
        tracker = counted(rehearsed(plan, Path(folder), "cpu", LEARNED), CONFIG["vocab_size"])
    found = {"estimate": estimate(plan, facts_of(CONFIG), LEARNED), "trace": trace(plan, CONFIG, LEARNED)}
    return {
        "method": method,
        "checkpointing": checkpointing,
        "tracker": tracker.peak,
        "tracker_parts": {name: size for name, size in tracker.peak_parts.items() if size},
        **{kind: need.allocated for kind, need in found.items()},
        **{f"{kind}_error": round(need.allocated / tracker.peak - 1, 5) for kind, need in found.items()},
    }


def _apart(method: str, checkpointing: bool) -> dict[str, Any]:
    """`compared` in a process of its own, which gives all of its memory back."""
    command = [sys.executable, "-m", "benchmarks.memory_tracker", "--one", method]
    said = subprocess.run(
        [*command, *(["--checkpointing"] if checkpointing else [])],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    row: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return row


def _kept(asked: list[str]) -> list[dict[str, Any]]:
    """Rows of earlier calls, of other methods."""
    if not RESULT.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    return [row for row in rows if row["method"] not in asked]


def made(rows: list[dict[str, Any]]) -> str:
    """The table."""
    lines = [
        [row["method"], "yes" if row["checkpointing"] else "no", f"{row['tracker'] / 2**20:.1f}"]
        + [f"{row[kind] / 2**20:.1f} ({100 * row[kind + '_error']:+.2f}%)" for kind in ("trace", "estimate")]
        for row in rows
    ]
    return table(["method", "checkpointing", "tracker (MiB)", "trace", "estimate"], lines)


def main() -> None:
    """Compare, write, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("methods", nargs="*", help="which; all if none is named")
    parser.add_argument("--one", help="one method here, as JSON")
    parser.add_argument("--checkpointing", action="store_true")
    options = parser.parse_args()
    if options.one:
        sys.stdout.write(json.dumps(compared(options.one, options.checkpointing)) + "\n")
        return
    asked = options.methods or sorted(methods.all())
    rows = _kept(asked)
    machine = {"cores": os.cpu_count(), "system": platform.platform(), "torch": torch.__version__}
    for method in asked:
        rows += [_apart(method, checkpointing) for checkpointing in (False, True)]
        rows.sort(key=lambda row: (row["method"], row["checkpointing"]))
        document = {"command": COMMAND, "machine": machine, "model": CONFIG, "rows": rows}
        RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    put("memory.md", "memory-tracker", f"`{COMMAND}`: a row of 128 tokens, bf16.\n\n{made(rows)}")
    sys.stdout.write(made(rows))


if __name__ == "__main__":
    main()
