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
from studio.train.side.pruned import Importance, _parts, fisher
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
    parts = [_parts(layer) for layer in context.anatomy.layers]
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


def test_layers_without_separate_matrices_are_refused() -> None:
    model = tiny_model("gpt2").requires_grad_(False)
    with pytest.raises(StudioError) as refused:
        SideTuner(LstParams(init="pruned")).prepare(model, _context(model))
    assert refused.value.code == "side_init_unknown"
    assert "q_proj" in refused.value.facts["missing"]
