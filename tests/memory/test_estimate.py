"""The estimate's arithmetic against what the real code makes on fake tensors, and what it stands by."""

from __future__ import annotations

import pytest

from studio.memory.estimate import estimate
from studio.models.config import facts_of
from studio.models.families import FAMILIES
from studio.plan import methods
from tests.memory.families import CONFIGS
from tests.memory.plans import METHODS, plan_of

PRECISIONS = ("bf16", "mixed", "fp32")
IMPLEMENTATIONS = ("fused", "loop", "foreach")


def grid():
    """Every method on every model; precision, checkpointing and optimizer take turns, so that each family
    and each method meets each of them."""
    for row, name in enumerate(CONFIGS):
        for column, method in enumerate(METHODS):
            turn = row + column
            settings = {
                "precision": PRECISIONS[turn % 3],
                "gradient_checkpointing": bool((turn // 3 + column) % 2),
                "optimizer_impl": IMPLEMENTATIONS[(row + 2 * column) % 3],
            }
            slow = () if name == "llama" else pytest.mark.slow
            yield pytest.param(name, method, settings, marks=slow, id=f"{name}-{method}")


def compare(config, plan, learned=0.5):
    """The estimate over the trace, less one."""
    from studio.memory.trace import trace

    facts = facts_of(config)
    return estimate(plan, facts, learned).allocated / trace(plan, config, learned).allocated - 1


def test_grid_is_whole():
    assert {config["model_type"] for config in CONFIGS.values()} == set(FAMILIES)
    assert set(METHODS) == {method.id for method in methods.all()}


@pytest.mark.parametrize(("name", "method", "settings"), grid())
def test_estimate_agrees_with_the_trace(name, method, settings):
    config = CONFIGS[name]
    assert abs(compare(config, plan_of(method, facts_of(config), **settings))) <= 0.01
