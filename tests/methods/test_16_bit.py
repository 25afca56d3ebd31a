"""Methods under the precisions in which most people train: 16 bit, and 32 bit beside it under autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from studio.models.anatomy import Anatomy
from studio.models.load import load_model
from studio.plan import Plan
from studio.train.tuner import Tuner, TunerContext, make_tuner
from studio.train.undisturbed import undisturbed
from tests.toys.folders import sums, tiny_plan, write_model, write_run
from tests.toys.runs import run_plan, saved_tensors
from tests.toys.tuned import logits, untouched

IDS = torch.arange(4, 44)[None]
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("lora", {}),
    "dora": ("lora", {"dora": True}),
    "tokens": ("lora", {"trainable_tokens": "4,7"}),
    "qlora_dora": ("qlora", {"dora": True}),
    "lst": ("lst", {}),
    "qst": ("qst", {}),
    "full": ("full", {}),
}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny")


def _plan(form: str, precision: str, **more: Any) -> Plan:
    method, settings = FORMS[form]
    dtype = "bf16" if precision == "bf16" else "fp32"
    return tiny_plan(
        method,
        **{"warmup": 0.0, "steps": 4, "precision": precision, "adapter_dtype": dtype, **settings, **more},
    )


def _arithmetic(precision: str) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "mixed")


def _fresh(plan: Plan, folder: Path) -> nn.Module:
    return untouched(plan, folder, torch.bfloat16)


def _logits(model: nn.Module, tuner: Tuner, precision: str) -> Tensor:
    with _arithmetic(precision):
        return logits(model, tuner)


# Under `mixed`, full tuning saves 32 bit, which a base in 16 can't hold.
CASES = [
    (form, precision)
    for form in FORMS
    for precision in ("bf16", "mixed")
    if (form, precision) != ("full", "mixed")
]


@pytest.mark.parametrize(("form", "precision"), CASES)
def test_loaded_logits_are_the_trained_ones(
    form: str, precision: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, seen = _plan(form, precision), []

    def look(boundary: int, model: nn.Module) -> None:
        if boundary == 4:
            with undisturbed(model):
                seen.append(_logits(model, make_tuner(plan), precision))

    run = write_run(tmp_path / "run", sums(16))
    run_plan(plan, model_folder, run, monkeypatch, at=look)
    tuner = make_tuner(plan)
    loaded = _logits(tuner.load(_fresh(plan, model_folder), run / "adapter"), tuner, precision)
    assert torch.equal(loaded, seen[0])
    assert (loaded - _logits(_fresh(plan, model_folder), Tuner(None), precision)).abs().max() > 0.1


@pytest.mark.parametrize("precision", ["bf16", "mixed"])
@pytest.mark.parametrize("init", ["default", "eva"])
def test_dora_starts_as_the_base_bit_for_bit(precision: str, init: str, model_folder: Path) -> None:
    plan = _plan("dora", precision, init=init)
    base = _fresh(plan, model_folder)
    anatomy = Anatomy(base)
    own = _logits(base, Tuner(None), precision)
    batch = {"text": {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}}
    context = TunerContext(
        plan, anatomy, torch.Generator().manual_seed(0), lambda _: iter([batch]), lambda _: torch.zeros(())
    )
    tuner = make_tuner(plan)
    assert torch.equal(_logits(tuner.prepare(base, context).eval(), tuner, precision), own)


def test_dora_learns_lengths_by_steps_that_16_bit_would_lose(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = write_run(tmp_path / "run", sums(16))
    run_plan(_plan("dora", "bf16", lr=1e-4), model_folder, run, monkeypatch)
    weights = load_model(model_folder, dtype=torch.bfloat16, device="cpu").state_dict()
    for name, magnitude in saved_tensors(run / "adapter").items():
        if name.endswith("lora_magnitude_vector"):
            path = name.removeprefix("base_model.model.").removesuffix(".lora_magnitude_vector")
            moved = (magnitude - weights[f"{path}.weight"].float().norm(dim=1)).abs()
            assert (moved > 5e-5).float().mean() > 0.5
            assert moved.max() < 1e-3


@pytest.mark.parametrize("form", ["lora", "dora"])
def test_merging_rounds_each_weight_once(form: str, model_folder: Path, tmp_path: Path) -> None:
    plan, base = _plan(form, "bf16"), load_model(model_folder, dtype=torch.bfloat16, device="cpu")
    context = TunerContext(
        plan, Anatomy(base), torch.Generator().manual_seed(0), lambda _: iter(()), lambda _: torch.zeros(())
    )
    tuner, path = make_tuner(plan), "model.layers.1.mlp.up_proj"
    tuned: Any = tuner.prepare(base, context)
    generator = torch.Generator().manual_seed(1)
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    tuner.save(tuned, tmp_path)
    layer = tuned.get_base_model().get_submodule(path)
    a, b = (matrix["default"].weight.detach().float() for matrix in (layer.lora_A, layer.lora_B))
    exact = layer.get_base_layer().weight.float() + 2.0 * b @ a
    if form == "dora":
        magnitude = layer.lora_magnitude_vector["default"].weight.detach()
        exact = magnitude[:, None] / exact.norm(dim=1, keepdim=True) * exact
    merged = tuner.merge(tuner.load(load_model(model_folder, dtype=torch.bfloat16, device="cpu"), tmp_path))
    ours = merged.get_submodule(path).weight.float()
    # Half the distance of two neighbours in 16 bit, and as much for what was added.
    assert ((ours - exact).abs() <= 2.0**-8 * exact.abs() + 1e-6).all()


@pytest.mark.parametrize("precision", ["bf16", "mixed"])
def test_qlora_holds_nothing_of_the_base_in_32_bit(precision: str, model_folder: Path) -> None:
    """Embeddings, norms and head included: nothing is widened to prepare the base."""
    plan = _plan("qlora_dora", precision)
    base = _fresh(plan, model_folder)
    context = TunerContext(
        plan, Anatomy(base), torch.Generator(), lambda _: iter(()), lambda _: torch.zeros(())
    )
    tuned = make_tuner(plan).prepare(base, context)
    frozen = {name: p.dtype for name, p in tuned.named_parameters() if not p.requires_grad}
    assert set(frozen.values()) == {torch.bfloat16, torch.uint8}
    assert {"embed_tokens", "lm_head", "norm"} <= {name.split(".")[-2] for name in frozen}


@pytest.mark.parametrize("method", ["qlora", "qst"])
def test_a_4_bit_run_learns_on_after_evaluations(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a processor with AVX512-BF16 bitsandbytes would pack the weights in the first evaluation, if their
    sizes are multiples of its blocks, and no gradient would come through them any more."""
    folder = write_model(tmp_path / "wide", hidden_size=128, intermediate_size=256, head_dim=32)
    curves = []
    for eval_every in (1, 8):
        run = write_run(tmp_path / f"run{eval_every}", sums(16), sums(4, 100))
        plan = tiny_plan(
            method, warmup=0.0, steps=8, precision="bf16", adapter_dtype="bf16", eval_every=eval_every
        )
        ran = run_plan(plan, folder, run, monkeypatch)
        assert len(ran.recorder.metrics["eval_loss"]) == 8 // eval_every
        curves.append(ran.recorder.curve())
    assert curves[0] == curves[1]
    assert curves[0][-1] < 0.8 * curves[0][1]
