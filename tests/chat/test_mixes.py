"""Mixes and merges over the engine: what is combined in memory answers as what `merge` would write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from peft import PeftModel

from backend.chat import runs
from backend.parts import recipe_of
from studio.data.rows import Message
from studio.merge.combine import combine
from studio.merge.expand_adapter import expand
from studio.merge.into_base import Source, merge_into_base
from studio.merges import merges
from studio.names import mix, mix_of, parse
from tests.chat.conftest import RunningEngine
from tests.chat.homes import ChatHome, load_base

PROMPT = "tell me"
TUNED, EARLY = "run:tuned-1", "run:early-1"


def answer(engine: RunningEngine, model: str, **more: Any) -> Any:
    messages: Any = [{"role": "user", "content": PROMPT}]
    settings: dict[str, Any] = {"temperature": 0.0, "max_tokens": 30, **more}
    return engine.client.chat.completions.create(model=model, messages=messages, **settings)


def text(engine: RunningEngine, model: str) -> str:
    return str(answer(engine, model).choices[0].message.content)


def weights_at(held: Any) -> list[set[int]]:
    """Where the weights between a base and a run lie in memory."""
    models = [each.between for each in held.values() if each.between is not None]
    return [{parameter.data_ptr() for parameter in model.parameters()} for model in models]


def written(home: ChatHome, name: str, out: Path) -> Path:
    """The adapter that a merge of the same parts writes."""
    recipe = recipe_of(home.root / "runs", mix_of(parse(name)))
    return combine(recipe.inputs, recipe.how, recipe.params, out).folder


@pytest.mark.parametrize(
    ("adapters", "how", "params"),
    [
        ([(TUNED, 0.6), (EARLY, 0.4)], "linear", {}),
        ([(TUNED, -1.0)], "linear", {}),
        ([(TUNED, 0.5)], "linear", {}),
        ([(TUNED, 1.0), ("merge:merge-1", 0.5)], "ties", {"density": 0.5}),
        ([(TUNED, 1.0), (EARLY, 1.0)], "svd", {"rank": 2}),
    ],
)
def test_a_mix_answers_as_the_merge_that_is_written(
    engine: RunningEngine, tmp_path: Path, adapters: list[tuple[str, float]], how: str, params: dict[str, Any]
) -> None:
    home = engine.home
    name = str(mix(home.base, adapters, how, params))
    expected = home.text(home.reference(PROMPT, 30, written(home, name, tmp_path / "merged")))
    assert text(engine, name) == expected
    assert expected not in (text(engine, "base"), text(engine, TUNED))


def test_from_the_base_to_the_run_and_the_proof_of_each(engine: RunningEngine) -> None:
    names = [str(mix(engine.home.base, [(TUNED, weight)])) for weight in (0.0, 0.5, 1.0)]
    assert text(engine, names[0]) == text(engine, "base")
    assert text(engine, names[2]) == text(engine, TUNED)
    proofs = [answer(engine, name).model_extra["proof"] for name in (*names, names[1], TUNED)]
    assert len({proof["adapter"] for proof in proofs}) == 4
    assert proofs[1] == proofs[3]
    assert {proof["base"] for proof in proofs} == {engine.home.base_hash()}
    assert len({proof["template"] for proof in proofs}) == 1


def test_adapters_trained_over_4_bit_are_mixed_over_4_bit(engine: RunningEngine, tmp_path: Path) -> None:
    home = engine.home
    name = str(mix(home.base, [("run:qlora-1", 0.5)]))
    model: Any = PeftModel.from_pretrained(load_base(home, "qlora"), written(home, name, tmp_path / "half"))
    ids = torch.tensor([home.renderer().encode_prompt([Message.of("user", PROMPT)])])
    out = model.eval().generate(input_ids=ids, max_new_tokens=30, do_sample=False)
    assert text(engine, name) == home.text(out[0, ids.shape[1] :].tolist())


def test_combined_adapters_answer_by_the_name_of_their_merge(engine: RunningEngine) -> None:
    home = engine.home
    expected = home.text(home.reference(PROMPT, 30, home.run("merge-1") / "adapter"))
    assert text(engine, "merge:merge-1") == expected
    assert "merge:merge-1" in [model.id for model in engine.client.models.list()]
    assert runs.answered_by(home.root / "runs", parse("merge:merge-1")) == home.base


def test_a_run_of_full_tuning_goes_back_towards_its_base_in_one_copy(
    engine: RunningEngine, tmp_path: Path
) -> None:
    home = engine.home
    names = [str(mix(home.base, [("run:full-1", weight)])) for weight in (0.0, 0.5, 1.0)]
    assert text(engine, names[2]) == text(engine, "run:full-1")
    assert text(engine, names[0]) == text(engine, "base")
    source = Source(home.run("full-1") / "adapter", home.model, home.base_hash())
    between = replace(home, model=merge_into_base(source, tmp_path / "half", weight=0.5))
    held = engine.engine._answering._loaded.tuned._held
    before, places = len(held), weights_at(held)
    half = answer(engine, names[1])
    assert half.choices[0].message.content == home.text(between.reference(PROMPT, 30))
    assert (len(held), weights_at(held)) == (before, places)
    assert half.choices[0].message.content not in (text(engine, "base"), text(engine, "run:full-1"))
    proofs = [answer(engine, name).model_extra["proof"]["adapter"] for name in (names[1], names[2])]
    assert len({*proofs, half.model_extra["proof"]["adapter"]}) == 2


@pytest.fixture
def compact(engine: RunningEngine) -> Iterator[Path]:
    """The run's adapter as a merge in ternary numbers, for this test alone: the home is everybody's."""
    home = engine.home
    shutil.copytree(home.run("merge-1"), home.run("merge-2"))
    adapter = home.run("merge-2") / "adapter"
    shutil.rmtree(adapter)
    cat = merges.get("cat")
    combine([(home.run("tuned-1") / "adapter", 1.0)], cat, cat.params(), adapter, density=0.5)
    yield adapter
    shutil.rmtree(home.run("merge-2"))


def test_a_compact_merge_answers_as_its_expanded_form(
    engine: RunningEngine, compact: Path, tmp_path: Path
) -> None:
    home = engine.home
    expand(compact, tmp_path)
    expected = home.text(home.reference(PROMPT, 30, tmp_path))
    assert text(engine, "merge:merge-2") == expected
    assert expected not in (text(engine, "base"), text(engine, TUNED))


@pytest.mark.parametrize(
    ("adapters", "how", "code"),
    [
        ([(TUNED, 1.0), ("run:moved-1", 1.0)], "linear", "merge_bases_differ"),
        ([("run:moved-1", 1.0)], "linear", "run_base_changed"),
        ([(TUNED, 1.0), ("run:lst-1", 1.0)], "linear", "merge_not_adapter"),
        ([(TUNED, 1.0), ("run:full-1", 1.0)], "linear", "merge_not_adapter"),
        ([("run:full-1", 1.0)], "svd", "merge_not_adapter"),
        ([(TUNED, 1.0)], "guessed", "unknown_extension"),
        ([("run:empty-1", 1.0)], "linear", "run_has_no_adapter"),
    ],
)
def test_what_can_not_be_mixed_is_refused(
    engine: RunningEngine, adapters: list[tuple[str, float]], how: str, code: str
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        answer(engine, str(mix(engine.home.base, adapters, how)))
    body: Any = refused.value.body
    assert body["code"] == code, json.dumps(body)
    assert how in merges.all() or "linear" in json.dumps(body)
