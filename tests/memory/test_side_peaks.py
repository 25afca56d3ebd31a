"""The peaks that the methods' benchmark counted on the 0.5B shape, by the estimate: what makes a side network
take more is seen here, without taking those steps again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.methods import ENTRIES
from benchmarks.shapes import SHAPES
from studio.memory.estimate import estimate
from studio.models.config import facts_of
from tests.memory.plans import plan_of

COUNTED = json.loads(Path("benchmarks/results/methods-0.5b.json").read_text(encoding="utf-8"))


def peak(name: str) -> int:
    method, settings = ENTRIES[name]
    facts, sizes = facts_of(SHAPES["0.5b"]), {key: COUNTED[key] for key in ("batch", "seq")}
    return estimate(plan_of(method, facts, adapter_dtype="bf16", **sizes, **settings), facts, 0.5).allocated


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_the_estimate_is_what_was_counted(name: str) -> None:
    assert peak(name) == pytest.approx(COUNTED["methods"][name]["peak_bytes"], rel=0.005)


def test_qst_takes_half_of_qlora_and_hardly_more_than_its_checkpoints() -> None:
    assert peak("qst") <= peak("qlora") / 2
    assert peak("qst") <= 1.1 * peak("qlora, checkpointing")
