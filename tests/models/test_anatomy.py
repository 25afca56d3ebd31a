"""The loss over labelled positions against each model's own loss, and what an anatomy finds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from studio.models.anatomy import Anatomy
from studio.train.loss import IGNORED, token_losses
from tests.toys.folders import FAMILY_CONFIGS, tiny_model

FAMILIES = sorted(FAMILY_CONFIGS)


def _batch() -> dict[str, Tensor]:
    """Three rows padded on the right; one learns two separate turns, one its very first token, one all."""
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(4, 260, (3, 40), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 29:] = 0
    mask[2, 7:] = 0
    ids[mask == 0] = 0
    labels = ids.masked_fill(mask == 0, IGNORED)
    labels[0, :10] = labels[0, 20:30] = IGNORED
    labels[1, 3:20] = IGNORED
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_equals_the_models_own(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _compare_losses(family, "labelled", monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["chunked", "full"])
@pytest.mark.parametrize("family", FAMILIES)
def test_other_kernels_equal_the_models_own(
    family: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _compare_losses(family, kernel, monkeypatch)


def _compare_losses(family: str, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio.train.loss.CHUNK_BYTES", 4 * 260 * 7)  # seven positions to a chunk
    model, batch = tiny_model(family), _batch()
    own = model(**batch).loss
    anatomy = Anatomy(model)
    losses = token_losses(anatomy, anatomy.hidden(batch["input_ids"], batch["attention_mask"]), batch, kernel)
    ours = losses.tokens.mean() + (0 if losses.auxiliary is None else losses.auxiliary)
    assert own.item() > 1
    torch.testing.assert_close(ours, own, rtol=1e-6, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_equals_the_models_own(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studio.train.loss.CHUNK_BYTES", 4 * 260 * 7)
    model, batch = tiny_model(family), _batch()
    model(**batch).loss.backward()
    own = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    anatomy = Anatomy(model)
    losses = token_losses(anatomy, anatomy.hidden(batch["input_ids"], batch["attention_mask"]), batch)
    (losses.tokens.mean() + (0 if losses.auxiliary is None else losses.auxiliary)).backward()
    for name, parameter in model.named_parameters():
        if name in own:
            torch.testing.assert_close(parameter.grad, own[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_the_models_own_at_every_position(family: str) -> None:
    model, batch = tiny_model(family), _batch()
    anatomy = Anatomy(model)
    with torch.no_grad():
        own = model(batch["input_ids"][:1]).logits
        ours = anatomy.logits(anatomy.hidden(batch["input_ids"][:1], batch["attention_mask"][:1]).states)
    torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-6)


def test_rows_of_each_loss() -> None:
    batch = _batch()
    anatomy = Anatomy(tiny_model())
    losses = token_losses(anatomy, anatomy.hidden(batch["input_ids"]), batch)
    counted = (batch["labels"][:, 1:] != IGNORED).sum(1)
    assert torch.bincount(losses.rows).tolist() == counted.tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_are_the_models_own(family: str) -> None:
    model = tiny_model(family)
    anatomy = Anatomy(model)
    assert anatomy.embeddings is model.get_input_embeddings()
    assert anatomy.head is model.get_output_embeddings()
    assert len(anatomy.layers) == 2
    assert anatomy.norm.weight.shape == (32,)


LINEARS = {
    "llama": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "phi3": {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"},
    "gpt2": {"c_attn", "c_proj", "c_fc"},
}


@pytest.mark.parametrize("family", LINEARS)
def test_linear_layers_by_name(family: str) -> None:
    names = [path.rpartition(".")[2] for path, _ in Anatomy(tiny_model(family)).linears()]
    assert set(names) == LINEARS[family]
    assert len(names) == {"llama": 14, "phi3": 8, "gpt2": 8}[family]


def test_text_tower_of_a_multimodal_model() -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {**tiny_model("gemma3_text").config.to_dict(), "model_type": "gemma3_text"}
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    model = Gemma3ForConditionalGeneration(Gemma3Config(text_config=text, vision_config=vision)).eval()
    anatomy, batch = Anatomy(model), _batch()
    assert all(path.startswith("model.language_model.layers.") for path, _ in anatomy.linears())
    with torch.no_grad():
        own = model(input_ids=batch["input_ids"][:1]).logits
        ours = anatomy.logits(anatomy.hidden(batch["input_ids"][:1]).states)
    torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-6)
