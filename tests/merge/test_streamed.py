"""Models whose weights stay in their files: the same numbers as whole ones, one layer in memory at a time."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch

from studio.errors import StudioError
from studio.memory.tracker import StorageTracker
from studio.merge.layout import Layout
from studio.merge.streamed import StoredWeights, empty_model
from studio.merge.verify import folder_logits, last_logits
from studio.models.load import load_model
from tests.toys.folders import FAMILY_CONFIGS, OTHER_CONFIGS, tiny_model, write_model

PROMPTS = [list(range(4, 30)), list(range(60, 110)), [7]]


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        *product(FAMILY_CONFIGS, (torch.float32, torch.bfloat16)),
        *product(OTHER_CONFIGS, (torch.float32,)),  # in 16 bit GPT-J's table of angles is made otherwise
    ],
)
def test_the_same_logits_bit_for_bit(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    folder = write_model(tmp_path, family)
    whole = last_logits(load_model(folder, dtype=dtype, device="cpu"), None, PROMPTS)
    layers = folder_logits(folder, dtype, PROMPTS)
    assert [len(logits) for logits in layers] == [16, 16, 1]
    assert all(torch.equal(a, b) for a, b in zip(layers, whole, strict=True))


def test_one_layer_is_in_memory_at_a_time(tmp_path: Path) -> None:
    folder = write_model(tmp_path, hidden_size=256, intermediate_size=1024, num_hidden_layers=12, head_dim=64)
    model = tiny_model(hidden_size=256, intermediate_size=1024, num_hidden_layers=12, head_dim=64)
    whole = sum(p.numel() * 4 for p in model.parameters())
    layer = sum(p.numel() * 4 for p in model.model.layers[0].parameters())
    with StorageTracker() as tracker:
        folder_logits(folder, torch.float32, [[5, 6, 7, 8]])
    assert layer < tracker.peak < 1.2 * layer < whole / 8


def test_a_weight_that_is_nowhere_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path)
    with pytest.raises(StudioError) as refused:
        StoredWeights(folder, Layout(folder))("model.layers.9.mlp.up_proj.weight", torch.float32)
    assert refused.value.code == "weights_unreadable"
    assert "layers.9" in refused.value.facts["detail"]


def test_without_weights_a_model_takes_no_memory(tmp_path: Path) -> None:
    folder = write_model(tmp_path, "qwen2", hidden_size=1024, intermediate_size=1024, head_dim=256)
    with StorageTracker() as tracker:
        streamed = empty_model(folder, torch.float32)
    assert sum(p.numel() for p in streamed.model.parameters()) * 4 > 10**7
    assert sum(p.untyped_storage().nbytes() for p in streamed.names) == 4 * len(streamed.names)
    assert tracker.live < 10**5
