"""LoRA's beginnings against peft's own, what its params refuse, and its memory terms against real tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from studio.errors import StudioError
from studio.methods.lora import STARTS
from studio.models.anatomy import Anatomy
from studio.models.config import read_config
from studio.models.load import load_model
from studio.plan import Plan, methods
from studio.train import lora_start, svd
from studio.train.lora_start import starts, whole_weight
from studio.train.tuner import TunerContext, make_tuner
from tests.toys.folders import tiny_model, tiny_plan, write_model

IDS = torch.arange(4, 44).reshape(1, 40)


def _context(model: nn.Module, plan: Plan, pad: int = 0) -> TunerContext:
    """One calibration batch; with `pad` columns behind it that must not count."""
    anatomy = Anatomy(model)
    ids = torch.cat([IDS, IDS.new_zeros(1, pad)], dim=1)
    mask = torch.cat([torch.ones_like(IDS), IDS.new_zeros(1, pad)], dim=1)

    def loss(batch: dict[str, Any]) -> Tensor:
        states = anatomy.hidden(batch["text"]["input_ids"]).states[:, :39]
        return nn.functional.cross_entropy(anatomy.logits(states)[0], IDS[0, 1:])

    return TunerContext(
        plan,
        anatomy,
        torch.Generator().manual_seed(0),
        lambda n: iter([{"text": {"input_ids": ids, "attention_mask": mask}}] * min(n, 2)),
        loss,
    )


def _products(init: str, family: str, pad: int = 0) -> dict[str, Tensor]:
    """scaling * B A of each layer of a tiny model, as we begin."""
    model = tiny_model(family).requires_grad_(False)
    context = _context(model, tiny_plan(), pad)
    paths = [path for path, _ in context.anatomy.linears()]
    return {path: 2.0 * b @ a for path, (a, b) in starts(STARTS[init], context, paths, 4, 2.0)}


# peft does not turn GPT-2's weights for olora.
@pytest.mark.parametrize(("init", "family"), [("pissa", "llama"), ("pissa", "gpt2"), ("olora", "llama")])
def test_takes_out_of_the_base_what_peft_takes_out(init: str, family: str) -> None:
    model = tiny_model(family)
    anatomy = Anatomy(model)
    before = {path: whole_weight(layer).clone() for path, layer in anatomy.linears()}
    config = LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=list(before),
        init_lora_weights=init,
        fan_in_fan_out=family == "gpt2",
    )
    tuned: Any = get_peft_model(model, config)
    ours = _products(init, family, pad=7)
    assert ours.keys() == before.keys()
    for path, weight in before.items():
        theirs = weight - whole_weight(tuned.get_base_model().get_submodule(path).get_base_layer())
        torch.testing.assert_close(ours[path], theirs, rtol=2e-2, atol=2e-3)


def _inputs(model: nn.Module, path: str) -> Tensor:
    """What a layer reads of the real tokens (40, inputs)."""
    seen: list[Tensor] = []
    hook = model.get_submodule(path).register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    model(IDS)
    hook.remove()
    return seen[0][0]


def test_eva_finds_the_directions_of_the_inputs() -> None:
    model, path = tiny_model(), "model.layers.0.mlp.up_proj"
    x = _inputs(model, path)
    expected = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2][:4]
    [(_, (a, b))] = starts(STARTS["eva"], _context(model, tiny_plan(), pad=5), [path], 4, 2.0)
    torch.testing.assert_close((a @ expected.T).abs(), torch.eye(4), rtol=0, atol=1e-3)
    assert not b.any()


@pytest.mark.parametrize(
    ("family", "path"), [("llama", "model.layers.0.mlp.down_proj"), ("gpt2", "transformer.h.1.mlp.c_fc")]
)
def test_corda_is_the_part_that_answers_most_to_the_inputs(family: str, path: str) -> None:
    model = tiny_model(family)
    x = _inputs(model, path)
    c = x.T @ x / x.square().sum() * x.shape[1] + 0.01 * torch.eye(x.shape[1])
    u, s, vh = torch.linalg.svd(whole_weight(model.get_submodule(path)) @ c)
    [(_, (a, b))] = starts(STARTS["corda"], _context(model, tiny_plan(), pad=5), [path], 4, 2.0)
    torch.testing.assert_close(2.0 * b @ a @ c, u[:, :4] * s[:4] @ vh[:4], rtol=1e-3, atol=1e-3)


def test_lora_ga_begins_along_the_gradient() -> None:
    model, path = tiny_model().requires_grad_(False), "model.layers.1.self_attn.q_proj"
    context = _context(model, tiny_plan())
    weight = model.get_submodule(path).weight
    weight.requires_grad_(True)
    gradient = torch.autograd.grad(context.loss(next(context.calibration_batches(1))), weight)[0]
    weight.requires_grad_(False)
    u, _, vh = torch.linalg.svd(gradient)
    [(_, (a, b))] = starts(STARTS["lora_ga"], context, [path], 4, 2.0)
    size = 32**0.25 / 4
    torch.testing.assert_close((a @ vh[:4].T).abs(), size * torch.eye(4), rtol=0, atol=1e-3)
    torch.testing.assert_close((u[:, 4:8].T @ b).abs(), size * torch.eye(4), rtol=0, atol=1e-3)
    assert not weight.requires_grad


def test_groups_of_layers_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _products("corda", "llama")
    monkeypatch.setattr(lora_start, "GROUP_BYTES", 5000)
    for path, product in _products("corda", "llama").items():
        torch.testing.assert_close(product, whole[path], rtol=1e-4, atol=1e-5)


def test_wide_matrices_are_decomposed_by_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _products("pissa", "llama")
    monkeypatch.setattr(svd, "WHOLE_SVD", 1)
    for path, product in _products("pissa", "llama").items():
        torch.testing.assert_close(product, whole[path], rtol=1e-3, atol=1e-3)


def test_loftq_halves_what_4_bit_lost(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    plan = tiny_plan("qlora", init="loftq", rank=16)
    whole = load_model(folder, dtype=torch.float32, device="cpu")
    quantisation = methods.get("qlora").base_quantisation(plan.method_params)
    base = load_model(folder, dtype=torch.float32, device="cpu", quantisation=quantisation)
    context = _context(base, plan)
    context = TunerContext(**{**vars(context), "whole_base": lambda: whole})
    path = "model.layers.0.mlp.down_proj"
    [(_, (a, b))] = starts(STARTS["loftq"], context, [path], 16, 2.0)
    exact, held = whole_weight(whole.get_submodule(path)), whole_weight(base.get_submodule(path))
    assert (exact - held - 2.0 * b @ a).norm() < 0.5 * (exact - held).norm()


def _prepared(plan: Plan) -> nn.Module:
    model = tiny_model().requires_grad_(False)
    return make_tuner(plan).prepare(model, _context(model, plan))


@pytest.mark.parametrize(
    ("settings", "code", "facts"),
    [
        (
            {"targets": "q_proj,nose"},
            "target_unknown",
            {
                "target": "nose",
                "known": ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"],
            },
        ),
        ({"modules_to_save": "nose"}, "module_unknown", {"module": "nose"}),
        ({"trainable_tokens": "nose"}, "token_unknown", {"token": "nose"}),
        ({"trainable_tokens": "260"}, "token_unknown", {"token": "260", "tokens": 260}),
        (
            {"targets": "q_proj", "modules_to_save": "q_proj"},
            "targets_all_whole",
            {"modules": ["q_proj"]},
        ),
        ({"init": "pissa", "rank": 17}, "init_rank_too_high", {"rank": 17, "most": 16}),
        ({"init": "lora_ga", "rank": 9}, "init_rank_too_high", {"rank": 18, "most": 16}),
    ],
)
def test_refuses_with_the_reason(settings: dict[str, Any], code: str, facts: dict[str, Any]) -> None:
    with pytest.raises(StudioError) as refusal:
        _prepared(tiny_plan(**settings))
    assert refusal.value.code == code
    assert refusal.value.facts.items() >= facts.items()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("module", ["lm_head", "embed_tokens"])
def test_tokens_yield_to_a_table_that_trains_whole(tied: bool, module: str) -> None:
    model = tiny_model(tie_word_embeddings=tied).requires_grad_(False)
    plan = tiny_plan(trainable_tokens="7", modules_to_save=module)
    tuned = make_tuner(plan).prepare(model, _context(model, plan))
    trained = [name for name, p in tuned.named_parameters() if p.requires_grad]
    whole = [name for name in trained if "modules_to_save" in name]
    assert len(whole) == 1
    # Alone a head that is no table leaves the table's tokens to train.
    single = [name for name in trained if "trainable_tokens" in name]
    assert len(single) == (1 if module == "lm_head" and not tied else 0)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("self_attn.q_proj", {"model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"}),
        ("model.layers.1.mlp.up_proj", {"model.layers.1.mlp.up_proj"}),
        ("0.self_attn.v_proj", {"model.layers.0.self_attn.v_proj"}),
    ],
)
def test_a_target_is_a_path_or_its_end(targets: str, expected: set[str]) -> None:
    tuned: Any = _prepared(tiny_plan(targets=targets))
    adapted = {path for path, m in tuned.get_base_model().named_modules() if isinstance(m, LoraLayer)}
    assert adapted == expected


def test_an_mlp_that_peft_takes_for_experts_is_refused_and_attention_adapted() -> None:
    def prepared(**settings: Any) -> Any:
        model, plan = tiny_model("ernie4_5_moe"), tiny_plan(**settings)
        return make_tuner(plan).prepare(model, _context(model, plan))

    with pytest.raises(StudioError) as refused:
        prepared()
    attention = ["k_proj", "o_proj", "q_proj", "v_proj"]
    expected = {"targets": ["down_proj", "gate_proj", "up_proj"], "known": attention}
    assert (refused.value.code, refused.value.facts) == ("target_of_experts", expected)
    tuned = prepared(targets="q_proj,v_proj")
    assert sum(isinstance(module, LoraLayer) for module in tuned.modules()) == 4


def test_a_router_gets_no_adapter() -> None:
    """Llama 4's is derived from a linear layer, and chooses experts too."""
    config = {"num_local_experts": 4, "interleave_moe_layer_step": 1, "intermediate_size_mlp": 48}
    model = tiny_model("llama4_text", **config)
    assert any("router" in path for path, m in model.named_modules() if isinstance(m, nn.Linear))
    assert not any("router" in path for path, _ in Anatomy(model).linears())


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dora": True, "rank": 3},
        {"targets": "all-linear"},
        {"targets": "0.self_attn.q_proj,model.layers.1.mlp.up_proj", "dora": True},
        {"targets": "q_proj,down_proj", "trainable_tokens": "4,5,9"},
        {"modules_to_save": "norm,lm_head,v_proj,input_layernorm,model.layers.0.post_attention_layernorm"},
        {"modules_to_save": "embed_tokens", "dora": True},
        {"modules_to_save": "0.self_attn.k_proj,model.layers.1.input_layernorm,model.norm"},
        {"targets": "q_proj", "dora": True, "adapter_dtype": "bf16", "precision": "bf16"},
    ],
)
def test_memory_counts_what_trains(settings: dict[str, Any], tmp_path: Path) -> None:
    plan = tiny_plan(**settings)
    tuned = _prepared(plan)
    trained = [p for p in tuned.parameters() if p.requires_grad]
    shapes = sorted(tuple(p.shape) for p in trained)
    facts = read_config(write_model(tmp_path / "tiny"))
    terms = methods.get("lora").memory(facts, plan.method_params, plan.settings)
    assert sorted(terms.trainable) == shapes
    table = 4 * 260 * 32 if plan.method_params.trainable_tokens else 0
    assert terms.trained_bytes == sum(p.numel() * p.element_size() for p in trained) + table


def test_second_matrices_learn_faster_with_lora_plus() -> None:
    plan = tiny_plan(lora_plus=16, weight_decay=0.1)
    tuned = _prepared(plan)
    groups = make_tuner(plan).param_groups(tuned, plan.settings)
    layers = [module for module in tuned.modules() if isinstance(module, LoraLayer)]
    rates = {id(p): group.get("lr", 0.01) for group in groups for p in group["params"]}
    assert {rates[id(layer.lora_A["default"].weight)] for layer in layers} == {0.01}
    assert {rates[id(layer.lora_B["default"].weight)] for layer in layers} == {0.16}
    assert {group["weight_decay"] for group in groups} == {0.1}
