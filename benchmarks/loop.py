"""Step rate of the studio's training loop against a bare loop over the same batches.

    .venv/bin/python benchmarks/loop.py --data alpaca_en_demo.json [--out benchmarks/results/loop.json]

The bench: a 32M Llama (hidden 512, MLP 1376, 8 layers, 8 heads, vocabulary 8,000, random weights), LoRA of
rank 8 on all linear layers, the first 320 rows of an Alpaca file, batch 4, at most 512 tokens, bf16
autocast, AdamW, no evaluation, no saving. The bare loop is the least that trains so: forward, loss over the
labelled positions, backward, clipping, optimizer, schedule. Both take turns in blocks over the same
batches, after 10 steps of warm-up each; the result is the median of the blocks' ratios, with the interval
that holds it with at least 95% confidence.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaForCausalLM, get_scheduler

from benchmarks.shapes import config_of
from studio.data.read import read_dataset
from studio.data.render import Renderer
from studio.data.rows import Row, write_rows
from studio.models.load import load_model
from studio.plan import Plan, objectives, parse_request
from studio.train import progress
from studio.train.examples import encode_rows
from studio.train.objective import Example, pad
from studio.train.run import train
from studio.train.sampler import epoch_batches

ROWS, WARM_UP, RANK = 320, 10, 8
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ m.content }}{% endif %}{% endfor %}"
)


def write_bench_model(folder: Path, rows: list[Row]) -> None:
    """The 32M Llama with a tokenizer of 8,000 pieces trained on the rows."""
    torch.manual_seed(0)
    config = config_of("32m", bos_token_id=None, eos_token_id=1, pad_token_id=0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=8000, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    texts = (m.text for row in rows for stream in row.streams.values() for m in stream.messages)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    facts = {"pad_token": SPECIAL[0], "eos_token": SPECIAL[1], "chat_template": TEMPLATE}
    facts["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(facts), encoding="utf-8")


def bench_plan(steps: int, dropout: float) -> Plan:
    settings = {
        "steps": steps,
        "batch": 4,
        "seq": 512,
        "lr": 1e-4,
        "precision": "mixed",
        "optimizer_impl": "fused",
    }
    return parse_request(
        "path:bench", "alpaca", set={**settings, "adapter_dtype": "fp32", "rank": RANK, "dropout": dropout}
    )


def bare_loop(plan: Plan, model_folder: Path, examples: list[Example], pad_id: int) -> Iterator[None]:
    """The least code that trains the same; yields after each step."""
    model = load_model(model_folder, dtype=torch.bfloat16, device="cpu")
    tuned = get_peft_model(
        model,
        LoraConfig(
            r=RANK,
            lora_alpha=16,
            lora_dropout=plan.method_params.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    ).train()
    trained = [p for p in tuned.parameters() if p.requires_grad]
    settings = plan.settings
    optimizer = torch.optim.AdamW(trained, lr=settings.lr, weight_decay=0.0, fused=True)
    warm_up = round(settings.warmup * settings.steps)
    schedule = get_scheduler("cosine", optimizer, warm_up, settings.steps)
    for batch in _batches(plan, examples, pad_id):
        targets = F.pad(batch["labels"][:, 1:], (0, 1), value=-100).flatten()
        kept = torch.nonzero(targets != -100).squeeze(1)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            states = model.model(input_ids=batch["input_ids"], use_cache=False).last_hidden_state
            logits = model.lm_head(states.flatten(0, 1).index_select(0, kept))
        loss = F.cross_entropy(logits.float(), targets.index_select(0, kept))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss.item()
        yield


def _batches(plan: Plan, examples: list[Example], pad_id: int) -> Iterator[dict[str, Any]]:
    epoch = 0
    while True:
        for rows in epoch_batches(plan.settings.seed, epoch, [e.length for e in examples], 4):
            yield pad([examples[row].streams["text"] for row in rows], pad_id)
        epoch += 1


class Turns:
    """A loop in a thread of its own that takes as many steps as it is asked for, then waits."""

    def __init__(self) -> None:
        self._go, self._done, self._left = threading.Semaphore(0), threading.Semaphore(0), 0

    def run(self, loop: Callable[[], object]) -> None:
        """Start the loop and return once it waits after its first step."""
        threading.Thread(target=loop, daemon=True).start()
        self._done.acquire()

    def seconds(self, steps: int) -> tuple[float, float]:
        """Wall time and processor time of the next `steps` steps; only this loop runs meanwhile."""
        self._left = steps
        wall, processor = time.perf_counter(), time.process_time()
        self._go.release()
        self._done.acquire()
        return time.perf_counter() - wall, time.process_time() - processor

    def boundary(self) -> None:
        """Called by the loop after every step; waits where the turn is over, and after the very first
        step."""
        self._left -= 1
        if self._left <= 0:
            self._done.release()
            self._go.acquire()

    def wish(self) -> None:
        self.boundary()

    def stopping(self) -> bool:
        return False

    def wait_while_paused(self, meanwhile: Callable[[], bool]) -> None: ...

    def metric(self, step: int, name: str, value: float) -> None: ...

    def event(self, kind: str, body: dict[str, Any]) -> None: ...

    def phase(self, name: str, progress: float | None) -> None: ...


def interval(values: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """The narrowest interval of order statistics that holds the median with at least this confidence."""
    ordered, n = sorted(values), len(values)
    for k in range((n - 1) // 2, 0, -1):
        if 1 - 2 * sum(comb(n, i) for i in range(k)) / 2**n >= confidence:
            return ordered[k - 1], ordered[n - k]
    return ordered[0], ordered[-1]


def measure(data: Path, dropout: float, blocks: int, steps: int) -> dict[str, Any]:
    """Ratios of the step rates, block by block."""
    progress.FIRST_INTERVAL = math.inf  # no saving
    plan = bench_plan(WARM_UP + (blocks + 1) * steps, dropout)
    rows = read_dataset(data).rows[:ROWS]
    with tempfile.TemporaryDirectory() as temporary:
        model_folder, folder = Path(temporary, "model"), Path(temporary, "run")
        folder.mkdir()
        write_bench_model(model_folder, rows)
        write_rows(folder / "rows.jsonl", rows)
        renderer = Renderer.from_folder(model_folder)
        examples = encode_rows(rows, renderer, objectives.get("sft"), 512).examples
        ours, bare = Turns(), Turns()

        def run_ours() -> None:
            train(plan, model_folder=model_folder, folder=folder, sink=ours, control=ours)

        def run_bare() -> None:
            for _ in bare_loop(plan, model_folder, examples, renderer.pad_id):
                bare.boundary()

        ours.run(run_ours)
        bare.run(run_bare)
        for loop in (ours, bare):
            loop.seconds(WARM_UP - 1)
        table = [_block(i, ours, bare, steps) for i in range(blocks)]
    ratios = [row["ours"] / row["bare"] for row in table]
    busy = [row["bare_cpu"] / row["ours_cpu"] for row in table]
    return {
        "what": "steps per second and processor seconds per step of both loops, block by block",
        "dropout": dropout,
        "rows": len(examples),
        "blocks": [{k: round(v, 4) for k, v in row.items()} for row in table],
        "ratio_median": round(median(ratios), 4),
        "ratio_interval": [round(x, 4) for x in interval(ratios)],
        "cpu_ratio_median": round(median(busy), 4),
        "cpu_ratio_interval": [round(x, 4) for x in interval(busy)],
        "bar": 0.97,
        "threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()),  # well above `threads` + 1: something else was running
        "cpu": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _block(number: int, ours: Turns, bare: Turns, steps: int) -> dict[str, float]:
    """One block: both loops over the same batches, the other one first each time."""
    order = {"ours": ours, "bare": bare} if number % 2 == 0 else {"bare": bare, "ours": ours}
    row: dict[str, float] = {}
    for name, loop in order.items():
        wall, processor = loop.seconds(steps)
        row |= {name: steps / wall, f"{name}_cpu": processor / steps}
    print({name: round(value, 3) for name, value in sorted(row.items())}, file=sys.stderr, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("ALPACA_DATA"))
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10, help="steps per block and loop")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/loop.json"))
    options = parser.parse_args()
    if options.data is None or not Path(options.data).is_file():
        sys.exit("An Alpaca file is needed: --data FILE, or its path in ALPACA_DATA.")
    result = [measure(Path(options.data), dropout, options.blocks, options.steps) for dropout in (0.05, 0.0)]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1), flush=True)
    os._exit(0)  # both loops wait in their threads


if __name__ == "__main__":
    main()
