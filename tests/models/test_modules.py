"""The modules that settings may name, against the models that transformers builds."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from studio.models.anatomy import Anatomy
from studio.models.config import facts_of
from studio.models.modules import linears_of, modules_of, named, unknown_names
from tests.memory.families import CONFIGS


@pytest.mark.parametrize("name", CONFIGS)
def test_paths_and_sizes_are_those_of_the_model(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**CONFIGS[name]))
    anatomy, facts = Anatomy(model), facts_of(CONFIGS[name])
    assert {module.path for module in linears_of(facts)} == {path for path, _ in anatomy.linears()}
    expected = {
        path: sum(p.numel() for p in own)
        for path, module in model.named_modules()
        if (own := list(module.parameters(recurse=False)))
        and "vision" not in path
        # Where Gemma 3 keeps what it sees.
        and "multi_modal_projector" not in path
    }
    found = modules_of(facts)
    assert found is not None
    sizes = {m.path: sum(torch.Size(shape).numel() for shape in m.shapes) for m in found}
    assert sizes == expected
    assert max(Counter(module.path for module in found).values()) == 1


def test_a_family_that_is_not_known_has_no_modules_to_name() -> None:
    facts = facts_of({**CONFIGS["llama"], "model_type": "of-nobody"})
    assert modules_of(facts) is None
    assert len(linears_of(facts)) == 7 * facts.layers


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("q_proj", True),
        ("self_attn.q_proj", True),
        ("0.self_attn.q_proj", True),
        ("model.layers.0.self_attn.q_proj", True),
        ("proj", False),
        ("elf_attn.q_proj", False),
        ("q_proj.", False),
        ("", False),
        ("self_attn", False),
    ],
)
def test_a_name_means_a_whole_path_or_its_end(name: str, means: bool) -> None:
    assert named("model.layers.0.self_attn.q_proj", name) is means


def test_one_layer_is_not_another_whose_number_ends_alike() -> None:
    assert not named("model.layers.10.self_attn.q_proj", "0.self_attn.q_proj")
    (facts,) = [facts_of(CONFIGS["llama"])]
    assert unknown_names(["c_attn", "q_proj", "6.self_attn.q_proj"], linears_of(facts)) == [
        "c_attn",
        "6.self_attn.q_proj",
    ]
