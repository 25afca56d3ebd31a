"""Loading model folders, and refusing what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForCausalLM

from studio.errors import StudioError
from studio.models.anatomy import Anatomy
from studio.models.load import load_model
from studio.models.quantisation import Quantisation
from studio.train.lora_start import whole_weight
from tests.toys.folders import write_model


def _refusal(folder: Path) -> StudioError:
    with pytest.raises(StudioError) as refusal:
        load_model(folder, dtype=torch.float32, device="cpu")
    return refusal.value


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_loads_the_weights_as_they_are(family: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", family)
    model = load_model(folder, dtype=torch.float32, device="cpu")
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for (name, ours), theirs in zip(model.named_parameters(), own.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
        assert not ours.requires_grad
    assert not model.training


def test_dtype(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path / "model"), dtype=torch.bfloat16, device="cpu")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_in_4_bit(kind: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = load_model(
        folder, dtype=torch.bfloat16, device="cpu", quantisation=Quantisation(kind, double=True)
    )
    linears = [module for _, module in Anatomy(model).linears()]
    assert len(linears) == 14
    for module, (_, before) in zip(linears, Anatomy(own).linears(), strict=True):
        assert isinstance(module, Linear4bit)
        assert module.weight.quant_state.quant_type == kind
        assert module.weight.dtype is torch.uint8
        assert module.compute_dtype is torch.bfloat16
        assert module.weight.numel() * 2 == before.weight.numel()  # type: ignore[union-attr, operator]
    rest = {name: p.dtype for name, p in model.named_parameters() if p.dtype is not torch.uint8}
    assert set(rest.values()) == {torch.bfloat16}
    assert {"model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"} <= set(rest)


# Rows of whole blocks: of others, bitsandbytes (0.50.2) mixes up the scales on a processor.
WIDE = {
    "falcon": {"hidden_size": 64},
    "gpt2": {"n_embd": 64},
    "opt": {"hidden_size": 64, "ffn_dim": 128, "word_embed_proj_dim": 64},
    "phi3": {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16},
}


@pytest.mark.parametrize("family", WIDE)
def test_every_familys_linear_layers_are_held_in_4_bit(family: str, tmp_path: Path) -> None:
    """Also those of a class of their own, which transformers passes over."""
    folder = write_model(tmp_path / "model", family, **WIDE[family])
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = load_model(
        folder, dtype=torch.float32, device="cpu", quantisation=Quantisation("nf4", double=False)
    )
    before = dict(Anatomy(own).linears())
    for path, module in Anatomy(model).linears():
        assert isinstance(module, Linear4bit)
        exact = whole_weight(before.pop(path))
        assert module.weight.numel() * 2 == exact.numel()
        assert 0.05 < (whole_weight(module) - exact).norm() / exact.norm() < 0.12
    assert not before


def test_4_bit_weights_still_pass_gradients_after_an_evaluation(tmp_path: Path) -> None:
    """bitsandbytes would pack them for inference, for good, on a processor with AVX512-BF16."""
    # Sizes that its kernel for such processors takes: multiples of its blocks.
    sizes = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 32}
    folder = write_model(tmp_path / "model", **sizes)
    model = load_model(
        folder, dtype=torch.bfloat16, device="cpu", quantisation=Quantisation("nf4", double=True)
    )
    states = model.get_input_embeddings()(torch.arange(4, 24)[None])  # type: ignore[operator]
    learned = states.detach().requires_grad_()

    def gradient() -> torch.Tensor:
        out = model(inputs_embeds=learned, use_cache=False).logits
        return torch.autograd.grad(out.float().logsumexp(-1).sum(), learned)[0]

    before = gradient()
    with torch.no_grad():
        model.eval()(torch.arange(4, 24)[None])
    model.train()
    assert torch.equal(gradient(), before)
    assert before.abs().sum() > 0


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    assert _refusal(tmp_path).code == "model_foreign"


def test_pickles_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    refusal = _refusal(folder)
    assert refusal.code == "model_pickles_refused"
    assert refusal.facts["files"] == ["pytorch_model.bin"]
    (folder / "pytorch_model.bin").unlink()
    assert _refusal(folder).code == "model_weights_missing"


def test_code_in_the_folder_is_never_run(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    refusal = _refusal(folder)
    assert refusal.code == "architecture_unknown"
    assert refusal.facts["architecture"] == "evil"
    assert not (tmp_path / "ran").exists()


def test_cut_off_weights_are_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    refusal = _refusal(folder)
    assert refusal.code == "model_unreadable"
    assert refusal.facts["path"] == str(folder)
    assert refusal.facts["detail"]


def test_config_that_is_no_json(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "config.json").write_text("{")
    assert _refusal(folder).code == "model_unreadable"
