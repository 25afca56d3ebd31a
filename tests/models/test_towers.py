"""What a model sees with, counted beside its text tower by building the whole of it without weights."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from studio.errors import StudioError
from studio.memory.trace import trace
from studio.models.config import counts_first, facts_of, read_config
from studio.models.survey import towers
from studio.models.survey_apart import Surveys
from studio.plan import parse_request
from tests.models.test_config import SMALL

_CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_PIXTRAL = {**_CLIP, "model_type": "pixtral", "head_dim": 16}
_LOOKING = {"depth": 2, "embed_dim": 32, "hidden_size": 48, "num_heads": 2, "patch_size": 14}
_QWEN = {**_LOOKING, "intermediate_size": 64, "out_hidden_size": 48, "fullatt_block_indexes": [1]}
_ROPE = {"rope_scaling": {"type": "mrope", "mrope_section": [2, 2, 2]}}
_UNTIED = {**SMALL, "tie_word_embeddings": False}
MODELS = {
    "llava": {"text_config": {"model_type": "llama", **_UNTIED}, "vision_config": _CLIP},
    "mistral3": {
        "text_config": {"model_type": "mistral", "head_dim": 12, **_UNTIED},
        "vision_config": _PIXTRAL,
    },
    "qwen2_vl": {**SMALL, **_ROPE, "tie_word_embeddings": True, "vision_config": _LOOKING},
    "qwen2_5_vl": {
        "text_config": {"model_type": "qwen2_5_vl_text", **SMALL, **_ROPE, "tie_word_embeddings": True},
        "tie_word_embeddings": True,
        "vision_config": _QWEN,
    },
}


def built(config):
    from transformers import AutoConfig, AutoModelForImageTextToText

    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(AutoConfig.for_model(**config))


@pytest.mark.parametrize("name", MODELS)
def test_text_and_towers_are_the_whole(name):
    config = {"model_type": name, "tie_word_embeddings": False, **MODELS[name]}
    model = built(config)
    facts = facts_of(config, towers=towers(config))
    assert facts.parameters + sum(facts.beside) == sum(p.numel() for p in model.parameters())
    language = model.get_decoder()
    matrices = sum(
        m.weight.numel()
        for path, m in model.named_modules()
        if isinstance(m, nn.Linear) and "language_model" not in path and path != "lm_head"
    )
    assert facts.beside[0] == matrices > 0
    assert facts.layers == language.config.num_hidden_layers
    assert [note.code for note in facts.notes] == ["estimated_only"]


def test_a_survey_of_towers_is_made_once_and_kept(tmp_path, monkeypatch):
    kept, asked = Surveys(tmp_path / "kept"), []
    config = {"model_type": "llava", **MODELS["llava"]}
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))

    def answer(body, whole):
        asked.append(whole)
        return {"towers": towers(body)}

    monkeypatch.setattr("studio.models.survey_apart._survey", answer)
    assert counts_first(config, kept)
    facts = read_config(file, kept)
    assert facts.beside == towers(config)
    assert not counts_first(config, kept)
    assert read_config(file, kept) == facts
    assert asked == [True]


def test_towers_that_cannot_be_built_are_said_to_be_left_out(tmp_path):
    kept = Surveys(tmp_path)
    config = {"model_type": "llava", **MODELS["llava"]}
    failed = StudioError("model_not_built", type="llava", detail="", version="")
    kept.file(config, towers=True).write_text(json.dumps({"error": failed.as_dict()}))
    (tmp_path / "config.json").write_text(json.dumps(config))
    for facts in (read_config(tmp_path / "config.json", kept), facts_of(config)):
        assert facts.beside == (0, 0)
        assert [note.code for note in facts.notes] == ["towers_not_counted", "estimated_only"]


def test_towers_are_not_traced():
    with pytest.raises(StudioError) as caught:
        trace(
            parse_request("", "", "lora", set={"batch": 1, "seq": 8}),
            {"model_type": "llava", **MODELS["llava"]},
            1.0,
        )
    assert caught.value.code == "towers_not_traced"
