"""The proposed models: what is stated of each agrees with its architecture."""

import json

import pytest

import assets
from studio.models.catalogue import entries, find
from studio.models.config import facts_of
from studio.models.folder import check_causal
from studio.names import parse

BODIES = json.loads(assets.path("catalogue.json").read_text())


# Parameters as published: the hub's count of the weight files, less what they repeat or hold beside weights.
# Typed from there, not from the catalogue.
PUBLISHED = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "google/gemma-3-270m-it": 268_098_176,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361_821_120,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "google/gemma-3-1b-it": 999_885_952,
    "TinyLlama/TinyLlama-1.1B-Chat-v1.0": 1_100_048_384,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "tiiuae/Falcon3-1B-Instruct": 1_669_408_768,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "ibm-granite/granite-3.3-2b-instruct": 2_533_539_840,
    "google/gemma-2-2b-it": 2_614_341_888,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "microsoft/Phi-3.5-mini-instruct": 3_821_079_552,
    "microsoft/Phi-4-mini-instruct": 3_836_021_760,
    "Qwen/Qwen3-4B-Instruct-2507": 4_022_468_096,
    "google/gemma-3-4b-it": 4_300_079_472,
    "meta-llama/Llama-2-7b-chat-hf": 6_738_415_616,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "CohereLabs/aya-expanse-8b": 8_028_033_024,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "ibm-granite/granite-3.3-8b-instruct": 8_170_864_640,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "google/gemma-2-9b-it": 9_241_705_984,
    "google/gemma-3-12b-it": 12_187_325_040,
    "mistralai/Mistral-Nemo-Instruct-2407": 12_247_782_400,
    "microsoft/phi-4": 14_659_507_200,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen2.5-14B-Instruct": 14_770_033_664,
    "mistralai/Mistral-Small-24B-Instruct-2501": 23_572_403_200,
    "google/gemma-3-27b-it": 27_432_406_640,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "Qwen/Qwen2.5-32B-Instruct": 32_763_876_352,
    "mistralai/Mixtral-8x7B-Instruct-v0.1": 46_702_792_704,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
}
# Not proposed (no chat template, or weights as pickles only), yet the sizes of their families are known.
OTHERS = {
    "openai-community/gpt2": ({"model_type": "gpt2"}, 124_439_808),
    "facebook/opt-125m": ({"model_type": "opt"}, 125_239_296),
    "facebook/opt-350m": (
        {
            "model_type": "opt",
            "hidden_size": 1024,
            "ffn_dim": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "word_embed_proj_dim": 512,
            "do_layer_norm_before": False,
        },
        331_196_416,
    ),
    "EleutherAI/pythia-160m": (
        {
            "model_type": "gpt_neox",
            "vocab_size": 50304,
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
        },
        162_322_944,
    ),
    "tiiuae/falcon-7b": ({"model_type": "falcon"}, 6_921_720_704),
}
OFFERED = {body["name"].removeprefix("hub:"): body for body in BODIES if body["config"] is not None}


def test_parameters_are_the_published_ones():
    assert {name: body["parameters"] for name, body in OFFERED.items()} == PUBLISHED


@pytest.mark.parametrize("name", [n for n, b in OFFERED.items() if "vision_config" not in b["config"]])
def test_published_parameters_follow_from_the_architecture(name):
    assert facts_of(OFFERED[name]["config"]).parameters == PUBLISHED[name]


@pytest.mark.parametrize("name", OTHERS)
def test_published_parameters_of_models_that_are_not_proposed(name):
    config, published = OTHERS[name]
    assert facts_of(config).parameters == published


def built(config):
    """The model of a configuration, without memory for its weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    rest = {k: v for k, v in config.items() if k not in ("model_type", "architectures")}
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(config["model_type"], **rest))


@pytest.mark.parametrize("name", [n for n, b in OFFERED.items() if "vision_config" in b["config"]])
def test_text_tower_is_what_the_published_count_holds_beside_the_pictures(name):
    model = built(OFFERED[name]["config"])
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[name]
    pictures = sum(p.numel() for n, p in model.named_parameters() if "language_model" not in n)
    assert facts_of(OFFERED[name]["config"]).parameters == PUBLISHED[name] - pictures


@pytest.mark.parametrize("name", OFFERED)
def test_transformers_builds_what_is_proposed(name):
    model = built(OFFERED[name]["config"])
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[name]
    assert model.config.get_text_config().max_position_embeddings == facts_of(OFFERED[name]["config"]).context


def test_every_proposed_model_can_be_tuned():
    for name, body in OFFERED.items():
        check_causal(body["config"], name)


def test_there_is_enough_to_choose_from():
    assert 30 <= len(OFFERED) <= 40
    sizes = [body["parameters"] for body in OFFERED.values()]
    assert sizes == sorted(sizes)
    assert BODIES[0]["name"] == "starter"
    assert sizes[0] < 0.2e9
    assert sizes[-1] > 70e9
    assert len({body["config"]["model_type"] for body in OFFERED.values()}) >= 9
    free = [b for b in OFFERED.values() if not b["gated"] and b["licence"] in ("apache-2.0", "mit")]
    assert len(free) >= 20
    assert len([b for b in free if b["parameters"] < 2e9]) >= 6


def test_download_counts_a_weight_that_the_files_repeat():
    entry = find("hub:Qwen/Qwen3-1.7B")
    assert entry is not None
    head = 151936 * 2048
    assert entry.facts.parameters == 1_720_574_976
    assert entry.size_bytes == 2 * (1_720_574_976 + head) == 4_063_479_808


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
