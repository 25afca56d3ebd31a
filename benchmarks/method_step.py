"""One method on one model, a step at a time: the process behind `benchmarks.methods`.

`python -m benchmarks.method_step ORDER` reads `step` and `memory`, a line each, and answers each with a line
of JSON; the first line it writes are the facts of what it made. Where memory runs out it answers `failed`.
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from studio.memory.rehearsal import Rehearsal, prepared
from studio.memory.tracker import StorageTracker
from studio.models.config import read_config
from studio.models.load import load_model, weights_dtype
from studio.plan import Plan, methods, parse_request

GPU_OPTIMIZER = {"qlora": "paged_adamw_8bit", "qst": "paged_adamw_8bit"}


def bench_plan(order: dict[str, Any]) -> Plan:
    """Everything in 16 bit; what the method leaves open is chosen for the model."""
    device = order["device"]
    settings = {
        "batch": order["batch"],
        "seq": order["seq"],
        "lr": 1e-4,
        "steps": 1000,
        "precision": "bf16",
        "device": device,
    }
    if device != "cpu" and order["method"] in GPU_OPTIMIZER:
        settings["optimizer"] = GPU_OPTIMIZER[order["method"]]
    else:
        settings["optimizer_impl"] = "fused"
    plan = parse_request("path:bench", "random", order["method"], set={**settings, **order["settings"]})
    method = methods.get(plan.method)
    if method.choose is None:
        return plan
    chosen, _ = method.choose(plan.method_params, read_config(Path(order["folder"])))
    return replace(plan, method_params=chosen)


class Step:
    """A model with its method, an optimizer and one batch, half of whose tokens are learned."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.plan, self.device = bench_plan(order), order["device"]
        method = methods.get(self.plan.method)
        base = load_model(
            Path(order["folder"]),
            dtype=weights_dtype("bf16", method.capable("trains_base", self.plan.method_params)),
            device=self.device,
            quantisation=method.base_quantisation(self.plan.method_params),
        )
        tuned, tuner = prepared(self.plan, base)
        self.rehearsal = Rehearsal(self.plan, base, tuned, tuner, self.device, learned=0.5)

    def run(self, tracker: StorageTracker | None = None) -> None:
        """One optimizer step, to its end."""
        self.rehearsal.step(tracker)
        if self.device != "cpu":
            torch.cuda.synchronize()

    def step(self) -> dict[str, float]:
        """Wall and processor seconds of one step."""
        wall, processor = time.perf_counter(), time.process_time()
        self.run()
        return {
            "seconds": round(time.perf_counter() - wall, 4),
            "processor_seconds": round(time.process_time() - processor, 4),
        }

    def memory(self) -> dict[str, Any]:
        """Peak of one step, after one that made the optimizer's state."""
        tracker, rehearsal = StorageTracker(), self.rehearsal
        rehearsal.hold(tracker)
        with tracker:
            self.run(tracker)
            rehearsal.hold_optimizer(tracker)
            tracker.restart_peak()
            if self.device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            self.run(tracker)
        found = {
            "peak_bytes": tracker.peak,
            "peak_parts": {name: size for name, size in sorted(tracker.peak_parts.items()) if size},
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        if self.device != "cpu":
            found["peak_allocated_bytes"] = torch.cuda.max_memory_allocated()
            found["peak_reserved_bytes"] = torch.cuda.max_memory_reserved()
        return found

    def facts(self) -> dict[str, Any]:
        """What does not change from step to step."""
        with TemporaryDirectory() as folder:
            self.rehearsal.tuner.save(self.rehearsal.computation.model, Path(folder))
            saved = sum(file.stat().st_size for file in Path(folder).rglob("*"))
        return {
            "method": self.plan.method,
            "trainable": sum(p.numel() for p in self.rehearsal.trained),
            "saved_bytes": saved,
            "optimizer": self.plan.settings.optimizer,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "device_name": torch.cuda.get_device_name() if self.device != "cpu" else platform_name(),
        }


def platform_name() -> str:
    """The processor's name as the system gives it."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def give_back() -> None:
    """Free memory goes back to the system between turns, so that all methods fit side by side."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def main() -> None:
    """Do what is asked until there is nothing more."""
    out = sys.stdout

    def tell(answer: Any) -> None:
        out.write(json.dumps(answer) + "\n")
        out.flush()

    try:
        work = Step(json.loads(sys.argv[1]))
        answers = {"step": work.step, "memory": work.memory}
        tell(work.facts())
        for line in sys.stdin:
            answer = answers[line.strip()]()
            give_back()
            tell(answer)
    except (torch.OutOfMemoryError, MemoryError) as error:
        tell({"failed": f"out of memory: {str(error).partition('.')[0]}"})


if __name__ == "__main__":
    main()
