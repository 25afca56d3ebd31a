"""A side network made of the backbone's weights: what is chosen, by an importance that autograd confirms."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from torch import Tensor

from studio.errors import StudioError
from studio.methods.lst import LstParams
from studio.models.anatomy import Anatomy
from studio.models.load import load_model
from studio.models.quantisation import Quantisation
from studio.train.side.pruned import Importance, fisher
from studio.train.side.sources import Source
from studio.train.side.tuner import SideTuner, ladder
from studio.train.tuner import TunerContext
from tests.toys.folders import tiny_model, tiny_plan, write_model


def _batches(n: int) -> Iterator[dict[str, Any]]:
    generator = torch.Generator().manual_seed(2)
    for _ in range(min(n, 3)):
        yield {"input_ids": torch.randint(4, 260, (2, 12), generator=generator)}


def _context(model: Any) -> TunerContext:
    def loss(batch: dict[str, Any]) -> Tensor:
        found: Tensor = model(batch["input_ids"], labels=batch["input_ids"]).loss
        return found

    generator = torch.Generator().manual_seed(5)
    return TunerContext(tiny_plan("lst"), Anatomy(model), generator, _batches, loss)


def _importances(model: Any) -> list[dict[str, Importance]]:
    context = _context(model)
    parts = [Source.of(layer, context.anatomy.config).modules for layer in context.anatomy.layers]
    return fisher(context.anatomy, parts, context.calibration_batches(3), context.loss)


def test_importance_is_the_sum_of_squared_gradients() -> None:
    model = tiny_model("llama")
    found = _importances(model.requires_grad_(False))
    assert all(p.grad is None for p in model.parameters())
    model.requires_grad_(True)
    wanted = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for batch in _batches(3):
        model.zero_grad()
        _context(model).loss(batch).backward()
        for name, parameter in model.named_parameters():
            wanted[name] += parameter.grad.square()
    for at, importances in enumerate(found):
        for name, importance in importances.items():
            part = "self_attn" if name in ("q_proj", "k_proj", "v_proj", "o_proj") else "mlp"
            squared = wanted[f"model.layers.{at}.{part}.{name}.weight"]
            torch.testing.assert_close(importance.rows, squared.sum(1), rtol=1e-4, atol=1e-9)
            torch.testing.assert_close(importance.columns, squared.sum(0), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2"])
def test_blocks_are_parts_of_the_layers_by_importance(family: str) -> None:
    model = tiny_model(family).requires_grad_(False)
    tuner = SideTuner(LstParams(init="pruned", reduction=2))
    network = ladder(tuner.prepare(model, _context(model))).network
    found = _importances(tiny_model(family).requires_grad_(False))
    channels = sum(
        sum(i[name].columns for name in ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"))
        + i["o_proj"].rows
        + i["down_proj"].rows
        for i in found
    )
    kept = channels.topk(network.shape.width).indices.sort().values
    for at, block in enumerate(network.blocks):
        mlp, imported = model.model.layers[at].mlp, found[at]
        inner = imported["gate_proj"].rows + imported["up_proj"].rows + imported["down_proj"].columns
        units = inner.topk(network.shape.inner).indices.sort().values
        assert torch.equal(block.mlp.gate.weight, mlp.gate_proj.weight[units][:, kept])
        assert torch.equal(block.mlp.out.weight, mlp.down_proj.weight[kept][:, units])
        # Each query row stands in the backbone's matrix, beside the key of the head that it looks with.
        query = model.model.layers[at].self_attn.q_proj.weight[:, kept]
        assert all((query == row).all(1).any() for row in block.attention.query.weight)
    probe = torch.ones(1, 1, model.config.hidden_size)
    norm = model.model.layers[0].input_layernorm(probe)[0, 0]
    torch.testing.assert_close(network.blocks[0].attention_norm.weight, norm[kept])


def test_a_base_in_4_bit_is_pruned_out_of_its_4_bits(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    base = load_model(
        tmp_path / "model", dtype=torch.float32, device="cpu", quantisation=Quantisation("nf4", True)
    )
    network = ladder(SideTuner(LstParams(init="pruned", reduction=2)).prepare(base, _context(base))).network
    gate = base.model.layers[0].mlp.gate_proj.weight
    dense = set(dequantize_4bit(gate.data, gate.quant_state).flatten().tolist())
    taken = network.blocks[0].mlp.gate.weight
    assert set(taken.flatten().tolist()) <= dense
    assert taken.abs().max() > 0


def _in_turn(weight: Tensor, wide: int, narrow: int) -> dict[str, Tensor]:
    return dict(zip("qkv", weight.split([wide, narrow, narrow]), strict=True))


def _by_head(weight: Tensor) -> dict[str, Tensor]:
    """Four heads of 8: rows of query, key and value of the first, then those of the second ..."""
    starts = {"q": 0, "k": 8, "v": 16}
    return {
        name: torch.cat([weight[24 * head + start : 24 * head + start + 8] for head in range(4)])
        for name, start in starts.items()
    }


def _matrices(family: str, layer: Any) -> dict[str, Tensor]:
    """A layer's matrices (out, in), read by eye in transformers' sources."""
    if family == "gpt2":
        found = _in_turn(layer.attn.c_attn.weight.T, 32, 32)
        return found | {
            "o": layer.attn.c_proj.weight.T,
            "up": layer.mlp.c_fc.weight.T,
            "down": layer.mlp.c_proj.weight.T,
        }
    if family == "opt":
        found = {name: getattr(layer.self_attn, f"{name}_proj").weight for name in "qkv"}
        return found | {
            "o": layer.self_attn.out_proj.weight,
            "up": layer.fc1.weight,
            "down": layer.fc2.weight,
        }
    if family.startswith(("gpt_neox", "falcon")):
        attention = layer.attention if family == "gpt_neox" else layer.self_attention
        fused = attention.query_key_value.weight
        if family == "falcon":
            found = _in_turn(fused, 32, 8)
        elif family == "falcon-grouped":  # two groups of two queries, a key and a value
            first, second = fused.split(32)
            found = {
                "q": torch.cat([first[:16], second[:16]]),
                "k": torch.cat([first[16:24], second[16:24]]),
                "v": torch.cat([first[24:], second[24:]]),
            }
        else:
            found = _by_head(fused)
        mlp = layer.mlp
        return found | {
            "o": attention.dense.weight,
            "up": mlp.dense_h_to_4h.weight,
            "down": mlp.dense_4h_to_h.weight,
        }
    attention, mlp = layer.self_attn, layer.mlp
    if family == "phi3":
        gate, up = mlp.gate_up_proj.weight.split(48)
        found = _in_turn(attention.qkv_proj.weight, 32, 16) | {"gate": gate, "up": up}
    else:
        found = {name: getattr(attention, f"{name}_proj").weight for name in "qkv"}
        found |= {"gate": mlp.gate_proj.weight, "up": mlp.up_proj.weight}
    return found | {"o": attention.o_proj.weight, "down": mlp.down_proj.weight}


def _first_norm(layer: Any) -> Tensor:
    names = ("input_layernorm", "ln_1", "self_attn_layer_norm", "ln_attn")
    weight: Tensor = next(getattr(layer, name) for name in names if hasattr(layer, name)).weight
    return weight


def _places(part: Tensor, whole: Tensor) -> list[int]:
    """Of each row of `part` the first row of `whole` that is the same."""
    same = (part[:, None] == whole[None]).all(-1)
    assert same.any(1).all(), "a row stands nowhere in the backbone's matrix"
    return same.int().argmax(1).tolist()


CHANGES: dict[str, dict[str, Any]] = {
    "falcon-grouped": {"new_decoder_architecture": True, "num_kv_heads": 2},
    "falcon-apart": {"multi_query": False, "parallel_attn": False},
}


SEPARATE = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "opt")
FUSED = ("phi3", "gpt2", "gpt_neox", "falcon", *CHANGES)


@pytest.mark.parametrize("family", [*SEPARATE, *FUSED])
def test_every_family_gives_rows_and_columns_of_its_own_matrices(family: str) -> None:
    model: Any = tiny_model(family.partition("-")[0], **CHANGES.get(family, {})).requires_grad_(False)
    for name, parameter in model.named_parameters():
        if "norm" in name or "ln_" in name:  # so that channels differ, and a bias shows
            parameter.add_(torch.linspace(0.1, 0.9, parameter.numel()).view_as(parameter))
    tuner = SideTuner(LstParams(init="pruned", reduction=2))
    block = ladder(tuner.prepare(model, _context(model))).network.blocks[0]
    layer = Anatomy(model).layers[0]
    theirs = _matrices(family, layer)
    channels = _taken(block.mlp.up.weight[0], theirs["up"])
    units = _places(block.mlp.up.weight, theirs["up"][:, channels])
    assert torch.equal(block.mlp.out.weight, theirs["down"][channels][:, units])
    if "gate" in theirs:
        assert torch.equal(block.mlp.gate.weight, theirs["gate"][units][:, channels])
    entries = _places(block.attention.query.weight, theirs["q"][:, channels])
    assert len(set(entries)) == len(entries)
    shared = 32 // theirs["k"].shape[0]  # queries that look with the same key
    keys = [entry // 8 // shared * 8 + entry % 8 for entry in entries]
    assert torch.equal(block.attention.key.weight, theirs["k"][keys][:, channels])
    assert torch.equal(block.attention.value.weight, theirs["v"][keys][:, channels])
    assert torch.equal(block.attention.out.weight, theirs["o"][channels][:, entries])
    scale = _first_norm(layer)[channels] + family.startswith("gemma")
    torch.testing.assert_close(block.attention_norm.weight, scale)


def _taken(row: Tensor, whole: Tensor) -> list[int]:
    """The columns that `row` has of that row of `whole` which most of its numbers stand in."""
    same = whole[:, None, :] == row[None, :, None]
    best = int(same.any(-1).sum(1).argmax())
    return same[best].int().argmax(1).tolist()


def test_a_gate_that_the_backbone_has_not_keeps_its_start() -> None:
    model = tiny_model("gpt2").requires_grad_(False)
    gates = []
    for init in ("pruned", "random"):
        params = LstParams(init=init, reduction=2)
        network = ladder(SideTuner(params).prepare(tiny_model("gpt2").requires_grad_(False), _context(model)))
        gates.append(network.network.blocks[1].mlp.gate.weight)
    assert torch.equal(*gates)


def test_experts_are_refused() -> None:
    model = tiny_model("mixtral").requires_grad_(False)
    with pytest.raises(StudioError) as refused:
        SideTuner(LstParams(init="pruned")).prepare(model, _context(model))
    assert refused.value.code == "side_init_unknown"
    assert refused.value.facts["missing"] == ["down_proj", "up_proj"]
