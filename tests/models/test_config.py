"""Sizes read from config.json, with transformers on the meta device as the judge of the counts."""

import json

import pytest

from studio.errors import StudioError
from studio.models.config import facts_of, read_config
from studio.models.counts import COUNTED
from studio.models.families import FAMILIES
from studio.models.headers import read_shapes

SMALL = {
    "vocab_size": 331,
    "hidden_size": 48,
    "intermediate_size": 112,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 96,
}
UNGROUPED = {k: v for k, v in SMALL.items() if k not in ("num_key_value_heads", "intermediate_size")}
OPT = UNGROUPED | {"ffn_dim": 112, "pad_token_id": 0}
CASES = [
    ("llama", SMALL),
    ("llama", SMALL | {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    ("llama", {"num_hidden_layers": 2}),
    ("mistral", SMALL | {"head_dim": 20}),
    ("qwen2", SMALL | {"tie_word_embeddings": True}),
    ("qwen3", SMALL | {"head_dim": 24}),
    ("qwen3", SMALL | {"head_dim": 24, "attention_bias": True}),
    ("gemma2", SMALL | {"head_dim": 16}),
    ("gemma3_text", SMALL | {"head_dim": 16}),
    ("gemma3_text", {"num_hidden_layers": 2}),
    ("phi3", SMALL | {"pad_token_id": 0}),
    ("gpt2", {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 331}),
    ("gpt2", {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_inner": 100, "vocab_size": 331}),
    ("granite", SMALL),
    ("granite", SMALL | {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True}),
    ("cohere", SMALL),
    ("cohere", SMALL | {"use_qk_norm": True, "attention_bias": True}),
    ("cohere", SMALL | {"tie_word_embeddings": False}),
    ("mixtral", SMALL),
    ("mixtral", SMALL | {"num_local_experts": 3, "head_dim": 20}),
    ("opt", OPT),
    ("opt", OPT | {"word_embed_proj_dim": 32, "do_layer_norm_before": False}),
    ("opt", OPT | {"enable_bias": False, "layer_norm_elementwise_affine": False}),
    ("opt", OPT | {"word_embed_proj_dim": 32, "tie_word_embeddings": False}),
    ("opt", {"num_hidden_layers": 2}),
    ("gpt_neox", UNGROUPED | {"intermediate_size": 112}),
    ("gpt_neox", UNGROUPED | {"intermediate_size": 112, "attention_bias": False}),
    ("falcon", UNGROUPED),
    ("falcon", UNGROUPED | {"multi_query": False, "parallel_attn": False, "bias": True}),
    ("falcon", UNGROUPED | {"new_decoder_architecture": True, "num_kv_heads": 2, "ffn_hidden_size": 112}),
    ("falcon", UNGROUPED | {"new_decoder_architecture": True, "num_ln_in_parallel_attn": 1}),
    ("falcon", UNGROUPED | {"num_ln_in_parallel_attn": 2, "tie_word_embeddings": False}),
    ("falcon", {"num_hidden_layers": 2}),
]


@pytest.mark.parametrize(("model_type", "sizes"), CASES, ids=[f"{t}-{i}" for i, (t, _) in enumerate(CASES)])
def test_count_equals_the_built_model(model_type, sizes):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(model_type, **sizes)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    facts = facts_of({"model_type": model_type} | sizes)
    assert facts.parameters == sum(p.numel() for p in model.parameters())
    assert facts.vocab == config.vocab_size
    assert (facts.hidden, facts.layers, facts.heads) == (
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
    )
    assert facts.kv_heads == kv_heads_of(model)
    assert facts.context == config.max_position_embeddings
    assert facts.tied == config.tie_word_embeddings


def kv_heads_of(model):
    """Heads that keys have, from the weights: some families fuse the projections, with queries first."""
    config = model.config
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for name, weight in model.named_parameters():
        if name.endswith("k_proj.weight"):
            return weight.shape[0] // head
        if name.endswith(("qkv_proj.weight", "query_key_value.weight")):
            return (weight.shape[0] // head - config.num_attention_heads) // 2
        if name.endswith("c_attn.weight"):  # stored (in, out)
            return (weight.shape[1] // head - config.num_attention_heads) // 2
    raise AssertionError("no projection of keys")


def test_every_family_that_can_be_tuned_is_counted_and_has_a_case():
    assert {model_type for model_type, _ in CASES} == set(COUNTED)
    assert set(COUNTED) | {"gemma3"} == set(FAMILIES)  # gemma3 is counted as its text tower, gemma3_text


def test_saved_config_of_transformers_reads_alike(tmp_path):
    from transformers import Qwen3Config

    config = Qwen3Config(**SMALL, head_dim=24)
    config.save_pretrained(tmp_path)
    assert read_config(tmp_path) == read_config(tmp_path / "config.json")
    assert read_config(tmp_path).head_dim == 24


def test_text_tower_of_a_multimodal_model():
    text = SMALL | {"model_type": "gemma3_text", "head_dim": 16}
    outer = {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"], "text_config": text}
    facts = facts_of(outer)
    assert facts.model_type == "gemma3_text"
    assert facts.architecture == "Gemma3ForConditionalGeneration"
    assert facts.parameters == facts_of(text).parameters


def test_unknown_family_is_counted_from_the_headers(tmp_path):
    import numpy
    from safetensors.numpy import save_file

    config = {"model_type": "novel", **SMALL}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_config(tmp_path).parameters is None
    save_file({"a": numpy.zeros((3, 5)), "b": numpy.zeros(7)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"c": numpy.zeros((2, 2))}, tmp_path / "model-00002-of-00002.safetensors")
    assert read_config(tmp_path).parameters == 15 + 7 + 4
    assert read_shapes(tmp_path / "model-00002-of-00002.safetensors") == {"c": (2, 2)}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (None, "model_config_missing"),
        ("{not json", "model_config_broken"),
        ("[1]", "model_config_broken"),
        ('{"hidden_size": 64}', "model_config_broken"),
        (b"\xff\xfe\x00", "model_config_broken"),
        ('{"model_type": "novel", "hidden_size": 8}', "model_config_incomplete"),
        ('{"model_type": "novel", "hidden_size": "8"}', "model_config_size"),
    ],
)
def test_bad_config_is_named(tmp_path, body, code):
    if body is not None:
        (tmp_path / "config.json").write_bytes(body if isinstance(body, bytes) else body.encode())
    with pytest.raises(StudioError) as caught:
        read_config(tmp_path)
    assert caught.value.code == code
    assert "config.json" in caught.value.facts["path"]


@pytest.mark.parametrize("body", [b"", b"\x05\x00\x00\x00\x00\x00\x00\x00nope!", b"\xff" * 40])
def test_broken_weights_file_is_named(tmp_path, body):
    (tmp_path / "model.safetensors").write_bytes(body)
    with pytest.raises(StudioError) as caught:
        read_shapes(tmp_path / "model.safetensors")
    assert caught.value.code == "weights_unreadable"
