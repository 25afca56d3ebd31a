"""What each method brings on the starter: `python -m benchmarks.quality [samples ...]`.

Every method trains on each sample with the studio's defaults, the same number of steps for all, and answers
the held-out prompts greedily. Beside the held-out loss after equal steps stands the one after equal
processor time: the last that each method had reached when the quickest was done. `misses` counts the tokens
of the held-out answers that a method does not put first (each told all before it), and of these the ones
where the untouched base, told the same, puts another first as well. Results go to
benchmarks/results/quality.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

import assets
from benchmarks.samples import SAMPLES, held_out, score
from studio.data.read import read_dataset
from studio.data.render import Renderer
from studio.data.rows import Row, write_rows
from studio.defaults import RunFacts, resolve
from studio.errors import Reason
from studio.models.config import read_config
from studio.models.load import load_model
from studio.plan import Plan, methods, parse_request
from studio.train.run import train
from studio.train.tuner import make_tuner

RESULT = Path(__file__).parent / "results" / "quality.json"
STARTER = assets.path("starter")
MAX_TOKENS = 120
BATCH = 40


class Clock:
    """Receives what a run tells, and notes when each held-out loss was known; the run is never stopped."""

    def __init__(self) -> None:
        self.losses: list[tuple[float, int, float]] = []
        self.train_loss = 0.0
        self._begin: float | None = None

    def metric(self, step: int, name: str, value: float) -> None:
        self._begin = self._begin or time.process_time()
        if name == "loss":
            self.train_loss = 0.95 * self.train_loss + 0.05 * value if self.train_loss else value
        if name == "eval_loss":
            self.losses.append((time.process_time() - self._begin, step, value))

    def event(self, kind: str, body: dict[str, Any]) -> None: ...

    def phase(self, name: str, progress: float | None) -> None: ...

    def wish(self) -> None: ...

    def stopping(self) -> bool:
        return False

    def wait_while_paused(self, meanwhile: object) -> None: ...


def default_plan(method: str, sample: str, rows: int, heldout: int, extra: dict[str, Any]) -> Plan:
    """What the studio would choose on a processor without 16-bit arithmetic."""
    facts = RunFacts(
        rows=rows,
        heldout_rows=heldout,
        longest=None,
        p95=None,
        model=read_config(STARTER),
        device="cpu",
        device_reason=Reason("device_no_gpu", {}),
        cores=2,
        free_bytes=None,
        fast_bf16=False,
        learned=1.0,
    )
    plan, _ = resolve(parse_request("starter", sample, method, set={"seq": 256, **extra}), facts)
    return plan


def base_model(plan: Plan) -> Any:
    """The starter, held as the plan's method holds it."""
    quantisation = methods.get(plan.method).base_quantisation(plan.method_params)
    return load_model(STARTER, dtype=torch.float32, device="cpu", quantisation=quantisation)


def answers(model: Any, prompts: list[str]) -> Iterator[str]:
    """The greedy answers of the base with what was learned."""
    tokenizer = AutoTokenizer.from_pretrained(STARTER, padding_side="left")
    for start in range(0, len(prompts), BATCH):
        asked = [[{"role": "user", "content": prompt}] for prompt in prompts[start : start + BATCH]]
        inputs = tokenizer.apply_chat_template(
            asked, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        )
        with torch.no_grad():
            made = model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)
        yield from tokenizer.batch_decode(made[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


@torch.no_grad()
def hits(model: Any, rows: list[Row]) -> torch.Tensor:
    """Whether `model` puts each token of the rows' answers first, all before it given: (tokens,) bool."""
    renderer = Renderer.from_folder(STARTER)
    found = []
    for row in rows:
        encoded = renderer.encode(row.streams["text"])
        tokens, learned = torch.tensor(encoded.ids), torch.tensor(encoded.learned)
        first = model(input_ids=tokens[None]).logits[0].argmax(-1)
        found.append((first[:-1] == tokens[1:])[learned[1:]])
    return torch.cat(found)


def measure(method: str, sample: str, extra: dict[str, Any]) -> dict[str, Any]:
    """Train and ask."""
    folder = assets.path("samples", sample)
    rows = read_dataset(folder / "train.jsonl").rows
    heldout = read_dataset(folder / "heldout.jsonl").rows
    plan = default_plan(method, sample, len(rows), len(heldout), extra)
    clock = Clock()
    with tempfile.TemporaryDirectory() as temporary:
        run = Path(temporary)
        write_rows(run / "rows.jsonl", rows)
        write_rows(run / "heldout.jsonl", heldout)
        done = train(plan, model_folder=STARTER, folder=run, sink=clock, control=clock)
        assert done.adapter
        asked = held_out(sample)
        counts: dict[str, int] = {}
        by_base = hits(base_model(plan), heldout)
        model: Any = make_tuner(plan).load(base_model(plan), done.adapter)
        missed = ~hits(model, heldout)
        for (prompt, reference), answer in zip(asked, answers(model, [p for p, _ in asked]), strict=True):
            for name, good in score(sample, answer, prompt, reference).items():
                counts[name] = counts.get(name, 0) + good
    return {
        "steps": done.steps,
        "lr": plan.settings.lr,
        "precision": plan.settings.precision,
        "train_loss": round(clock.train_loss, 4),
        "heldout_loss": round(clock.losses[-1][2], 4),
        "losses": [[round(seconds, 2), step, round(loss, 4)] for seconds, step, loss in clock.losses],
        "misses": {
            "tokens": len(missed),
            "missed": int(missed.sum()),
            "missed_by_base": int((~by_base).sum()),
            "missed_by_both": int((missed & ~by_base).sum()),
        },
        "heldout_rows": len(asked),
        **counts,
    }


def equal_time(found: dict[str, dict[str, Any]]) -> None:
    """Add to each method's result the held-out loss that it had when the quickest was done."""
    least = min(entry["losses"][-1][0] for entry in found.values())
    for entry in found.values():
        known = [loss for seconds, _, loss in entry["losses"] if seconds <= least]
        entry["heldout_loss_at_equal_time"] = known[-1] if known else None


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", nargs="*", default=SAMPLES)
    parser.add_argument("--methods", nargs="+", default=["full", "lora", "qlora", "lst", "qst"])
    parser.add_argument("--set", nargs="*", default=[], help="settings as key=value, for trying out")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    extra = dict(pair.split("=", 1) for pair in options.set)
    results: dict[str, dict[str, Any]] = {}
    for sample in options.samples:
        results[sample] = {}
        for method in options.methods:
            results[sample][method] = found = measure(method, sample, extra)
            shown = {key: value for key, value in found.items() if key != "losses"}
            sys.stdout.write(f"{sample:8} {method:6} {shown}\n")
            sys.stdout.flush()
        equal_time(results[sample])
    document = {"command": "python -m benchmarks.quality", "settings": extra, "samples": results}
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
