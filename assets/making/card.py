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


def card(result: dict[str, Any], training: list[dict[str, Any]], megabytes: float) -> str:
    """The text of the card."""
    rows = []
    for skill, found in result["skills"].items():
        new = f"{found['new_right']} of {found['new_total']}" if found["new_total"] else ""
        rows.append(f"| {skill} | {found['right']} of {found['total']} ({found['rate']:.0%}) | {new} |")
    last = [stage["log"][-1] for stage in training]
    wall = sum(end["seconds"] + stage["preparing_seconds"] for end, stage in zip(last, training, strict=True))
    return TEMPLATE.read_text(encoding="utf-8").format(
        parameters=training[0]["parameters"] / 1e6,
        megabytes=megabytes,
        vocabulary=2048,
        table="\n".join(rows),
        right=result["right"],
        total=result["total"],
        rate=result["rate"],
        stop_rate=result["stop_rate"],
        mean_words=result["mean_words"],
        seed=training[0]["seed"],
        torch=training[0]["torch"],
        threads=training[0]["threads"],
        steps=sum(end["step"] for end in last),
        tokens=sum(end["tokens"] for end in last) / 1e6,
        cpu_minutes=sum(stage["cpu_seconds"] for stage in training) / 60,
        wall_minutes=wall / 60,
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
