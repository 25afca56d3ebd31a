"""What tuning the starter on each sample brings: `python -m benchmarks.samples`, by the studio's commands.

Trains with the defaults, asks base and tuned the held-out prompts (greedy), scores both, prints a table and
writes benchmarks/results/samples.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import assets
from benchmarks.scorers import content_words, score_json, score_pirate, score_support

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "samples.json"
SAMPLES = ("pirate", "json", "support")


def studio(home: Path, *arguments: str) -> Any:
    """Run one command of the studio; its JSON document."""
    command = [sys.executable, str(ROOT / "launch.py"), *arguments, "--home", str(home), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    return json.loads(done.stdout)


def score(sample: str, answer: str, prompt: str, reference: str) -> dict[str, bool]:
    """The judgements of one answer."""
    if sample == "pirate":
        return score_pirate(answer, content_words(prompt, reference))
    if sample == "json":
        return score_json(answer, reference)
    return score_support(answer, prompt, content_words(prompt, reference))


def held_out(sample: str) -> list[tuple[str, str]]:
    """Prompt and reference of each held-out row."""
    lines = assets.path("samples", sample, "heldout.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line)["messages"] for line in lines]
    return [(messages[0]["content"], messages[1]["content"]) for messages in rows]


def measure(home: Path, sample: str) -> dict[str, Any]:
    """Train on one sample, then count what base and tuned get right on its held-out rows."""
    started = time.perf_counter()
    run = studio(home, "train", "starter", sample, "--method", "lora", "--wait")
    wall = time.perf_counter() - started
    rows = held_out(sample)
    prompts = [part for prompt, _ in rows for part in ("--prompt", prompt)]
    chat = studio(
        home, "chat", f"run:{run['run']}", "--compare", "--temperature", "0", "--max-tokens", "120", *prompts
    )
    counts: dict[str, dict[str, int]] = {"base": {}, "tuned": {}}
    wrong = []
    for answered, (prompt, reference) in zip(chat["answers"], rows, strict=True):
        for side, found in counts.items():
            for name, good in score(sample, answered[side], prompt, reference).items():
                found[name] = found.get(name, 0) + good
        if not score(sample, answered["tuned"], prompt, reference)["right"]:
            wrong.append({"prompt": prompt, "answer": answered["tuned"], "reference": reference})
    return {
        "command": f"python launch.py train starter {sample} --method lora --wait --json",
        "wall_seconds": round(wall, 1),
        "steps": run["steps"],
        "loss": run["loss"],
        "eval_loss": run["eval_loss"],
        "heldout_rows": len(rows),
        **counts,
        "wrong": wrong,
    }


def main() -> None:
    """Measure all samples, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("samples", nargs="*", default=SAMPLES)
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as home:
        for sample in options.samples:
            results[sample] = found = measure(Path(home), sample)
            sys.stdout.write(
                f"{sample:8} {found['heldout_rows']} held-out rows, trained in {found['wall_seconds']} s\n"
            )
            for side in ("base", "tuned"):
                sys.stdout.write(f"  {side:6} {found[side]}\n")
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
