"""The probe: one real step, measured; against what its tensors must weigh."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from studio.errors import Reason
from studio.memory.estimate import estimate
from studio.memory.key import memory_key
from studio.memory.probe import measure, probe
from studio.models.config import read_config
from studio.plan import Plan, methods, parse_request

STARTER = Path("assets/starter")
MIB = 2**20


def starter_plan(method: str = "lora", **settings: object) -> Plan:
    base = {"batch": 4, "seq": 64, "precision": "fp32", "adapter_dtype": "fp32", "lr": 0.001, "device": "cpu"}
    return parse_request("starter", "pirate", method, set={**base, "optimizer_impl": "loop", **settings})


def test_the_parts_of_a_probe_are_those_of_the_estimate() -> None:
    plan, facts = starter_plan(), read_config(STARTER)
    probed, thought = probe(plan, STARTER, "cpu", 0.5), estimate(plan, facts, 0.5)
    assert (probed.source, probed.moment) == ("probe", "backward")
    assert facts.parameters is not None
    # Beside the weights there are the rotation's frequencies.
    assert probed.parts["weights"] == pytest.approx(4 * facts.parameters, rel=1e-3)
    trained = methods.get("lora").memory(facts, plan.method_params, plan.settings).trainable_params
    assert probed.parts["adapter"] == 4 * trained
    assert probed.parts["optimizer"] == pytest.approx(2 * 4 * trained, rel=0.01)
    assert probed.allocated == pytest.approx(thought.allocated, rel=0.03)
    assert probed.reserved[0] == probed.reserved[1] > probed.allocated
    assert 50 * 2**20 < probed.parts["context"] < probed.reserved[0]


@pytest.mark.parametrize("method", sorted(methods.all()))
def test_every_method_can_be_probed(method: str) -> None:
    plan = starter_plan(method)
    probed = measure(plan, STARTER, "cpu", 0.5)
    assert probed.need.allocated == pytest.approx(
        estimate(plan, read_config(STARTER), 0.5).allocated, rel=0.1
    )
    assert probed.measured.parts["weights"] == probed.need.parts["weights"]
    assert probed.measured.reserved is None
    assert (probed.spent.steps, probed.spent.tokens) == (1, 4 * 64)
    assert 0 < probed.spent.seconds < 60


def test_plans_that_need_the_same_share_a_key() -> None:
    facts = read_config(STARTER)
    key = memory_key(starter_plan(), facts, 0.5)
    assert memory_key(starter_plan(lr=0.1, steps=7, seed=3), facts, 0.5) == key
    for other in ({"batch": 5}, {"rank": 4}, {"accumulation": 2}, {"gradient_checkpointing": True}):
        assert memory_key(starter_plan(**other), facts, 0.5) != key
    assert memory_key(starter_plan("lst"), facts, 0.5) != key
    assert memory_key(starter_plan(), facts, 0.6) != key
    assert memory_key(starter_plan(), replace(facts, notes=(Reason("estimated_only"),)), 0.5) == key
