"""Full tuning: which weights train, in which format, and what of them is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from studio.errors import StudioError
from studio.methods.full import FullParams, memory
from studio.models.anatomy import Anatomy
from studio.models.config import facts_of
from studio.plan import Settings
from studio.train.full import FullTuner
from studio.train.tuner import TunerContext
from tests.toys.folders import tiny_model, tiny_plan
from tests.toys.runs import saved_tensors


def _prepared(family: str = "llama", precision: str = "fp32", **params: Any) -> tuple[nn.Module, FullTuner]:
    model = tiny_model(family).requires_grad_(False)
    tuner = FullTuner(FullParams(**params))
    plan = tiny_plan("full", precision=precision)
    context = TunerContext(
        plan, Anatomy(model), torch.Generator(), lambda _: iter(()), lambda _: torch.zeros(())
    )
    return tuner.prepare(model, context), tuner


@pytest.mark.parametrize("params", [{}, {"freeze_embeddings": True}, {"freeze_layers": 1}])
@pytest.mark.parametrize("family", ["llama", "mistral"])  # mistral's head is the token table
def test_declared_memory_counts_the_tensors_that_train(family: str, params: dict[str, Any]) -> None:
    model, _ = _prepared(family, **params)
    trained = sorted(tuple(p.shape) for p in model.parameters() if p.requires_grad)
    facts = facts_of(model.config.to_dict())
    assert sorted(memory(facts, FullParams(**params), Settings(precision="mixed")).trainable) == trained


def test_frozen_parts_stay_and_are_not_saved(tmp_path: Path) -> None:
    model, tuner = _prepared(freeze_embeddings=True, freeze_layers=1)
    tuner.save(model, tmp_path)
    saved = set(saved_tensors(tmp_path))
    assert "model.embed_tokens.weight" not in saved
    assert not any(name.startswith("model.layers.0.") for name in saved)
    assert {"lm_head.weight", "model.norm.weight", "model.layers.1.mlp.up_proj.weight"} <= saved
    assert len(saved) == 11


@pytest.mark.parametrize(
    ("precision", "trained", "frozen"),
    [
        ("fp32", torch.float32, torch.float32),
        ("mixed", torch.float32, torch.bfloat16),
        ("bf16", torch.bfloat16, torch.bfloat16),
    ],
)
def test_number_formats(precision: str, trained: torch.dtype, frozen: torch.dtype) -> None:
    model = tiny_model().requires_grad_(False)
    if precision == "bf16":
        model = model.bfloat16()
    context = TunerContext(
        tiny_plan("full", precision=precision),
        Anatomy(model),
        torch.Generator(),
        lambda _: iter(()),
        lambda _: torch.zeros(()),
    )
    FullTuner(FullParams(freeze_layers=1)).prepare(model, context)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {trained}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {frozen}


def test_freezing_every_layer_is_refused() -> None:
    with pytest.raises(StudioError) as refusal:
        _prepared(freeze_layers=2)
    assert refusal.value.code == "freezes_everything"


def test_another_base_is_refused(tmp_path: Path) -> None:
    model, tuner = _prepared()
    tuner.save(model, tmp_path)
    with pytest.raises(StudioError) as refusal:
        tuner.load(tiny_model(hidden_size=64), tmp_path)
    assert refusal.value.code == "adapter_unfit"
