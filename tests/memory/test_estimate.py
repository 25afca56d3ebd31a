"""The estimate's arithmetic against what the real code makes on fake tensors, and what it stands by."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from studio.memory.estimate import estimate
from studio.models.config import facts_of
from studio.models.families import FAMILIES
from studio.plan import methods, optimizers
from tests.memory.families import CONFIGS
from tests.memory.plans import METHODS, plan_of

PRECISIONS = ("bf16", "mixed", "fp32")
IMPLEMENTATIONS = ("fused", "loop", "foreach")


def grid():
    """Every method on every family, two on what is built otherwise, each with checkpointing and without;
    precision and optimizer take turns, so that each family and each method meets each of them."""
    for row, (name, config) in enumerate(CONFIGS.items()):
        for column, method in enumerate(METHODS if name == config["model_type"] else METHODS[:2]):
            for checkpointing in (False, True):
                settings = {
                    "precision": PRECISIONS[(row + column + checkpointing) % 3],
                    "gradient_checkpointing": checkpointing,
                    "optimizer_impl": IMPLEMENTATIONS[(row + 2 * column + checkpointing) % 3],
                }
                marks = () if name == "llama" else pytest.mark.slow
                made_again = "-checkpointing" * checkpointing
                yield pytest.param(name, method, settings, marks=marks, id=f"{name}-{method}{made_again}")


def estimated(name, method, learned=0.5, **settings):
    facts = facts_of(CONFIGS[name])
    return estimate(plan_of(method, facts, **settings), facts, learned)


def compare(config, plan, learned=0.5):
    """The estimate over the trace, less one."""
    from studio.memory.trace import trace

    facts = facts_of(config)
    return estimate(plan, facts, learned).allocated / trace(plan, config, learned).allocated - 1


@pytest.mark.parametrize(
    ("name", "targets", "checkpointing"),
    [
        ("llama", "0.self_attn.q_proj,model.layers.4.mlp.down_proj", False),
        ("llama", "3.self_attn.v_proj", True),
        ("gpt2", "attn.c_proj", False),
        ("gpt2", "c_proj", True),
    ],
)
def test_adapters_in_some_places_alone_agree_with_the_trace(name, targets, checkpointing):
    config, given = CONFIGS[name], {"targets": targets, "gradient_checkpointing": checkpointing}
    assert abs(compare(config, plan_of("lora", facts_of(config), **given))) <= 0.01


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_tiny_vocabulary_with_checkpoints_agrees_with_the_trace(precision):
    """The worst moment is then in a layer that runs again, not at the loss."""
    config = {**CONFIGS["llama"], "vocab_size": 512}
    plan = plan_of("qlora", facts_of(config), gradient_checkpointing=True, precision=precision)
    assert abs(compare(config, plan)) <= 0.005


def test_grid_is_whole():
    assert {config["model_type"] for config in CONFIGS.values()} == set(FAMILIES)
    assert set(METHODS) == set(methods.all())
    cells = {(*case.values[:2], case.values[2]["gradient_checkpointing"]) for case in grid()}
    assert cells >= set(product(FAMILIES, METHODS, (False, True)))


def on_a_gpu():
    """Every family as it runs by default on a GPU, by methods that take turns, twice each."""
    for row, name in enumerate(CONFIGS):
        for column in range(2):
            marks = () if name in ("gpt2", "opt") else pytest.mark.slow
            method = METHODS[(row + 2 * column) % len(METHODS)]
            settings = {"gradient_checkpointing": bool((row + column) % 2)}
            yield pytest.param(name, method, settings, marks=marks, id=f"{name}-{method}")


@pytest.mark.parametrize(("name", "method", "settings"), list(on_a_gpu()))
def test_estimate_agrees_with_the_trace_as_on_a_gpu(name, method, settings):
    """There autocast computes norms and powers in 32 bit."""
    layers = "n_layer" if name.startswith("gpt2") else "num_hidden_layers"
    config = CONFIGS[name] | {layers: 4}
    plan = plan_of(method, facts_of(config), device="cuda:0", precision="mixed", **settings)
    assert abs(compare(config, plan)) <= 0.015


def test_autocast_in_32_bit_is_that_of_the_installed_torch():
    import torch

    from studio.memory import autocast

    header = Path(torch.__file__).parent / "include" / "ATen" / "autocast_mode.h"
    text = header.read_text(encoding="utf-8")
    for macro, known in (
        ("AT_FORALL_FP32", autocast.IN_32_BIT),
        ("AT_FORALL_FP32_SET_OPT_DTYPE", autocast.INTO_32_BIT),
        ("AT_FORALL_PROMOTE", autocast.IN_THE_WIDEST),
    ):
        body = text.split(f"#define {macro}(_)")[1].split("\n\n")[0]
        said = [found.replace(", ", ".") for found in re.findall(r"_\(([\w, ]+)\)", body)]
        assert sorted(said) == sorted(known.split())


def test_a_processors_autocast_is_its_own_again_afterwards():
    import torch

    from studio.memory.autocast import as_on_cuda

    narrow = torch.ones(2, 4, dtype=torch.bfloat16)

    def norm_cube_and_likelihood():
        with torch.autocast("cpu", torch.bfloat16):
            made = torch.nn.functional.layer_norm(narrow, (4,)), narrow**3, narrow.softmax(-1)
        return [x.dtype for x in made]

    before = norm_cube_and_likelihood()
    with as_on_cuda():
        assert norm_cube_and_likelihood() == [torch.float32] * 3
        assert torch.nn.functional.layer_norm(narrow, (4,)).dtype == torch.bfloat16  # outside of autocast
    assert norm_cube_and_likelihood() == before == [torch.bfloat16] * 3


@pytest.mark.parametrize(("name", "method", "settings"), list(grid()))
def test_estimate_agrees_with_the_trace(name, method, settings):
    config = CONFIGS[name]
    assert abs(compare(config, plan_of(method, facts_of(config), **settings))) <= 0.01


@pytest.mark.parametrize("method", ["full", "lora", "qst"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_deep_models_follow_from_shallow_ones(method, checkpointing):
    config = CONFIGS["llama"] | {"num_hidden_layers": 11}
    plan = plan_of(method, facts_of(config), gradient_checkpointing=checkpointing, batch=1)
    assert abs(compare(config, plan)) <= 0.01


def test_no_part_falls_below_nothing_where_the_worst_moment_moves():
    """In 32 bit the worst moment of 4 and of 5 layers' backward pass are two different ones."""
    for layers in (6, 9):
        config = CONFIGS["llama"] | {"num_hidden_layers": layers}
        plan = plan_of("full", facts_of(config), precision="fp32")
        assert min(estimate(plan, facts_of(config), 0.5).parts.values()) > 0
        assert abs(compare(config, plan)) <= 0.01


@pytest.mark.parametrize("skip_every", [2, 3])
def test_deep_models_with_layers_that_have_no_rung(skip_every):
    config = CONFIGS["llama"] | {"num_hidden_layers": 9}
    plan = plan_of("lst", facts_of(config), skip_every=skip_every)
    assert abs(compare(config, plan)) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("full", {"freeze_layers": 3, "precision": "mixed"}),
        ("full", {"freeze_embeddings": True, "precision": "mixed"}),
        ("lora", {"targets": ("q_proj", "v_proj"), "dropout": 0.0, "rank": 64}),
        ("lora", {"adapter_dtype": "fp32"}),
        ("lora", {"dora": True}),
        ("lora", {"dora": True, "dropout": 0.0, "precision": "mixed"}),
        ("lora", {"dora": True, "adapter_dtype": "fp32"}),
        ("lora", {"dora": True, "gradient_checkpointing": True, "batch": 1, "seq": 64}),
        ("qlora", {"dora": True}),
        ("qlora", {"dora": True, "precision": "mixed", "gradient_checkpointing": True, "device": "cuda:0"}),
        ("qlora", {"dora": True, "dropout": 0.0, "precision": "mixed", "device": "cuda:0"}),
        ("lora", {"init": "eva"}),
        ("lst", {"init": "pruned"}),
        ("qlora", {"double_quant": False}),
        ("lst", {"downsampler": "max"}),
        ("lst", {"downsampler": "linear", "tap_bits": "16"}),
        ("lst", {"skip_every": 3, "output": "side"}),
        ("full", {"adapter_dtype": "fp32"}),
        ("full", {"adapter_dtype": "bf16", "precision": "fp32"}),
        ("full", {"loss_kernel": "full"}),
        ("full", {"attention": "eager"}),
        ("qlora", {"device": "cuda:0", "optimizer": "paged_adamw_8bit", "precision": "mixed"}),
        ("full", {"device": "cuda:0", "optimizer": "adamw_8bit", "gradient_checkpointing": True}),
        ("lst", {"device": "cuda:0", "precision": "mixed"}),
    ],
)
def test_options_agree_with_the_trace(method, settings):
    assert abs(compare(CONFIGS["llama"], plan_of(method, facts_of(CONFIGS["llama"]), **settings))) <= 0.01


@pytest.mark.parametrize("dropout", [0.0, 0.05])
def test_a_small_vocabulary_leaves_the_worst_moment_to_the_layers(dropout):
    """The backward pass of the last norm, in 32 bit: a square's makes three tensors that live at once."""
    config = CONFIGS["llama"] | {"vocab_size": 260, "hidden_size": 128, "intermediate_size": 256}
    plan = plan_of("lora", facts_of(config), batch=4, seq=128, dropout=dropout)
    assert abs(compare(config, plan)) <= 0.002


def test_many_labelled_positions_are_computed_in_chunks():
    config = CONFIGS["llama"] | {"vocab_size": 128000, "num_hidden_layers": 2}
    plan = plan_of("lora", facts_of(config), batch=8, seq=256)
    assert abs(compare(config, plan, learned=1.0)) <= 0.01


@pytest.mark.parametrize("name", CONFIGS)
def test_trained_numbers_are_those_of_the_model(name):
    """Full tuning, and adapters on all linear layers, against the model itself on torch's meta device."""
    import torch

    from studio.memory.fake import meta_model
    from studio.memory.rehearsal import prepared

    facts = facts_of(CONFIGS[name])
    for method in ("full", "lora"):
        plan = plan_of(method, facts)
        tuned, _ = prepared(plan, meta_model(CONFIGS[name], torch.bfloat16))
        trained = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
        terms = methods.get(method).memory(facts, plan.method_params, plan.settings)
        assert terms.trainable_params == trained


def test_what_a_gpu_may_page_out_is_a_part_of_its_own():
    from studio.memory.trace import trace

    config = CONFIGS["llama"] | {"num_hidden_layers": 2}
    facts = facts_of(config)

    def both(optimizer, device="cuda:0"):
        settings = {"optimizer": optimizer, "optimizer_impl": "loop", "device": device}
        plan = plan_of("full", facts, **settings)
        return estimate(plan, facts, 0.5), trace(plan, config, 0.5)

    plain, paged = both("adamw_8bit"), both("paged_adamw_8bit")
    large = [512 * 512, 512 * 128, 512 * 1408, 16000 * 512]  # numbers of its matrices
    moved = 2 * (2 * large[3] + 2 * (2 * large[0] + 3 * large[2]))  # keys and values are below 100,000
    for before, after in zip(plain, paged, strict=True):
        assert "paged" not in before.parts
        assert after.parts["paged"] == moved
        assert after.parts["optimizer"] == before.parts["optimizer"] - moved
        assert after.allocated == before.allocated - moved
        assert after.reserved[0] < before.reserved[0]
        assert after.reserved[1] >= after.allocated + moved
    assert "paged" not in both("paged_adamw_8bit", "cpu")[0].parts


@pytest.mark.parametrize("optimizer", sorted(optimizers.all()))
def test_every_optimizer_agrees_with_the_trace(optimizer):
    """On so few tokens that most lives while it steps one tensor after the other."""
    config = CONFIGS["llama"]
    settings = {"optimizer": optimizer, "optimizer_impl": "loop", "batch": 1, "seq": 16}
    assert abs(compare(config, plan_of("full", facts_of(config), **settings))) <= 0.01
