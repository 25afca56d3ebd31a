"""Model types whose program came with their weights, or that have an older name: their published counts, as
their own config.json files say their sizes."""

from __future__ import annotations

import json

import pytest

from studio import estimate
from studio.errors import StudioError
from studio.memory.trace import trace
from studio.models.config import facts_of, to_survey
from studio.models.counts import COUNTED
from studio.models.other_words import ARCHITECTURES, OTHER_WORDS
from tests.memory.plans import plan_of

_BAICHUAN = {
    "model_type": "baichuan",
    "vocab_size": 64000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
_BAICHUAN_13B = {
    "vocab_size": 125696,
    "hidden_size": 5120,
    "intermediate_size": 13696,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "model_max_length": 4096,
    "tie_word_embeddings": False,
    "model_type": "baichuan",
}
_CHATGLM = {
    "model_type": "chatglm",
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "ffn_hidden_size": 13696,
    "hidden_size": 4096,
    "kv_channels": 128,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "num_attention_heads": 32,
    "num_layers": 28,
    "padded_vocab_size": 65024,
    "post_layer_norm": True,
    "rmsnorm": True,
    "seq_length": 8192,
    "tie_word_embeddings": False,
}
_QWEN = {
    "model_type": "qwen",
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "kv_channels": 128,
    "no_bias": True,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "seq_length": 8192,
    "tie_word_embeddings": False,
    "vocab_size": 151936,
}
_INTERNLM = {
    "model_type": "internlm2",
    "bias": False,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
    "vocab_size": 92544,
}
_FALCON = {
    "model_type": "RefinedWebModel",
    "alibi": False,
    "bias": False,
    "hidden_size": 4544,
    "multi_query": True,
    "n_head": 71,
    "n_layer": 32,
    "parallel_attn": True,
    "vocab_size": 65024,
}
# Weights as published, in billions, with as many places.
PUBLISHED = [
    ("Qwen-7B", _QWEN, 7.721, 8192),
    ("Baichuan-7B", _BAICHUAN, 7.001, 4096),
    ("Baichuan2-13B", _BAICHUAN_13B, 13.897, 4096),
    ("InternLM2-7B", _INTERNLM, 7.738, 32768),
    ("ChatGLM3-6B", _CHATGLM, 6.244, 8192),
    ("GLM-4-9B", _CHATGLM | {"num_layers": 40, "padded_vocab_size": 151552}, 9.400, 8192),
    ("Falcon-7B", _FALCON, 6.922, 2048),
    (
        "Falcon-40B",
        _FALCON
        | {"model_type": "RefinedWeb", "hidden_size": 8192, "n_head": 128, "n_head_kv": 8, "n_layer": 60},
        41.303,
        2048,
    ),
]


@pytest.mark.parametrize(
    ("config", "billions", "context"), [p[1:] for p in PUBLISHED], ids=[p[0] for p in PUBLISHED]
)
def test_the_published_count(config, billions, context):
    facts = facts_of(config)
    assert round(facts.parameters / 1e9, 3) == billions
    assert facts.context == context
    assert not to_survey(config)
    alike = [note.facts["like"] for note in facts.notes if note.code == "layers_alike"]
    assert bool(alike) == OTHER_WORDS[config["model_type"]].own
    assert facts.notes[-1].code == "estimated_only"


def test_heads_and_width_of_chatglm():
    facts = facts_of(_CHATGLM)
    assert (facts.heads, facts.kv_heads, facts.head_dim, facts.intermediate) == (32, 2, 128, 13696)
    assert facts_of(_CHATGLM | {"multi_query_attention": False}).kv_heads == 32


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ({k: v for k, v in _CHATGLM.items() if k != "ffn_hidden_size"}, ["intermediate_size"]),
        ({k: v for k, v in _BAICHUAN.items() if k != "vocab_size"}, ["vocab_size"]),
        # Of the same type, but other layers: nothing is made up for them.
        ({"model_type": "chatglm", "hidden_size": 4096, "num_layers": 28}, None),
        (_CHATGLM | {"rmsnorm": False}, None),
        (_QWEN | {"model_type": "qwen", "no_bias": False, "vocab_size": None}, None),
    ],
)
def test_sizes_of_such_a_model_are_not_made_up(config, missing):
    with pytest.raises(StudioError) as caught:
        facts_of(config)
    assert caught.value.code == "model_config_incomplete"
    assert caught.value.facts["model_type"] == config["model_type"]
    if missing:
        assert caught.value.facts["missing"] == missing


@pytest.mark.parametrize("field", ["intermediate_size", "num_attention_heads"])
def test_a_size_in_quotes_is_named_as_the_file_names_it(field):
    with pytest.raises(StudioError) as caught:
        facts_of(_QWEN | {field: "32"})
    assert (caught.value.code, caught.value.facts["field"]) == ("model_config_size", field)


def test_the_estimate_says_so(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(_BAICHUAN))
    assert {"layers_alike", "estimated_only"} <= set(estimate(str(file), batch=1, seq=64).reasons)


def test_it_is_traced_as_what_it_is_estimated_as():
    small = _CHATGLM | {"num_layers": 2, "padded_vocab_size": 640, "auto_map": {"AutoModel": "evil.Model"}}
    plan = plan_of("full", facts_of(small), precision="fp32", batch=1, seq=16)
    found = trace(plan, small, 1.0)
    angles = 2 * 4 * 64  # of the rotation, kept with the weights
    assert found.parts["weights"] == 4 * facts_of(small).parameters + angles


def test_every_known_family_is_found_by_its_class():
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES

    assert {CLASSES[kind]: kind for kind in COUNTED} == ARCHITECTURES
    for config in (
        _BAICHUAN | {"model_type": None},
        {k: v for k, v in _BAICHUAN.items() if k != "model_type"},
    ):
        assert facts_of(config | {"architectures": ["LlamaForCausalLM"]}).model_type == "llama"
