"""What no config.json may hold is refused by name, by the estimate and where a model is loaded."""

from __future__ import annotations

import json

import numpy
import pytest
import torch
from safetensors.numpy import save_file

from studio import estimate
from studio.errors import StudioError
from studio.models.checked import saved_quantisation
from studio.models.config import facts_of, read_config
from studio.models.folder import check_causal
from studio.models.load import load_model
from tests.models.test_config import SMALL
from tests.toys.folders import write_model

LLAMA = {"model_type": "llama", **SMALL}


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("intermediate_size", "112", '"112"'),
        ("vocab_size", "331", '"331"'),
        ("num_attention_heads", 0, "0"),
        ("num_hidden_layers", 0, "0"),
        ("num_key_value_heads", -2, "-2"),
        ("head_dim", 0, "0"),
        ("hidden_size", 48.5, "48.5"),
        ("hidden_size", float("nan"), "NaN"),
        ("hidden_size", True, "true"),
        ("hidden_size", [48, 48], "[48, 48]"),
        ("max_position_embeddings", "96", '"96"'),
        ("num_attention_heads", 64, 64),
    ],
)
def test_what_is_no_size_is_named(tmp_path, field, value, said):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA | {field: value}))
    with pytest.raises(StudioError) as caught:
        estimate(str(file), batch=1, seq=16)
    assert caught.value.code == "model_config_size"
    assert (caught.value.facts["field"], caught.value.facts["value"]) == (field, said)


def test_names_of_other_families_are_checked_too():
    with pytest.raises(StudioError) as caught:
        facts_of({"model_type": "gpt2", "n_layer": "12"})
    assert (caught.value.code, caught.value.facts["field"]) == ("model_config_size", "n_layer")


def test_the_tower_for_pictures_is_checked_too():
    vision = {"model_type": "siglip_vision_model", "patch_size": 0}
    outer = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}, "vision_config": vision}
    with pytest.raises(StudioError) as caught:
        facts_of(outer)
    assert (caught.value.code, caught.value.facts["field"]) == ("model_config_size", "patch_size")


def test_a_whole_float_is_a_size_of_an_estimate_but_is_not_loaded():
    config = LLAMA | {"hidden_size": 48.0, "num_hidden_layers": 3.0}
    facts = facts_of(config)
    assert facts == facts_of(LLAMA)
    assert isinstance(facts.hidden, int)
    assert isinstance(facts.layers, int)
    with pytest.raises(StudioError) as caught:
        check_causal(config, "here")  # where transformers stops
    assert (caught.value.code, caught.value.facts["field"]) == ("model_config_size", "hidden_size")


QUANTISED = [
    ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq, 4 bit"),
    ({"quant_method": "awq", "bits": 4}, "awq, 4 bit"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False}, "bitsandbytes, 4 bit"),
    ({"load_in_8bit": True}, "bitsandbytes, 8 bit"),
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8"),
]


@pytest.mark.parametrize(("how", "name"), QUANTISED, ids=[name for _, name in QUANTISED])
def test_a_quantised_checkpoint_is_refused_by_name(tmp_path, how, name):
    folder = write_model(tmp_path / "model")
    file = folder / "config.json"
    config = json.loads(file.read_text()) | {"quantization_config": how}
    file.write_text(json.dumps(config))
    asked = (
        lambda: estimate(str(file), batch=1, seq=16),
        lambda: estimate(str(folder), purpose="chat", batch=1, seq=16),
        lambda: check_causal(config, "here"),
        lambda: load_model(folder, dtype=torch.float32, device="cpu"),
    )
    for ask in asked:
        with pytest.raises(StudioError) as caught:
            ask()
        assert (caught.value.code, caught.value.facts["quantisation"]) == ("model_quantised", name)


def test_where_quantisation_may_be_said():
    assert saved_quantisation({"text_config": {"quantization_config": {"quant_method": "awq"}}}) == "awq"
    assert saved_quantisation({"quantization": {"group_size": 64, "bits": 4}}) == "4 bit"
    assert saved_quantisation({"quantization_config": None, "quantization": {}}) is None


@pytest.mark.parametrize(
    "config",
    [{"model_type": "bert"}, {"model_type": "t5"}, {"model_type": "plbart"}, {"is_encoder_decoder": True}],
)
def test_what_writes_nothing_is_refused_by_name(tmp_path, config):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "novel", **SMALL, **config}))
    save_file({"a": numpy.zeros((3, 5))}, tmp_path / "model.safetensors")
    with pytest.raises(StudioError) as caught:
        read_config(tmp_path)
    assert caught.value.code == "model_not_causal"


def test_a_type_that_is_only_meant_is_not_loaded():
    with pytest.raises(StudioError) as caught:
        check_causal({"architectures": ["LlamaForCausalLM"], **SMALL}, "here")
    assert (caught.value.code, caught.value.facts["meant"]) == ("model_type_missing", "llama")


@pytest.mark.parametrize(
    ("tensor", "said", "expected"),
    [
        (torch.bfloat16, None, "bfloat16"),
        (torch.float16, None, "float16"),
        (torch.bfloat16, "float32", "float32"),
    ],
)
def test_the_files_say_their_number_format(tmp_path, tensor, said, expected):
    from safetensors.torch import save_file as save

    (tmp_path / "config.json").write_text(json.dumps(LLAMA | ({"torch_dtype": said} if said else {})))
    save({"a": torch.zeros(64, 8, dtype=tensor), "norm": torch.zeros(8)}, tmp_path / "model.safetensors")
    facts = read_config(tmp_path)
    assert facts.dtype == expected
    need = estimate(str(tmp_path), purpose="chat", batch=1, seq=16, device="cuda:0")
    assert need.parts["weights"] == facts.parameters * (4 if expected == "float32" else 2)


def test_layers_that_are_guessed_are_said_to_be(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "novel", **SMALL}))
    save_file({"a": numpy.zeros((3, 5))}, tmp_path / "model.safetensors")
    save_file({"b": numpy.zeros(90)}, tmp_path / "adapter_model.safetensors")
    facts = read_config(tmp_path)
    assert facts.parameters == 15
    assert [note.code for note in facts.notes] == ["layers_guessed", "estimated_only"]
