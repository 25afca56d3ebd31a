"""The estimate of families that the studio does not know, against what their code makes on fake tensors.

The form of a layer is read off the model: where it can say what a family does, the estimate is as near as
for a known one. GPT-J's rotation, the gate beside Qwen 2's shared expert and GPT-BigCode's attention with one
head of keys are taken for the nearest that is known.
"""

from __future__ import annotations

import pytest

from studio.memory.estimate import estimate
from studio.models.config import surveyed_facts
from studio.models.families import FAMILIES
from tests.memory.plans import METHODS, plan_of
from tests.models.surveyed import CONFIGS, WHERE

BOUND = {"gptj": 0.035, "qwen2_moe": 0.035, "gpt_bigcode": 0.02}


def grid():
    """Every family with and without checkpointing, by methods that take turns at both."""
    for row, name in enumerate(CONFIGS):
        for column, method in enumerate(METHODS):
            settings = [{}, {"gradient_checkpointing": True, "precision": "mixed"}][(row + column) % 2]
            always = (name, method) in (("olmo2", "lora"), ("phi", "full"), ("glm4", "qst"))
            marks = () if always else pytest.mark.slow
            yield pytest.param(name, method, settings, marks=marks, id=f"{name}-{method}")


@pytest.mark.parametrize(("name", "method", "settings"), list(grid()))
def test_estimate_agrees_with_the_trace(name, method, settings, monkeypatch):
    from studio.memory.trace import trace
    from studio.models.survey import survey

    monkeypatch.setitem(FAMILIES, name, WHERE[name])
    config = CONFIGS[name]
    facts = surveyed_facts(config, survey(config))
    plan = plan_of(method, facts, **settings)
    traced = trace(plan, config, 0.5).allocated
    assert estimate(plan, facts, 0.5).allocated == pytest.approx(traced, rel=BOUND.get(name, 0.01))
