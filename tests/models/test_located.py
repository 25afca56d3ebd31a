"""A model of a family that is not known: where it keeps its parts, by what it does in one short pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from studio.errors import StudioError
from studio.models.anatomy import Anatomy
from studio.models.families import FAMILIES, Family
from studio.models.located import located
from studio.train.loss import token_losses
from tests.toys.folders import FAMILY_CONFIGS, OTHER_CONFIGS, tiny_model

# Read by eye in transformers' sources.
WHERE = {
    "olmo2": Family(),
    "stablelm": Family(),
    "starcoder2": Family(),
    "bloom": Family("transformer", "word_embeddings", "h", "ln_f"),
    "gptj": Family("transformer", "wte", "h", "ln_f"),
}


@pytest.mark.parametrize("family", OTHER_CONFIGS)
def test_parts_and_loss_are_the_models_own(family: str) -> None:
    model: Any = tiny_model(family)
    assert located(model) == WHERE[family]
    anatomy = Anatomy(model)
    assert anatomy.embeddings is model.get_input_embeddings()
    assert anatomy.head is model.get_output_embeddings()
    assert len(anatomy.layers) == 2
    ids = torch.randint(4, 260, (2, 30), generator=torch.Generator().manual_seed(3))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    own = model(**batch).loss
    assert own.item() > 1
    torch.testing.assert_close(
        token_losses(anatomy, anatomy.hidden(ids), batch).tokens.mean(), own, rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", sorted(FAMILY_CONFIGS))
def test_a_known_family_would_be_found_as_it_is_known(family: str, dtype: torch.dtype) -> None:
    """Cohere's and Granite's scale and Gemma's bound included; the routers' loss is no part."""
    known = FAMILIES[family]
    found = located(tiny_model(family).to(dtype))
    assert found == Family(**{**vars(known), "router_loss": None})


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_model("olmo2").train()
    model.model.layers[1].eval()
    before = [module.training for module in model.modules()]
    located(model)
    assert [module.training for module in model.modules()] == before
    assert not any(module._forward_hooks for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


def _refusal(model: nn.Module) -> StudioError:
    with pytest.raises(StudioError) as refused:
        Anatomy(model)
    return refused.value


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "mamba", "state_size": 4, "time_step_rank": 4},
        {"model_type": "rwkv", "attention_hidden_size": 16},
        {"model_type": "recurrent_gemma", "num_attention_heads": 2, "intermediate_size": 32},
    ],
    ids=lambda config: config["model_type"],
)
def test_layers_without_attention_are_refused_for_that_reason(config: dict[str, Any]) -> None:
    """All layers, or as in RecurrentGemma most of them."""
    sizes = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 3, "pad_token_id": 0}
    refusal = _refusal(AutoModelForCausalLM.from_config(AutoConfig.for_model(**config, **sizes)))
    assert refusal.code == "architecture_without_attention"
    assert refusal.facts["architecture"] == config["model_type"]


def _tripled(module: nn.Module, args: Any, output: Any) -> None:
    del module, args
    output.logits = 3 * output.logits


@pytest.mark.parametrize("part", ["head", "layers", "norm", "logits"])
def test_the_part_that_is_not_found_is_named(part: str) -> None:
    model: Any = tiny_model("olmo2")
    if part == "head":
        model.get_output_embeddings = lambda: None
    elif part == "layers":  # something happens between them
        model.model.layers[1].register_forward_pre_hook(lambda _, args: (2 * args[0], *args[1:]))
    elif part == "norm":  # it reads something else than the last layer's result
        model.model.norm.register_forward_pre_hook(lambda _, args: (2 * args[0],))
    else:
        model.register_forward_hook(_tripled)
    refusal = _refusal(model)
    assert (refusal.code, refusal.facts) == (
        "architecture_part_missing",
        {"architecture": "olmo2", "part": part},
    )


def test_a_model_without_weights_is_not_run() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model("olmo2", num_hidden_layers=1))
    assert _refusal(model).code == "architecture_unknown"
