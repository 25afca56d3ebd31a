from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer

from studio.errors import StudioError
from studio.generate.adapters import AdapterPool
from studio.generate.decode import generate
from studio.generate.request import BASE, Request, Sampling
from studio.merge.adapter import PeftForm
from studio.merge.combine import combine_in_memory
from studio.merges import merges
from studio.params import to_dict
from studio.plan import methods
from tests.generate.models import prompt, tiny

PROMPT = prompt(9, 1)


def make_adapter(folder: Path, seed: int, **more: Any) -> Path:
    """A random LoRA adapter for the tiny llama, saved by PEFT itself."""
    torch.manual_seed(seed)
    model = tiny()
    torch.manual_seed(seed)
    config = LoraConfig(**{"r": 4, "target_modules": "all-linear", "init_lora_weights": False, **more})
    get_peft_model(model, config).save_pretrained(folder)
    return folder


def by_peft(folder: Path, count: int) -> list[int]:
    """Greedy tokens of a separately loaded base with this adapter, by PEFT and transformers alone."""
    model = PeftModel.from_pretrained(tiny(), folder).eval()
    out = model.generate(input_ids=torch.tensor([PROMPT]), max_new_tokens=count, do_sample=False)
    return list(out[0, len(PROMPT) :].tolist())


def answer(model: Any, pool: AdapterPool, *adapters: str, **sampling: Any) -> list[list[int | None]]:
    requests = [Request(PROMPT, Sampling(**sampling), max_tokens=25, adapter=name) for name in adapters]
    rows: list[list[int | None]] = [[] for _ in requests]
    for token in generate(model, requests, pool):
        rows[token.row].append(token.id)
    return rows


def test_base_and_adapters_answer_in_one_batch_as_each_does_alone(tmp_path: Path) -> None:
    first = make_adapter(tmp_path / "first", 1)
    second = make_adapter(tmp_path / "second", 2, r=7, lora_alpha=3, target_modules=["q_proj", "down_proj"])
    third = make_adapter(tmp_path / "third", 3, use_rslora=True, rank_pattern={"v_proj": 2})
    model = tiny()
    pool = AdapterPool(model)
    untouched = answer(model, pool, BASE)[0]
    names = [pool.require(folder) for folder in (first, second, third)]
    rows = answer(model, pool, BASE, *names)
    assert rows == [untouched, by_peft(first, 25), by_peft(second, 25), by_peft(third, 25)]
    assert len({tuple(row) for row in rows}) == 4
    sampled = answer(model, pool, BASE, *names, temperature=1.0, seed=3)
    assert sampled == [answer(model, pool, name, temperature=1.0, seed=3)[0] for name in (BASE, *names)]


def test_the_base_stays_the_base_bit_for_bit(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "adapter", 1)
    model, ids = tiny(), torch.tensor([PROMPT])
    expected = model(ids).logits
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pool = AdapterPool(model)
    name = pool.require(folder)
    answer(model, pool, name, BASE, name)
    pool.select([BASE])
    assert torch.equal(model(ids).logits, expected)
    pool.select([name])
    assert not torch.equal(model(ids).logits, expected)
    now = {key.replace(".base_layer", ""): tensor for key, tensor in model.state_dict().items()}
    assert all(torch.equal(now[key], tensor) for key, tensor in weights.items())


def test_an_adapter_that_changed_on_disk_is_read_again(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "adapter", 1)
    model = tiny()
    pool = AdapterPool(model)
    before = answer(model, pool, pool.require(folder))
    assert pool.require(folder) == pool.require(folder)
    make_adapter(folder, 2)
    os.utime(folder / "adapter_model.safetensors", ns=(1, 1))
    after = answer(model, pool, pool.require(folder))
    assert after == [by_peft(folder, 25)]
    assert after != before


def test_the_adapter_unused_longest_makes_room_unless_a_row_needs_it(tmp_path: Path) -> None:
    folders = [make_adapter(tmp_path / str(seed), seed) for seed in range(4)]
    model = tiny()
    pool = AdapterPool(model, limit=2)
    first, second = pool.require(folders[0]), pool.require(folders[1])
    assert pool.require(folders[0]) == first
    third = pool.require(folders[2])
    assert pool.require(folders[0]) == first  # the second one went
    assert pool.require(folders[1], in_use={first, third}) != second
    assert pool.require(folders[0]) == first
    assert pool.require(folders[2]) == third


def test_an_adapter_for_another_shape_is_refused_and_the_base_stays(tmp_path: Path) -> None:
    """Also as the very first adapter, where some layers are wrapped before the shapes are found not to
    match.
    """
    torch.manual_seed(0)
    other = get_peft_model(tiny(hidden_size=24), LoraConfig(r=4, target_modules=["q_proj"]))
    other.save_pretrained(tmp_path / "other")
    model, ids = tiny(), torch.tensor([PROMPT])
    expected = model(ids).logits
    pool = AdapterPool(model)
    with pytest.raises(StudioError, match="adapter_unfit"):
        pool.require(tmp_path / "other")
    pool.select([BASE])
    assert torch.equal(model(ids).logits, expected)
    good = make_adapter(tmp_path / "good", 1)
    assert answer(model, pool, pool.require(good)) == [by_peft(good, 25)]


def test_an_adapter_for_other_layers_is_refused(tmp_path: Path) -> None:
    get_peft_model(tiny("gpt2"), LoraConfig(r=4, target_modules=["c_attn"])).save_pretrained(
        tmp_path / "gpt2"
    )
    with pytest.raises(StudioError, match="adapter_unfit"):
        AdapterPool(tiny()).require(tmp_path / "gpt2")


def test_a_folder_without_safetensors_is_no_adapter(tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "adapter", 1)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(StudioError, match="adapter_missing"):
        AdapterPool(tiny()).require(folder)


def test_a_mix_made_in_memory_answers_as_a_base_with_both_changes_added(tmp_path: Path) -> None:
    folders = [make_adapter(tmp_path / "first", 1), make_adapter(tmp_path / "second", 2, r=7, lora_alpha=3)]
    weights = (0.7, -0.4)
    for folder in folders:
        write_manifest(folder)
    linear = merges.get("linear")

    def make() -> PeftForm:
        return combine_in_memory(list(zip(folders, weights, strict=True)), linear, linear.params())

    model = tiny()
    pool = AdapterPool(model)
    untouched = answer(model, pool, BASE)[0]
    mixed = pool.require_made("a hash", make)
    assert pool.require_made("a hash", lambda: pytest.fail("made twice")) == mixed
    alone = pool.require(folders[0])
    rows = answer(model, pool, mixed, BASE, alone, mixed)
    by_hand = summed(folders, weights)
    out = by_hand.generate(input_ids=torch.tensor([PROMPT]), max_new_tokens=25, do_sample=False)
    expected = list(out[0, len(PROMPT) :].tolist())
    assert rows == [expected, untouched, by_peft(folders[0], 25), expected]
    assert expected not in (untouched, rows[2])
    pool.select([mixed])
    torch.testing.assert_close(
        model(torch.tensor([PROMPT])).logits, by_hand(torch.tensor([PROMPT])).logits, rtol=0, atol=1e-4
    )


def write_manifest(folder: Path) -> None:
    params = to_dict(methods.get("lora").params())
    body = {"method": "lora", "method_params": params, "model": "path:tiny", "base": "b" * 64}
    (folder / "manifest.json").write_text(json.dumps(body))


def summed(folders: list[Path], weights: tuple[float, float]) -> Any:
    """The base with both changes added into its weights, by PEFT's own arithmetic."""
    model: Any = tiny()
    with torch.no_grad():
        for folder, weight in zip(folders, weights, strict=True):
            tuned = PeftModel.from_pretrained(tiny(), folder).get_base_model()
            for path, layer in tuned.named_modules():
                if isinstance(layer, LoraLayer):
                    change = layer.get_delta_weight("default")  # type: ignore[operator]
                    model.get_submodule(path).weight += weight * change
    return model.eval()
