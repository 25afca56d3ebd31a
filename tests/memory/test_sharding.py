from dataclasses import replace

import pytest

from studio.memory.estimate import estimate
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


def full(device="cuda:0"):
    set_ = {"batch": 2, "seq": 32, "lr": 1e-4, "steps": 1, "precision": "bf16", "device": device}
    return parse_request("path:x", "y", "full", set={**set_, "optimizer_impl": "fused"})


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
