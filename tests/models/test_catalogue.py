"""The proposed models: what is stated of each agrees with its architecture."""

import json

import assets
from studio.models.catalogue import entries, find
from studio.models.config import facts_of
from studio.names import parse

BODIES = json.loads(assets.path("catalogue.json").read_text())


def test_stated_parameters_follow_from_the_architecture():
    for body in BODIES:
        if body["config"] is not None:
            assert facts_of(body["config"]).parameters == body["parameters"], body["name"]


def test_there_is_enough_to_choose_from():
    assert BODIES[0]["name"] == "starter"
    open_ones = [b for b in BODIES[1:] if not b["gated"]]
    assert len(open_ones) >= 5
    assert all(b["licence"] == "apache-2.0" and b["parameters"] < 2e9 for b in open_ones)
    assert any(b["gated"] for b in BODIES)


def test_names_are_canonical_and_summaries_short():
    for body in BODIES:
        assert str(parse(body["name"])) == body["name"]
        assert len(body["summary"]) <= 110
        assert body["summary"].endswith(".")


def test_entries_are_found_by_name_whatever_the_revision():
    entry = find("hub:Qwen/Qwen3-0.6B@main")
    assert entry is not None
    assert entry.facts.parameters == 596_049_920
    assert entry.facts.head_dim == 128
    assert entry.size_bytes == 2 * 596_049_920
    assert find("hub:Qwen/Unknown") is None


def test_starter_says_itself_what_it_is():
    starter = entries()[0]
    weights = sum(f.stat().st_size for f in assets.path("starter").glob("*.safetensors"))
    assert 0 < starter.size_bytes == weights <= 12_000_000
    assert starter.facts.parameters == weights_numbers()


def weights_numbers():
    from safetensors import safe_open

    total = 0
    for file in assets.path("starter").glob("*.safetensors"):
        with safe_open(file, "np") as tensors:
            for name in tensors.keys():  # noqa: SIM118
                shape = tensors.get_slice(name).get_shape()
                size = 1
                for side in shape:
                    size *= side
                total += size
    return total
