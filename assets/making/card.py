"""Writes the starter's model card from the record of its training and the results of its benchmark.

`python -m assets.making.card`, after `python -m benchmarks.starter`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import assets

RESULT = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "starter.json"
TEMPLATE = Path(__file__).with_name("card.md")


def card(result: dict[str, Any], training: dict[str, Any], megabytes: float) -> str:
    """The text of the card."""
    rows = []
    for skill, found in result["skills"].items():
        new = f"{found['new_right']} of {found['new_total']}" if found["new_total"] else ""
        rows.append(f"| {skill} | {found['right']} of {found['total']} ({found['rate']:.0%}) | {new} |")
    last = training["log"][-1]
    cpu, wall = last["cpu_seconds"], last["seconds"] + training["preparing_seconds"]
    return TEMPLATE.read_text(encoding="utf-8").format(
        parameters=training["parameters"] / 1e6,
        megabytes=megabytes,
        vocabulary=2048,
        table="\n".join(rows),
        right=result["right"],
        total=result["total"],
        rate=result["rate"],
        stop_rate=result["stop_rate"],
        mean_words=result["mean_words"],
        seed=training["seed"],
        torch=training["torch"],
        threads=training["threads"],
        steps=last["step"],
        tokens=last["tokens"] / 1e6,
        cpu_minutes=cpu / 60,
        shared=f" ({wall / 60:.0f} minutes by the clock, beside other work)",
    )


def main() -> None:
    """Write the card."""
    folder = assets.path("starter")
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    text = card(result, training, (folder / "model.safetensors").stat().st_size / 1e6)
    (folder / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
