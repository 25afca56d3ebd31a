"""What a survey finds of a family that is not known, against the model that transformers builds."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from studio.errors import StudioError
from studio.models.config import facts_of, surveyed_facts
from studio.models.counts import COUNTED
from studio.models.families import Family
from studio.models.forms import form_of, linears
from studio.models.quantisation import Quantisation, quantised_bytes
from studio.models.survey import found_family, survey
from studio.models.surveyed import Survey
from studio.models.weights import weights_of
from tests.memory.families import CONFIGS as KNOWN
from tests.models.surveyed import CONFIGS

# Where they keep their parts, read by eye in transformers' sources.
_GPT = Family("transformer", "wte", "h", "ln_f")
WHERE = {name: Family() for name in CONFIGS} | {
    "phi": Family(norm="final_layernorm"),
    "gpt_bigcode": _GPT,
    "gptj": _GPT,
    "bloom": Family("transformer", "word_embeddings", "h", "ln_f"),
}


def built(config):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))


@pytest.mark.parametrize("name", CONFIGS)
def test_sizes_and_shapes_are_those_of_the_model(name):
    config = CONFIGS[name]
    assert name not in COUNTED
    facts, model = surveyed_facts(config, survey(config)), built(config)
    assert facts.parameters == sum(p.numel() for p in model.parameters())
    found = weights_of(facts)
    assert found.parameters == facts.parameters
    shapes = found.embeddings + found.head + found.around + found.layer * found.layers
    assert Counter(shapes) == Counter(tuple(p.shape) for p in model.parameters())
    own = model.config
    assert (facts.hidden, facts.layers) == (own.hidden_size, own.num_hidden_layers)
    assert (facts.heads, facts.vocab) == (own.num_attention_heads, own.vocab_size)
    context = getattr(own, "max_position_embeddings", None)
    assert (facts.context, facts.tied) == (context, own.tie_word_embeddings)
    assert found_family(model) == WHERE[name]
    layer = model.get_submodule(f"{WHERE[name].decoder}.{WHERE[name].layers}")[0]
    expected = [
        (path.rpartition(".")[2], module.in_features, module.out_features)
        for path, module in layer.named_modules()
        if isinstance(module, nn.Linear)
    ]
    assert Counter(linears(facts)) == Counter(expected)
    in_4_bit = sum(inputs * outputs for _, inputs, outputs in expected) * facts.layers
    saved = 2 * facts.parameters - quantised_bytes(facts, facts.parameters, Quantisation("nf4", False), 2)
    assert saved == in_4_bit * (2 - 4.5 / 8)


# Of the known families those whose code does nothing that a survey can't see.
SEEN = ("llama", "mistral", "qwen2", "qwen3", "phi3-partial", "cohere", "cohere-normed")


@pytest.mark.parametrize("name", SEEN)
def test_a_known_family_would_be_found_as_it_is_known(name):
    config = KNOWN[name]
    found = surveyed_facts(config, survey(config))
    known = facts_of(config)
    assert form_of(found) == form_of(known)
    assert linears(found) == linears(known)
    assert Counter(weights_of(found).layer) == Counter(weights_of(known).layer)
    assert (found.kv_heads, found.head_dim) == (known.kv_heads, known.head_dim)
    assert (found.intermediate, found.parameters) == (known.intermediate, known.parameters)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("olmo2", {"norm": "wide", "bare": True, "sandwich": True, "parallel": False}),
        ("glm4", {"norm": "rms", "mlp": "fused", "sandwich": True, "bare": False, "turned": 0.5}),
        ("phi", {"norm": "layer", "mlp": "plain", "parallel": True, "one_norm": True}),
        ("qwen2_moe", {"mlp": "experts", "shared_expert": 1024}),
        ("gpt_bigcode", {"fused_qkv": "slices", "positions": 0, "rope": False, "dropped": True}),
        ("gptj", {"parallel": True, "eager": True, "rope": True, "activation": "gelu_new"}),
        ("starcoder2", {"norm": "layer", "mlp": "plain", "activation": "kernel"}),
        ("cohere2", {"norm": "cohere", "parallel": True, "one_norm": True}),
    ],
)
def test_how_a_layer_computes(name, expected):
    form = survey(CONFIGS[name]).form
    assert {key: getattr(form, key) for key in expected} == expected


def test_mpt_says_in_other_words_how_long_a_text_may_be():
    config = {"model_type": "mpt", "d_model": 64, "n_heads": 2, "n_layers": 2, "vocab_size": 99}
    assert survey({**config, "max_seq_len": 77}).sizes.context == 77


def test_a_survey_survives_json():
    found = survey(CONFIGS["qwen2_moe"])
    assert Survey.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    assert hash(found) == hash(Survey.from_dict(found.as_dict()))


@pytest.mark.parametrize("model_type", ["mamba", "deepseek_v3"])
def test_other_layers_are_refused_with_the_count(model_type):
    """Without attention; attention through a bottleneck."""
    with pytest.raises(StudioError) as caught:
        survey({"model_type": model_type, "num_hidden_layers": 2})
    assert (caught.value.code, caught.value.facts["type"]) == ("model_layers_unknown", model_type)
    assert caught.value.facts["parameters"] > 10**6


def test_a_fault_of_a_familys_code_is_named(monkeypatch):
    def broken(*_args, **_kwargs):
        raise AttributeError("no rope here")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_config", broken)
    with pytest.raises(StudioError) as caught:
        survey({"model_type": "stablelm", "num_hidden_layers": 2})
    assert (caught.value.code, caught.value.facts["detail"]) == ("model_not_built", "no rope here")


@pytest.mark.parametrize("model_type", ["novel", "t5"])
def test_what_is_no_row_of_decoder_layers_is_refused(model_type):
    """Not in transformers; with an encoder."""
    with pytest.raises(StudioError) as caught:
        survey({"model_type": model_type, "num_hidden_layers": 2})
    assert caught.value.code == "architecture_unknown"
    assert caught.value.facts["architecture"] == model_type
