from dataclasses import replace

import pytest

from studio.memory.cards import context_bytes
from studio.memory.estimate import estimate
from studio.models import catalogue
from studio.models.config import facts_of
from studio.plan import parse_request

LLAMA = facts_of(
    {
        "model_type": "llama",
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "vocab_size": 1000,
        "tie_word_embeddings": False,
    }
)
LAYER = 4 * 64 * 64 + 3 * 64 * 128  # weights of a layer's matrices
TABLES = 2 * 1000 * 64


def planned(method, **settings):
    set_ = {"batch": 2, "seq": 32, "lr": 1e-4, "steps": 1, "precision": "bf16", "device": "cuda:0"}
    return parse_request("path:x", "y", method, set={**set_, "optimizer_impl": "fused", **settings})


def full(**settings):
    return planned("full", **settings)


def gathered(plan, facts):
    """What of the workspace is there because weights are whole for a while."""
    alone, each = (estimate(plan, facts, 0.5, devices=n, sharding="fsdp").parts["workspace"] for n in (1, 8))
    return each - alone


def test_one_device_is_as_without():
    assert estimate(full(), LLAMA, 0.5, devices=1).parts == estimate(full(), LLAMA, 0.5).parts


def test_copies_exchange_gradients_in_buckets_of_their_size():
    alone, each = estimate(full(), LLAMA, 0.5).parts, estimate(full(), LLAMA, 0.5, devices=4).parts
    more = {name: each[name] - alone.get(name, 0) for name in each if each[name] != alone.get(name, 0)}
    norms = 13 * 64
    assert more == {"gradients": 2 * (6 * LAYER + TABLES + norms)}


def test_shards_split_what_lasts_and_gather_two_layers_and_the_tables():
    alone, each = (
        estimate(full(), LLAMA, 0.5).parts,
        estimate(full(), LLAMA, 0.5, devices=4, sharding="fsdp").parts,
    )
    assert each["weights"] == pytest.approx(alone["weights"] / 4, abs=1)
    assert each["optimizer"] == pytest.approx(alone["optimizer"] / 4, abs=1)
    norms = 13 * 64
    trained = 6 * LAYER + TABLES + norms
    gathered = 2 * 2 * LAYER + 2 * (TABLES + norms) + 2 * trained // 6
    assert each["workspace"] - alone.get("workspace", 0) == pytest.approx(gathered, rel=0.01)


def test_more_devices_take_less_each():
    large = replace(LLAMA, layers=60, parameters=60 * LAYER + TABLES)
    sizes = [estimate(full(), large, 0.5, devices=n, sharding="fsdp").reserved[1] for n in (1, 2, 4, 8)]
    assert sizes == sorted(sizes, reverse=True)


def test_experts_are_gathered_with_their_layer_and_not_all_at_once():
    """Mixtral's own sizes: eight experts of three matrices in each layer (arXiv 2401.04088)."""
    entry = catalogue.find("hub:mistralai/Mixtral-8x7B-Instruct-v0.1")
    attention = 2 * 4096 * 4096 + 2 * 4096 * 1024
    layer = attention + 8 * 3 * 4096 * 14336 + 8 * 4096 + 2 * 4096
    assert gathered(planned("lora"), entry.facts) == pytest.approx(
        2 * (2 * layer + 2 * 32000 * 4096), rel=0.01
    )
    plan = planned("lora")
    alone, each = (estimate(plan, entry.facts, 0.5, devices=n, sharding="fsdp").allocated for n in (1, 8))
    assert each < alone / 4


def test_layers_in_4_bit_are_gathered_in_4_bit():
    large = replace(LLAMA, layers=60, parameters=60 * (LAYER + 128) + TABLES + 64)
    in_4_bit = LAYER * (4 + 8 / 64 + 32 / (64 * 256)) / 8
    trained = 60 * 2 * 8 * (4 * (64 + 64) + 3 * (64 + 128))  # rank 8 beside each matrix
    expected = 2 * (in_4_bit + 2 * 128) + 2 * (TABLES + 64) + trained / 60
    assert gathered(planned("qlora", rank=8), large) == pytest.approx(expected, rel=0.01)


def test_scratch_of_the_optimizer_is_split_and_nothing_gathered_for_it():
    """On one device most lives while all weights are stepped at once, on many while a layer computes."""
    plan = full(optimizer_impl="foreach", batch=1, seq=16)
    large = replace(LLAMA, layers=60, parameters=60 * (LAYER + 128) + TABLES + 64)
    alone = estimate(plan, large, 0.5)
    two, many = (estimate(plan, large, 0.5, devices=n, sharding="fsdp") for n in (2, 64))
    assert alone.moment == two.moment == "optimizer step" != many.moment
    blas = 2 * (2 * 4096 * 1024 + 8 * 16 * 1024)
    assert alone.parts["workspace"] - blas == pytest.approx(2 * large.parameters, abs=64)
    assert two.parts["workspace"] - blas == pytest.approx(large.parameters, abs=64)
    passes = estimate(full(optimizer_impl="fused", batch=1, seq=16), large, 0.5, devices=64, sharding="fsdp")
    assert many.parts == passes.parts


@pytest.mark.parametrize("devices", [1, 8])
def test_a_run_never_takes_less_than_its_tensors(devices):
    for name in ("hub:mistralai/Mixtral-8x7B-Instruct-v0.1", "hub:Qwen/Qwen2.5-0.5B-Instruct"):
        entry = catalogue.find(name)
        for method in ("lora", "qlora", "lst"):
            need = estimate(planned(method), entry.facts, 0.5, devices=devices, sharding="fsdp")
            assert need.allocated < need.reserved[0] < need.reserved[1]


LAYERS = 32
LARGE = facts_of(
    {
        "model_type": "llama",
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 16,
        "vocab_size": 32_000,
        "tie_word_embeddings": False,
    }
)
LARGE_LAYER = 4 * 1024 * 1024 + 3 * 1024 * 3072 + 2 * 1024
LARGE_TABLES = 2 * 32_000 * 1024 + 1024


def mixed(method="full", **settings):
    return planned(method, precision="mixed", **settings)


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_mixed_numbers_take_less_with_each_device(method, checkpointing):
    plan = mixed(method, gradient_checkpointing=checkpointing)
    needs = [estimate(plan, LARGE, 0.5, devices=n, sharding="fsdp") for n in (2, 4, 8, 64, 512)]
    for found in ([need.allocated for need in needs], [need.reserved[1] for need in needs]):
        assert found == sorted(found, reverse=True)


def test_mixed_numbers_end_with_what_computes_and_layers_in_16_bit():
    """Of nearly endless devices each holds what a row needs, two layers, the tables, and a layer's
    gradients: no 16-bit copy of all weights."""
    many = estimate(mixed(gradient_checkpointing=True), LARGE, 0.5, devices=10**6, sharding="fsdp")
    whole = 2 * (2 * LARGE_LAYER + LARGE_TABLES) + 2 * (LAYERS * LARGE_LAYER + LARGE_TABLES) // LAYERS
    in_16_bit = estimate(full(gradient_checkpointing=True), LARGE, 0.5, devices=10**6, sharding="fsdp")
    assert whole < many.allocated < 1.1 * in_16_bit.allocated
    assert many.allocated - whole < 2 * LAYERS * LARGE_LAYER / 2


def test_mixed_numbers_are_kept_in_32_bit():
    each = estimate(mixed(), LARGE, 0.5, devices=4, sharding="fsdp").parts
    assert each["weights"] == pytest.approx(LARGE.parameters, rel=0.001)
    assert each["optimizer"] == pytest.approx(2 * LARGE.parameters, rel=0.001)
    assert each["gradients"] == pytest.approx(LARGE.parameters, rel=0.1)


@pytest.mark.parametrize("precision", ["mixed", "bf16"])
@pytest.mark.parametrize("devices", [2, 8, 64])
def test_shards_are_played_back_as_they_are(precision, devices):
    """Nothing of a single device's largest moment is in what each of several takes."""
    plan = full(precision=precision, gradient_checkpointing=True, seq=512)
    need = estimate(plan, LARGE, 0.5, devices=devices, sharding="fsdp")
    low, high = (taken - beside for taken, beside in zip(need.reserved, context_bytes("cuda"), strict=True))
    assert need.allocated <= low < 1.2 * need.allocated
    assert high < 1.5 * need.allocated
