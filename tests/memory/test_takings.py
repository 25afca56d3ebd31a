from dataclasses import replace

import pytest

from studio.memory.step import Step
from studio.memory.takings import WRITTEN, Takings
from studio.memory.workload import Workload
from studio.methods import Method
from studio.models import catalogue
from studio.models.config import ModelFacts
from studio.plan import Plan, methods, parse_request

MODELS = (
    "hub:Qwen/Qwen2.5-0.5B-Instruct",
    "hub:google/gemma-2-2b-it",
    "hub:mistralai/Mixtral-8x7B-Instruct-v0.1",
)


def facts_of(model: str) -> ModelFacts:
    entry = catalogue.find(model)
    assert entry is not None
    return entry.facts


def planned(model: str, method: str, checkpointing: bool = False, **own: object) -> Plan:
    settings = {
        "device": "cuda:0",
        "precision": "mixed",
        "gradient_checkpointing": checkpointing,
        "adapter_dtype": "fp32",
        "attention": "sdpa",
        "batch": 2,
        "seq": 512,
        **own,
    }
    return parse_request(model, "", method, set=settings)


def written(plan: Plan, facts: ModelFacts, layers: int, least: int = 0) -> Takings:
    method: Method = methods.get(plan.method)
    log = Takings(least)
    params = method.choose(plan.method_params, facts)[0] if method.choose else plan.method_params
    plan = replace(plan, method_params=params)
    Step(Workload(plan, facts, 0.5), layers, log).run()
    return log


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", sorted(methods.all()))
@pytest.mark.parametrize("model", MODELS)
def test_five_layers_repeated_are_all_of_them(model: str, method: str, checkpointing: bool):
    facts, plan = facts_of(model), planned(model, method, checkpointing)
    whole = written(plan, facts, facts.layers).flat()
    assert len(whole) > 1000
    assert written(plan, facts, WRITTEN).repeated(facts.layers) == whole


def test_small_storages_are_passed_over():
    facts, plan = facts_of(MODELS[0]), planned(MODELS[0], "lora")
    sizes = [entry for entry in written(plan, facts, facts.layers).flat() if entry >= 2**20]
    found = written(plan, facts, WRITTEN, least=2**20).repeated(facts.layers)
    assert found is not None
    assert [entry for entry in found if entry >= 0] == sizes
    assert {~entry for entry in found if entry < 0} <= set(range(len(sizes)))


def test_what_is_freed_was_made_and_lives():
    facts, plan = facts_of(MODELS[1]), planned(MODELS[1], "qlora", checkpointing=True)
    entries = written(plan, facts, WRITTEN).repeated(facts.layers)
    assert entries is not None
    alive: set[int] = set()
    made = 0
    for entry in entries:
        if entry >= 0:
            alive.add(made)
            made += 1
        else:
            alive.remove(~entry)


def test_layers_that_differ_are_not_repeated():
    facts, plan = facts_of(MODELS[0]), planned(MODELS[0], "full", freeze_layers=3)
    assert written(plan, facts, WRITTEN).repeated(facts.layers) is None
