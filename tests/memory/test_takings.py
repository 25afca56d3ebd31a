from dataclasses import replace

import pytest

from studio.memory.step import Step
from studio.memory.takings import WRITTEN, Takings
from studio.memory.tape import PARTS
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


def step_of(plan: Plan, facts: ModelFacts, layers: int, log: Takings | None = None) -> Step:
    method: Method = methods.get(plan.method)
    params = method.choose(plan.method_params, facts)[0] if method.choose else plan.method_params
    return Step(Workload(replace(plan, method_params=params), facts, 0.5), layers, log)


def written(plan: Plan, facts: ModelFacts, layers: int, least: int = 0) -> Takings:
    log = Takings(least)
    step_of(plan, facts, layers, log).run()
    return log


def peaks_of(plan: Plan, facts: ModelFacts, layers: int) -> dict[str, list[int]]:
    return step_of(plan, facts, layers).run()


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", sorted(methods.all()))
@pytest.mark.parametrize("model", MODELS)
def test_five_layers_repeated_are_all_of_them(model: str, method: str, checkpointing: bool):
    facts, plan = facts_of(model), planned(model, method, checkpointing)
    whole = written(plan, facts, facts.layers).flat()
    assert len(whole) > 1000
    assert written(plan, facts, WRITTEN).repeated(facts.layers) == whole


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", sorted(methods.all()))
@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_peaks_with_five_layers_are_those_of_all(device: str, method: str, checkpointing: bool):
    for model in MODELS[::2]:
        facts = facts_of(model)
        plan = planned(model, method, checkpointing, device=device, optimizer_impl="foreach")
        peaks, whole = peaks_of(plan, facts, WRITTEN), peaks_of(plan, facts, facts.layers)
        whole.pop("layers between", None)
        assert peaks == whole


def test_peaks_with_five_layers_follow_a_worst_moment_that_moves_with_depth():
    """Full tuning of a deep model with a large vocabulary: with few layers most lives at the head, with all
    of them once all gradients are there."""
    model = "hub:Qwen/Qwen2.5-0.5B-Instruct"
    facts, moments = facts_of(model), {}
    plan = planned(model, "full", True, precision="bf16", batch=1, seq=1024, optimizer_impl="fused")
    for layers in (6, facts.layers):
        shallow = replace(facts, layers=layers)
        peaks = peaks_of(plan, shallow, WRITTEN)["backward"]
        assert peaks == peaks_of(plan, shallow, layers)["backward"]
        moments[layers] = dict(zip(PARTS, peaks, strict=True))
    assert moments[6]["logits"] > 0 == moments[facts.layers]["logits"]


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
