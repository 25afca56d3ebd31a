"""Decode speed of the studio against plain transformers: single stream, time to first token, two panes.

    .venv/bin/python -m benchmarks.decode [--out benchmarks/results/decode.json]

The bench: a 32M Llama (hidden 512, MLP 1376, 8 layers, 8 heads, vocabulary 8,000, random weights) in fp32 and
in bf16, a prompt of 64 tokens, greedy, exactly 128 new tokens, the end token ignored. Ours and `generate`
with its cache take turns in blocks after a warm-up, timed by the clock and, for machines that are shared (use
--threads 1 there), by processor time; a ratio above 1 means that ours is faster. `panes`: base and one
adapter of rank 8 on all linear layers, asked together, against the two asked one after the other. Medians of
the blocks' ratios, with the interval that holds the median with at least 95% confidence. `panes_memory` is
the peak of both panes' tensors (weights, adapter, caches, activations) by the tracker, as a share of one copy
of the weights.

Ours runs on a model as the chat engine holds it, plain transformers on one that was left as it is.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaForCausalLM

from benchmarks.loop import interval
from benchmarks.shapes import config_of
from studio.generate.adapters import AdapterPool
from studio.generate.decode import generate
from studio.generate.few_rows import multiply_few_rows
from studio.generate.request import BASE, Request
from studio.memory.tracker import StorageTracker, tensors_of

PROMPT, NEW, WARM_UP = 64, 128, 2


def bench_model(dtype: torch.dtype) -> Any:
    """The 32M Llama of all benchmarks, with weights that are the same each time."""
    torch.manual_seed(0)
    config = config_of("32m", bos_token_id=None, eos_token_id=None, pad_token_id=0)
    return LlamaForCausalLM(config).to(dtype).eval().requires_grad_(False)


def held_model(dtype: torch.dtype) -> Any:
    """The same as the chat engine holds it."""
    model = bench_model(dtype)
    multiply_few_rows(model)
    return model


def write_adapter(folder: Path) -> Path:
    config = LoraConfig(r=8, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(bench_model(torch.float32), config).save_pretrained(folder)
    return folder


def compare(
    ours: Callable[[], object], theirs: Callable[[], object], blocks: int, each: int
) -> dict[str, Any]:
    """How many times as fast ours is, block by block, by the clock and by processor time; the two take
    turns.
    """
    for _ in range(WARM_UP):
        ours()
        theirs()
    clocks = {"": time.perf_counter, "_processor": time.process_time}
    table: dict[str, list[tuple[float, float]]] = {name: [] for name in clocks}
    for block in range(blocks):
        taken = {(name, work): 0.0 for name in clocks for work in (ours, theirs)}
        for turn in range(each):
            pair = (ours, theirs) if (block + turn) % 2 == 0 else (theirs, ours)
            for work in pair:
                began = {name: clock() for name, clock in clocks.items()}
                work()
                for name, clock in clocks.items():
                    taken[name, work] += (clock() - began[name]) / each
        for name in clocks:
            table[name].append((taken[name, ours], taken[name, theirs]))
        print(
            {name: [round(s, 4) for s in rows[-1]] for name, rows in table.items()},
            file=sys.stderr,
            flush=True,
        )
    return {key: value for name, rows in table.items() for key, value in _ratio(name, rows).items()}


def _ratio(name: str, rows: list[tuple[float, float]]) -> dict[str, Any]:
    ratios = [theirs / ours for ours, theirs in rows]
    return {
        f"ours_seconds{name}": round(median(row[0] for row in rows), 4),
        f"other_seconds{name}": round(median(row[1] for row in rows), 4),
        f"ratio_median{name}": round(median(ratios), 4),
        f"ratio_interval{name}": [round(x, 4) for x in interval(ratios)],
        f"blocks{name}": [[round(value, 4) for value in row] for row in rows],
    }


def single_stream(dtype: torch.dtype, blocks: int) -> dict[str, Any]:
    """Decode of 128 tokens, and time to the first token."""
    held, plain = held_model(dtype), bench_model(dtype)
    prompt = torch.randint(0, 8000, (1, PROMPT), generator=torch.Generator().manual_seed(1))
    ids = tuple(prompt[0].tolist())

    def ours(count: int) -> list[int | None]:
        return [token.id for token in generate(held, [Request(ids, max_tokens=count)])]

    def theirs(count: int) -> list[int]:
        return list(plain.generate(prompt, max_new_tokens=count, do_sample=False)[0, PROMPT:].tolist())

    assert ours(NEW) == theirs(NEW)
    return {
        "tokens_128": compare(lambda: ours(NEW), lambda: theirs(NEW), blocks, 1),
        "first_token": compare(lambda: ours(1), lambda: theirs(1), blocks, 5),
    }


def panes(blocks: int) -> tuple[dict[str, Any], float]:
    """Base and one adapter together against one after the other, fp32; and the peak of both together over the
    size of the weights.
    """
    model = held_model(torch.float32)
    tensors = list(tensors_of(model))
    weights = sum(storage_bytes(tensors).values())
    pool = AdapterPool(model)
    with tempfile.TemporaryDirectory() as folder:
        tuned = pool.require(write_adapter(Path(folder)))
    generator = torch.Generator().manual_seed(1)
    ids = tuple(torch.randint(0, 8000, (PROMPT,), generator=generator).tolist())

    def answer(*adapters: str) -> None:
        requests = [Request(ids, max_tokens=NEW, adapter=adapter) for adapter in adapters]
        for _ in generate(model, requests, pool):
            pass

    def one_after_the_other() -> None:
        answer(BASE)
        answer(tuned)

    tracker = StorageTracker()
    tracker.hold(tensors_of(model), "weights")
    with tracker:
        answer(BASE, tuned)
    return compare(lambda: answer(BASE, tuned), one_after_the_other, blocks, 1), tracker.peak / weights


def storage_bytes(tensors: list[torch.Tensor]) -> dict[int, int]:
    """Bytes of every storage, each once."""
    storages = [tensor.untyped_storage() for tensor in tensors]
    return {storage.data_ptr(): storage.nbytes() for storage in storages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/decode.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    side_by_side, memory = panes(options.blocks)
    result = {
        "what": "seconds per answer, the studio's and the other way's, and how many times as fast ours is",
        "float32": single_stream(torch.float32, options.blocks),
        "bfloat16": single_stream(torch.bfloat16, options.blocks),
        "panes_float32": side_by_side,
        "panes_memory": round(memory, 4),
        "threads": torch.get_num_threads(),
        "cpu": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
