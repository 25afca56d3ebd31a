"""The estimate of families that the studio does not know, against what their code makes on fake tensors.

The form of a layer is read off the model: where it can say what a family does, the estimate is as near as
for a known one. GPT-J's rotation and GPT-BigCode's attention with one head of keys are taken for the nearest
that is known.
"""

from __future__ import annotations

import pytest

from studio.errors import StudioError
from studio.memory.estimate import estimate
from studio.models.config import surveyed_facts
from tests.memory.plans import METHODS, plan_of
from tests.models.surveyed import CONFIGS

BOUND = {"gptj": 0.03, "gpt_bigcode": 0.02}


def grid():
    """Every family with and without checkpointing, by methods that take turns at both; those with an
    activation of their own without 4 bit, which changes nothing there."""
    for row, name in enumerate(CONFIGS):
        for column, method in enumerate(METHODS):
            if name in ("bloom", "nemotron") and method in ("qlora", "qst"):
                continue
            settings = [{}, {"gradient_checkpointing": True, "precision": "mixed"}][(row + column) % 2]
            always = (name, method) in (
                ("olmo2", "lora"),
                ("phi", "full"),
                ("glm4", "qst"),
                ("qwen2_moe", "qlora"),
            )
            marks = () if always else pytest.mark.slow
            yield pytest.param(name, method, settings, marks=marks, id=f"{name}-{method}")


@pytest.mark.parametrize(("name", "method", "settings"), list(grid()))
def test_estimate_agrees_with_the_trace(name, method, settings):
    from studio.memory.trace import trace
    from studio.models.survey import survey

    config = CONFIGS[name]
    facts = surveyed_facts(config, survey(config))
    plan = plan_of(method, facts, **settings)
    traced = trace(plan, config, 0.5).allocated
    assert estimate(plan, facts, 0.5).allocated == pytest.approx(traced, rel=BOUND.get(name, 0.01))


def test_such_a_model_is_traced_in_a_process_of_its_own_for_a_gpu_too():
    from studio.memory.trace_apart import trace_apart
    from studio.models.survey import survey

    config = CONFIGS["olmo2"]
    facts = surveyed_facts(config, survey(config))
    plan = plan_of("qlora", facts, device="cuda:0")
    found = trace_apart(plan, config, 0.5, (9, 0))
    thought = estimate(plan, facts, 0.5, capability=(9, 0))
    assert found.allocated == pytest.approx(thought.allocated, rel=0.01)
    assert found.reserved == thought.reserved
    assert {row.module: row.parts for row in found.modules}["cublas"] == {"workspace": 2 * 32 * 2**20}
    with pytest.raises(StudioError) as refused:
        trace_apart(plan, {**config, "model_type": "novel"}, 0.5)
    assert refused.value.code == "architecture_unknown"
