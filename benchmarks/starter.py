"""How the starter model does on its held-out prompts: `python -m benchmarks.starter`, greedy decoding.

Prints a table and writes benchmarks/results/starter.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import assets
from assets.making.heldout import Case, cases
from benchmarks.scorers import right

RESULT = Path(__file__).parent / "results" / "starter.json"
MAX_TOKENS = 160


def answers(
    folder: Path, conversations: list[list[dict[str, str]]], batch: int = 32
) -> Iterator[tuple[str, bool]]:
    """The greedy answer to each conversation, and whether the model stopped by itself."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    for start in range(0, len(conversations), batch):
        inputs = tokenizer.apply_chat_template(
            conversations[start : start + batch],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        made = model.generate(**inputs, max_new_tokens=MAX_TOKENS, do_sample=False)[
            :, inputs["input_ids"].shape[1] :
        ]
        for row in made:
            stopped = bool((row == model.generation_config.eos_token_id).any())
            yield tokenizer.decode(row, skip_special_tokens=True), stopped


def summary(held_out: list[Case], answered: list[tuple[str, bool]]) -> dict[str, Any]:
    """Right answers by skill and phrasing, mean length in words, share of answers that stop."""
    skills: dict[str, dict[str, Any]] = {}
    wrong = []
    for case, (answer, stopped) in zip(held_out, answered, strict=True):
        found = skills.setdefault(case.skill, {"right": 0, "total": 0, "new_right": 0, "new_total": 0})
        good = stopped and right(answer, case.messages[-1]["content"], case.check)
        found["right"] += good
        found["total"] += 1
        found["new_right"] += good and case.phrasing == "new"
        found["new_total"] += case.phrasing == "new"
        if not good:
            prompt = " / ".join(message["content"] for message in case.messages)
            wrong.append(
                {"skill": case.skill, "prompt": prompt, "answer": answer, "reference": case.reference}
            )
    for found in skills.values():
        found["rate"] = round(found["right"] / found["total"], 4)
    total = sum(found["total"] for found in skills.values())
    return {
        "command": "python -m benchmarks.starter",
        "skills": skills,
        "right": sum(found["right"] for found in skills.values()),
        "total": total,
        "rate": round(sum(found["right"] for found in skills.values()) / total, 4),
        "stop_rate": round(sum(stopped for _, stopped in answered) / total, 4),
        "mean_words": round(sum(len(answer.split()) for answer, _ in answered) / total, 2),
        "wrong": wrong,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=assets.path("starter"))
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    held_out = list(cases())
    answered = list(answers(options.model, [case.messages for case in held_out]))
    result = summary(held_out, answered)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for skill, found in result["skills"].items():
        new = f"{found['new_right']}/{found['new_total']}" if found["new_total"] else "-"
        sys.stdout.write(
            f"{skill:14} {found['right']:4}/{found['total']:<4} {found['rate']:.1%}   new phrasings {new}\n"
        )
    sys.stdout.write(f"{'all':14} {result['right']:4}/{result['total']:<4} {result['rate']:.1%}\n")
    sys.stdout.write(f"stops by itself {result['stop_rate']:.1%}, mean length {result['mean_words']} words\n")


if __name__ == "__main__":
    main()
