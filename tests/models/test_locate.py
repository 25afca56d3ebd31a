"""A folder that is no model is refused by what it is."""

import json

import pytest

from studio.errors import StudioError
from studio.models.families import language_models
from studio.models.locate import locate

CAUSAL = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
WHOLE = {"config.json": CAUSAL, "model.safetensors": "x", "tokenizer.json": "{}"}


@pytest.fixture
def make(tmp_path):
    def write(files):
        folder = tmp_path / "model"
        folder.mkdir()
        for name, body in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(body if isinstance(body, str) else json.dumps(body))
        return folder

    return write


def refusal(name, runs=None):
    with pytest.raises(StudioError) as caught:
        locate(str(name), runs)
    return caught.value


def test_whole_model_is_found_by_its_folder(make):
    folder = make(WHOLE)
    assert locate(str(folder)) == folder
    assert locate(f"path:{folder}/") == folder


def test_shards_of_the_index_are_enough(make):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    files = {"config.json": CAUSAL, "tokenizer.model": "x", "model.safetensors.index.json": index}
    folder = make({**files, "model-00001-of-00002.safetensors": "x"})
    error = refusal(folder)
    assert error.code == "model_weights_incomplete"
    assert error.facts["missing"] == ["model-00002-of-00002.safetensors"]
    (folder / "model-00002-of-00002.safetensors").write_text("x")
    assert locate(str(folder)) == folder


@pytest.mark.parametrize(
    ("files", "code", "facts"),
    [
        ({}, "model_folder_empty", {}),
        ({"notes.md": "x", "a.py": "x"}, "model_foreign", {"seen": ["a.py", "notes.md"]}),
        ({"tiny-q4_0.gguf": "x"}, "model_gguf", {"file": "tiny-q4_0.gguf"}),
        ({"train.jsonl": "{}"}, "model_dataset", {"file": "train.jsonl"}),
        (
            {"adapter_config.json": {"base_model_name_or_path": "a/b"}, "adapter_model.safetensors": "x"},
            "model_adapter",
            {"base": "a/b"},
        ),
        ({"adapter_config.json": {"r": 8}}, "model_adapter_without_base", {}),
        ({"model_index.json": "{}"}, "model_diffusion", {}),
        ({"model.safetensors": "x"}, "model_file", {}),
        ({"pytorch_model.bin": "x"}, "model_weights_pickle", {"files": ["pytorch_model.bin"]}),
        ({"inner/config.json": CAUSAL}, "model_inside", {"folders": ["inner"]}),
        ({"config.json": "{nope"}, "model_config_broken", {}),
        ({"config.json": {"architectures": ["BertForMaskedLM"]}}, "model_not_causal", {}),
        (
            {"config.json": {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}},
            "model_not_causal",
            {"architecture": "T5ForConditionalGeneration"},
        ),
        (
            {"config.json": {"model_type": "own", "auto_map": {"AutoModel": "modeling_own.Own"}}},
            "model_remote_code",
            {"files": ["modeling_own.Own"]},
        ),
        ({"config.json": CAUSAL, "tokenizer.json": "{}"}, "model_weights_missing", {}),
        (
            {"config.json": CAUSAL, "tokenizer.json": "{}", "pytorch_model.bin": "x"},
            "model_weights_pickle",
            {"files": ["pytorch_model.bin"]},
        ),
        (
            {"config.json": CAUSAL, "model.safetensors": "x", "model.safetensors.index.json": "[]"},
            "weights_unreadable",
            {},
        ),
        ({"config.json": CAUSAL, "model.safetensors": "x"}, "model_tokenizer_missing", {}),
    ],
)
def test_what_is_no_model_is_named(make, files, code, facts):
    folder = make(files)
    error = refusal(folder)
    assert error.code == code
    assert error.facts["path"].startswith(str(folder))
    assert {key: error.facts[key] for key in facts} == facts


@pytest.mark.parametrize("model_type", ["olmo2", "stablelm", "starcoder2", "bloom", "gptj", "mpt"])
def test_a_decoder_that_transformers_has_is_a_model(make, model_type):
    """Code beside its weights, for older releases, is not needed."""
    own = {"auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}}
    config = {"model_type": model_type, "architectures": ["AnyForCausalLM"], **own}
    folder = make({**WHOLE, "config.json": config})
    assert locate(str(folder)) == folder


def test_what_transformers_has_is_read_from_its_own_table():
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    assert language_models() == set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"model_type": "mamba"}, "architecture_without_attention"),
        ({"model_type": "jamba"}, "architecture_without_attention"),
        (
            {"model_type": "granitemoehybrid", "layer_types": ["mamba", "attention"]},
            "architecture_without_attention",
        ),
        ({"model_type": "novel"}, "architecture_unknown"),
        ({"model_type": "fuyu", "text_config": {}}, "architecture_unknown"),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else value,
)
def test_a_family_that_cannot_be_tuned_is_said_before_anything_is_started(make, said, code):
    model_type = said["model_type"]
    config = {"architectures": ["AnyForCausalLM"], **said}
    error = refusal(make({**WHOLE, "config.json": config}))
    assert (error.code, error.facts["architecture"]) == (code, model_type)
    assert code != "architecture_unknown" or "llama" in error.facts["known"]


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"model_type": "llama", "quantization_config": {"quant_method": "awq"}}, "model_quantised"),
        ({"model_type": "llama", "hidden_size": "64"}, "model_config_size"),
        ({"architectures": ["LlamaForCausalLM"]}, "model_type_missing"),
        (
            {"model_type": "chatglm", "architectures": ["ChatGLMModel"], "auto_map": {"AutoModel": "m.M"}},
            "model_remote_code",
        ),
        (
            {
                "model_type": "qwen2_vl",
                "architectures": ["Qwen2VLForConditionalGeneration"],
                "vision_config": {},
            },
            "architecture_unknown",
        ),
    ],
)
def test_a_config_that_cannot_be_tuned_is_named(make, config, code):
    assert refusal(make({**WHOLE, "config.json": config})).code == code


def test_missing_folder_and_plain_file(tmp_path):
    assert refusal(tmp_path / "nothing").code == "model_missing"
    (tmp_path / "x.gguf").write_text("x")
    assert refusal(tmp_path / "x.gguf").code == "model_gguf"
    (tmp_path / "x.safetensors").write_text("x")
    assert refusal(tmp_path / "x.safetensors").code == "model_file"
    (tmp_path / "config.json").write_text("{}")
    assert refusal(tmp_path / "config.json").code == "model_config_only"


def test_multimodal_model_with_a_text_tower_is_accepted(make):
    config = {
        "model_type": "gemma3",
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": {"model_type": "gemma3_text"},
    }
    folder = make({**WHOLE, "config.json": config})
    assert locate(str(folder)) == folder


def test_run_is_no_base_and_names_its_own(tmp_path):
    assert refusal("run:pirate-1", tmp_path).code == "run_missing"
    (tmp_path / "pirate-1").mkdir()
    (tmp_path / "pirate-1" / "plan.json").write_text('{"model": "starter"}')
    error = refusal("run:pirate-1@best", tmp_path)
    assert (error.code, error.facts["base"]) == ("model_is_run", "starter")
