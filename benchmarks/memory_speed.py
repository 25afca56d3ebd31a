"""How long an estimate takes: `python -m benchmarks.memory_speed [--rounds 7]`.

In a warm process: one plan's tensors, and with what an allocator takes from a GPU, over models of the
catalogue and all methods; what the memory panel works out at each move of a knob (all methods, the devices,
what would make it fit) on a GPU that is only described, of 24 GiB in all; and the command from a shell, also
of a model whose family is not known, which a process of its own builds without weights the first time.
Medians of rounds, by the clock and by processor time: on a busy machine the second says more. Results go to
benchmarks/results/memory-speed.json, those of panel and command to docs/memory.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from backend import memory
from backend.api import Device, HardwareReport
from backend.calibration import Known
from benchmarks.tables import put, table
from studio.defaults import RunFacts, resolve
from studio.errors import Reason
from studio.memory.estimate import estimate
from studio.memory.fit import Case
from studio.memory.verdict import need_of
from studio.models import catalogue
from studio.plan import methods, parse_request

RESULT = Path(__file__).parent / "results" / "memory-speed.json"
MODELS = (
    "hub:Qwen/Qwen2.5-0.5B-Instruct",
    "hub:meta-llama/Llama-3.1-8B-Instruct",
    "hub:meta-llama/Llama-3.3-70B-Instruct",
)
# OLMo 2 7B, as its config.json has it: of a family that the studio does not know.
UNKNOWN = {
    "model_type": "olmo2",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 100352,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
GIB = 2**30
CARD = Device("cuda:0", "24 GiB", "cuda", 24 * GIB, GIB, 23 * GIB, *(None,) * 5, (), True)
MACHINE = HardwareReport((CARD,), (), "cpu", 8, None, 64 * GIB, 50 * GIB, 10**12, 10**12, "")
LENGTHS = count(1024)  # each once: what was looked at before costs nothing
OPEN = frozenset({"precision", "optimizer", "adapter_dtype", "optimizer_impl"})


def case(model: str, method: str, device: str = "cuda:0", seq: int = 2048) -> Case:
    """A plan as the screen has it: batch 4, everything else chosen by the studio."""
    entry = catalogue.find(model)
    assert entry is not None
    known = RunFacts(
        rows=10_000,
        heldout_rows=0,
        longest=None,
        p95=None,
        model=entry.facts,
        device=device,
        device_reason=Reason("device_asked", {"device": device}),
        cores=8,
        free_bytes=CARD.free_bytes if device != "cpu" else 50 * GIB,
        fast_bf16=True,
        learned=0.5,
        capacity=CARD.total_bytes if device != "cpu" else None,
    )
    asked = parse_request(model, "", method, set={"device": device, "batch": 4, "seq": seq})
    return Case(resolve(asked, known)[0], known, OPEN)


def timed(work: Callable[[], object], rounds: int) -> dict[str, float]:
    """Milliseconds of a call, by the clock and of the processor."""
    clocks, processors = [], []
    for _ in range(rounds):
        clock, processor = time.perf_counter(), time.process_time()
        work()
        clocks.append(time.perf_counter() - clock)
        processors.append(time.process_time() - processor)
    return {
        "clock_ms": round(1000 * statistics.median(clocks), 1),
        "processor_ms": round(1000 * statistics.median(processors), 1),
    }


def one_plan(model: str, method: str, rounds: int) -> dict[str, Any]:
    """A single estimate, without and with the allocator's playback."""
    plan, facts = case(model, method).plan, case(model, method).model
    return {
        "tensors": timed(lambda: estimate(plan, facts, 0.5), rounds),
        "reserved": timed(lambda: estimate(plan, facts, 0.5).reserved, rounds),
    }


def panel(model: str, method: str, device: str, rounds: int) -> dict[str, float]:
    """All that the panel shows, of a plan that nobody looked at before."""

    def drawn() -> None:
        fresh = case(model, method, device, next(LENGTHS))
        for each in memory.by_method(fresh):
            memory.need(each, Known())
        memory.rooms(fresh, replace(MACHINE, devices=()) if device == "cpu" else MACHINE)
        memory.proposals(fresh)

    return timed(drawn, rounds)


def called(model: str, home: Path) -> tuple[float, float]:
    """Seconds of `estimate MODEL --json` in a process of its own, with those that it starts: by the clock and
    of the processor."""
    line = [sys.executable, "-m", "ui.cli", "estimate", model, "--home", str(home), "--json"]
    clock, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(line, check=True, capture_output=True)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - clock, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime


def commands(rounds: int) -> dict[str, dict[str, float]]:
    """The command by what it is asked about."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            home, config = Path(folder) / "home", Path(folder) / "config.json"
            config.write_text(json.dumps(UNKNOWN), encoding="utf-8")
            for name, model in (
                *((model, model) for model in ("starter", MODELS[1])),
                *((f"OLMo 2 7B, {when}", str(config)) for when in ("the first time", "again")),
            ):
                found.setdefault(name, []).append(called(model, home))
    return {name: _medians(times) for name, times in found.items()}


def _medians(times: list[tuple[float, float]]) -> dict[str, float]:
    clocks, processors = zip(*times, strict=True)
    return {
        "clock_s": round(statistics.median(clocks), 2),
        "processor_s": round(statistics.median(processors), 2),
    }


def page(document: dict[str, Any]) -> str:
    """What panel and command take, for docs/memory.md."""
    rows = []
    for name, took in document["panel"].items():
        model, method, device = name.split(", ")
        place = "processor" if device == "cpu" else CARD.name
        rows.append([model.rpartition("/")[2], method, place, *(f"{took[k]:.0f}" for k in sorted(took))])
    head = ["model", "method", "device", "ms", "ms of the processor"]
    said = f"`{document['command']}`: batch 4, {document['machine']}, load {document['load']}"
    called_with = ["`estimate` of", "s", "s of the processor"]
    lines = [
        [name.rpartition("/")[2], *(f"{took[k]:.2f}" for k in sorted(took))]
        for name, took in document["estimate_command"].items()
    ]
    return f"{said}.\n\n{table(head, rows)}\n{table(called_with, lines)}"


def main() -> None:
    """Measure all, print it and keep it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for model in MODELS:  # warm: imports, the catalogue
        need_of(case(model, "lora").plan, case(model, "lora").model, 0.5)
    document = {
        "command": "python -m benchmarks.memory_speed",
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "estimate": {m: {id: one_plan(m, id, rounds) for id in methods.all()} for m in MODELS},
        "panel": {
            f"{model}, {method}, {device}": panel(model, method, device, rounds)
            for model in MODELS
            for method in ("lora", "full")
            for device in ("cpu", "cuda:0")
        },
        "estimate_command": commands(rounds),
    }
    RESULT.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    put("memory.md", "memory-speed", page(document))
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
