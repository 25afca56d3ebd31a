"""What merging is said to need, against the bytes that transformers writes."""

from __future__ import annotations

from inspect import signature
from pathlib import Path

import pytest
from huggingface_hub.serialization._base import parse_size_to_int
from transformers import PreTrainedModel

from studio.errors import StudioError
from studio.memory.merging import MAX_SHARD_BYTES, merging_need, stored_shards, usual_shards
from studio.models.config import read_config
from tests.memory.plans import plan_of
from tests.toys.folders import tiny_model, write_model

SIZES = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32, "num_hidden_layers": 4}


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "mixtral"])
def test_files_are_as_large_as_those_that_transformers_writes(tmp_path: Path, family: str) -> None:
    sizes = {"n_embd": 128} if family == "gpt2" else SIZES
    folder = write_model(tmp_path, family, **sizes)
    (written,) = stored_shards(folder)
    # Beside the weights a file has the names of its tensors.
    assert usual_shards(read_config(folder)) == (pytest.approx(written, rel=0.01),)


def test_a_model_in_several_files_is_held_a_file_at_a_time(tmp_path: Path) -> None:
    model = tiny_model("llama", vocab_size=2000, **SIZES)
    model.save_pretrained(tmp_path, max_shard_size="1MB")
    facts, stored = read_config(tmp_path), stored_shards(tmp_path)
    assert len(stored) > 2
    # In which order does not matter.
    assert sorted(usual_shards(facts, 10**6)) == [pytest.approx(size, rel=0.01) for size in sorted(stored)]
    need = merging_need(plan_of("lora", facts, rank=8), facts, stored)
    assert need.parts["weights"] == max(stored)
    assert need.disk == sum(stored)
    assert need.allocated - need.parts["adapter"] <= 1.3 * max(stored)


def test_an_adapter_is_held_whole(tmp_path: Path) -> None:
    facts = read_config(write_model(tmp_path, **SIZES))
    # 4 layers, rank 8; inputs and outputs of q, k, v, o, gate, up, down.
    ends = (128 + 128) + 2 * (128 + 64) + (128 + 128) + 3 * (128 + 256)
    lora = merging_need(plan_of("lora", facts, rank=8, adapter_dtype="fp32"), facts, (10**6,))
    assert lora.parts["adapter"] == 4 * 4 * 8 * ends
    assert "adapter" not in merging_need(plan_of("full", facts), facts, (10**6,)).parts
    with pytest.raises(StudioError) as caught:
        merging_need(plan_of("lst", facts), facts, (10**6,))
    assert caught.value.code == "method_not_mergeable"


def test_the_usual_file_is_the_one_of_transformers() -> None:
    usual = signature(PreTrainedModel.save_pretrained).parameters["max_shard_size"].default
    assert parse_size_to_int(usual) == MAX_SHARD_BYTES
