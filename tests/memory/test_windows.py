"""Sliding windows: the masks that they take, against the trace, and whose layers have them."""

from __future__ import annotations

import pytest

from studio.memory.estimate import estimate
from studio.memory.trace import trace
from studio.models.config import facts_of
from studio.models.windows import window_of
from tests.memory.families import CONFIGS
from tests.memory.plans import plan_of

LONG = {"max_position_embeddings": 4096, "sliding_window": 512}
SOME_LAYERS = {"use_sliding_window": True, "max_window_layers": 3}


def case(name, checkpointing, *marks, method="lora", **rest):
    return pytest.param(name, checkpointing, method, rest, marks=marks)


@pytest.mark.parametrize(
    ("name", "checkpointing", "method", "rest"),
    [
        case("mistral", False),
        case("gemma3_text", False, device="cuda:0"),
        case("mistral", False, pytest.mark.slow, attention="flash"),
        case("mistral", False, pytest.mark.slow, precision="mixed", method="full", device="cuda:0"),
        case("mistral", True, pytest.mark.slow, batch=2),
        case("gemma3_text", True, pytest.mark.slow),
        case("gemma2", False, pytest.mark.slow, device="cuda:0"),
        case("gemma2", True, pytest.mark.slow),
        case("gemma2", False, pytest.mark.slow, method="qst"),
        case("phi3", False, pytest.mark.slow, device="cuda:0"),
        case("phi3", True, pytest.mark.slow),
        case("qwen2", False, pytest.mark.slow),
    ],
)
def test_rows_longer_than_a_window_agree_with_the_trace(name, checkpointing, method, rest):
    config = CONFIGS[name] | LONG | (SOME_LAYERS if name == "qwen2" else {})
    facts = facts_of(config)
    settings = {"batch": 1, "seq": 2048, "gradient_checkpointing": checkpointing, **rest}
    plan = plan_of(method, facts, **settings)
    assert abs(estimate(plan, facts, 0.5).allocated / trace(plan, config, 0.5).allocated - 1) <= 0.01


def test_each_layer_keeps_a_mask_from_the_length_of_its_window_on():
    """With a key for each head, so that nothing else is made for a mask."""
    config = CONFIGS["mistral"] | {"num_key_value_heads": 8}
    beyond, at = (
        facts_of(config | {"sliding_window": window, "max_position_embeddings": 1024})
        for window in (513, 512)
    )
    plan = plan_of("lora", at, batch=3, seq=512)
    masks = 6 * 3 * 512**2 * 2
    assert estimate(plan, at, 0.5).allocated - estimate(plan, beyond, 0.5).allocated == masks


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("mistral", {}),
        ("mistral", {"sliding_window": None}),
        ("mixtral", {}),
        ("phi3", {"sliding_window": 2047}),
        ("gemma2", {}),
        ("gemma3_text", {"sliding_window_pattern": 2}),
        ("gemma3_text", {"layer_types": ["full_attention", *["sliding_attention"] * 5]}),
        ("qwen2", {}),
        ("qwen2", SOME_LAYERS),
        ("qwen3", SOME_LAYERS | {"sliding_window": 256}),
        ("llama", {"sliding_window": 128}),
    ],
)
def test_windows_are_those_that_transformers_reads(name, more):
    from transformers import AutoConfig

    config = CONFIGS[name] | more
    given = {key: value for key, value in config.items() if key != "model_type"}
    theirs = AutoConfig.for_model(config["model_type"], **given)
    kinds = getattr(theirs, "layer_types", None) or ["sliding_attention"] * theirs.num_hidden_layers
    size = None if name == "llama" else theirs.sliding_window
    facts = facts_of(config)
    found = [window_of(facts, number) for number in range(facts.layers)]
    assert found == [size if kind == "sliding_attention" else None for kind in kinds]
