"""Rows of side networks in one batch with rows of the base: one pass of the base, each as it is alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from studio.errors import StudioError
from studio.generate.decode import Decoder
from studio.generate.request import BASE, Request, Sampling
from studio.generate.sides import is_side
from studio.generate.tuned import Shared, TunedDecoders
from studio.methods import Method
from studio.models.anatomy import Anatomy
from studio.models.load import load_model
from studio.models.quantisation import Quantisation
from studio.plan import methods
from studio.train.side.tuner import SideTuner
from studio.train.tuner import TunerContext
from tests.generate.models import prompt, tiny
from tests.toys.folders import tiny_plan, write_model

LST = methods.get("lst")
FAMILIES = ("llama", "gemma3", "gpt2")  # plain, with a sliding window, with positions of its own


def no_copy(_quantisation: Quantisation | None) -> nn.Module:
    raise AssertionError("a copy of the base was made")


def write_side(
    folder: Path, family: str, seed: int, method: str = "lst", model: Any = None, **params: Any
) -> tuple[Path, Any]:
    """A side network for the tiny model of a family, or another one, moved at random, and its params."""
    plan = tiny_plan(method)
    chosen = replace(plan.method_params, **params)
    generator = torch.Generator().manual_seed(seed)
    model = model or tiny(family)
    tuner = SideTuner(chosen)
    context = TunerContext(plan, Anatomy(model), generator, lambda _: iter(()), lambda _: torch.zeros(()))
    tuner.prepare(model, context)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)
    folder.mkdir()
    tuner.save(model, folder)
    return folder, chosen


def sides(tmp_path: Path, family: str = "llama") -> list[tuple[Path, Any]]:
    """Three that differ in depth, mix and pointers."""
    return [
        write_side(tmp_path / "a", family, 1),
        write_side(tmp_path / "b", family, 2, output="side", skip_every=2),
        write_side(tmp_path / "c", family, 3, pointers=0),
    ]


def rows(names: list[str]) -> list[Request]:
    """For every name a greedy and a sampled answer, of prompts and answers of many lengths."""
    return [
        Request(
            prompt(3 + 5 * ((2 * i + j) % 4), i + j),
            Sampling(temperature=float(j), seed=i),
            max_tokens=6 + 4 * ((i + j) % 3),
            adapter=name,
        )
        for i, name in enumerate(names)
        for j in range(2)
    ]


def answers(decoder: Decoder, requests: list[Request], late: int = 0) -> list[list[int | None]]:
    """All together; the last `late` come while the others decode."""
    found: dict[int, list[int | None]] = {
        decoder.add(request): [] for request in requests[: len(requests) - late]
    }
    steps = 0
    while decoder.busy:
        if late and steps == len(requests):
            found |= {decoder.add(request): [] for request in requests[-late:]}
        for token in decoder.step():
            found[token.row].append(token.id)
        steps += 1
    return list(found.values())


def passes_of(model: Any) -> list[int]:
    """Grows by the number of rows at every pass through the base's first layer."""
    sizes: list[int] = []
    Anatomy(model).layers[0].register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    return sizes


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_answers_the_same_alone_and_beside_base_and_other_side_networks(
    tmp_path: Path, family: str
) -> None:
    shared = Shared(tiny(family), rows=16)
    tuned = TunedDecoders(shared, no_copy)
    found = [tuned.require(folder, LST, params) for folder, params in sides(tmp_path, family)]
    assert {decoder for decoder, _ in found} == {shared.decoder}
    requests = rows([BASE, *(name for _, name in found), BASE])
    alone = [answers(shared.decoder, [request])[0] for request in requests]
    assert len({tuple(one) for one in alone}) > len(requests) - 3
    assert answers(shared.decoder, requests) == alone
    assert answers(shared.decoder, requests[::-1], late=4) == alone[::-1]
    assert shared.decoder.cache_bytes == 0


def test_a_side_row_is_what_its_network_makes_of_a_base_of_its_own(tmp_path: Path) -> None:
    shared = Shared(tiny())
    tuned = TunedDecoders(shared, no_copy)
    requests, expected = [Request(prompt(9, 7), max_tokens=20)], []
    for folder, params in sides(tmp_path):
        requests.append(replace(requests[0], adapter=tuned.require(folder, LST, params)[1]))
        model = tiny()
        SideTuner(params).load(model, folder)
        out = model.generate(torch.tensor([prompt(9, 7)]), max_new_tokens=20, do_sample=False)
        expected.append(out[0, 9:].tolist())
    base, *tuned_answers = answers(shared.decoder, requests)
    assert tuned_answers == expected
    assert base == answers(Decoder(tiny()), [requests[0]])[0]


def test_base_and_two_runs_take_one_pass_of_the_base_for_each_step(tmp_path: Path) -> None:
    shared = Shared(tiny())
    tuned = TunedDecoders(shared, no_copy)
    names = [tuned.require(folder, LST, params)[1] for folder, params in sides(tmp_path)[:2]]
    sizes = passes_of(shared.model)
    answers(shared.decoder, [Request(prompt(5, 1), max_tokens=20, adapter=name) for name in (BASE, *names)])
    # Three prompts are read, one at a step; from then on all go together until the first has its 20.
    assert sizes[:5] == [1, 1, 1, 2, 1]
    assert sizes[5:] == [3] * 17 + [2, 1]


def test_rows_with_an_adapter_share_the_pass_too(tmp_path: Path) -> None:
    model = tiny()
    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(tiny(), config).save_pretrained(tmp_path / "lora")
    shared = Shared(model)
    side = TunedDecoders(shared, no_copy).require(*_lst(write_side(tmp_path / "a", "llama", 1)))[1]
    requests = rows([BASE, shared.adapters.require(tmp_path / "lora"), side])
    alone = [answers(shared.decoder, [request])[0] for request in requests]
    sizes = passes_of(model)
    assert answers(shared.decoder, requests) == alone
    assert max(sizes) == 5  # the shortest has ended when the last prompt is read


def test_runs_over_4_bit_share_one_copy_and_its_pass(tmp_path: Path) -> None:
    qst, folder, copies = methods.get("qst"), write_model(tmp_path / "model"), []

    def load(quantisation: Quantisation | None = None) -> Any:
        return load_model(folder, dtype=torch.float32, device="cpu", quantisation=quantisation)

    def copy(quantisation: Quantisation | None) -> Any:
        copies.append(quantisation)
        return load(quantisation)

    tuned = TunedDecoders(Shared(load()), copy)
    found = [
        tuned.require(*_of(qst, write_side(tmp_path / str(seed), "", seed, "qst", load()))) for seed in (1, 2)
    ]
    decoder = found[0][0]
    assert {decoder} == {one for one, _ in found} == set(tuned.decoders)
    assert copies == [qst.base_quantisation(qst.params())]
    requests = [Request(prompt(5, 1), max_tokens=9, adapter=name) for name in (BASE, *(n for _, n in found))]
    alone = [answers(decoder, [request])[0] for request in requests]
    sizes = passes_of(decoder.model)
    assert answers(decoder, requests) == alone
    assert max(sizes) == 3
    assert len({tuple(one) for one in alone}) == 3


def _of(method: Method, made: tuple[Path, Any]) -> tuple[Path, Method, Any]:
    return made[0], method, made[1]


def _lst(made: tuple[Path, Any]) -> tuple[Path, Any, Any]:
    return _of(LST, made)


def test_a_cancelled_row_takes_its_keys_and_values_along(tmp_path: Path) -> None:
    shared = Shared(tiny())
    name = TunedDecoders(shared, no_copy).require(*_lst(write_side(tmp_path / "a", "llama", 1)))[1]
    request = Request(prompt(5, 1), max_tokens=12, adapter=name)
    expected = answers(shared.decoder, [request])[0]
    decoder = shared.decoder
    gone, stays = decoder.add(replace(request, ids=prompt(30, 2))), decoder.add(request)
    base = decoder.add(replace(request, adapter=BASE))
    kept: list[int | None] = []
    for _ in range(5):
        kept += [token.id for token in decoder.step() if token.row == stays]
    before = decoder.cache_bytes
    decoder.cancel(gone)
    assert decoder.cache_bytes < before
    while decoder.busy:
        tokens = decoder.step()
        kept += [token.id for token in tokens if token.row == stays]
        if len(kept) == 8:
            decoder.cancel(base)
    assert kept == expected


def test_side_networks_that_nobody_uses_make_room_and_those_in_use_stay(tmp_path: Path) -> None:
    shared = Shared(tiny())
    tuned = TunedDecoders(shared, no_copy)
    shared.sides._limit = 2
    made = [_lst(write_side(tmp_path / str(seed), "llama", seed)) for seed in range(5)]
    first = tuned.require(*made[0])[1]
    row = shared.decoder.add(Request(prompt(4, 1), max_tokens=3, adapter=first))
    names = [tuned.require(*one)[1] for one in made]
    assert names[0] == first
    assert len({first, *names}) == 5
    assert first in shared.sides._held
    assert len(shared.sides._held) <= 2
    tokens = [token for _ in range(3) for token in shared.decoder.step()]
    assert [token.row for token in tokens] == [row] * 3


def _tuned_copies(
    tmp_path: Path, room: Callable[[], bool]
) -> tuple[TunedDecoders, Callable[[int], Decoder], list[int]]:
    """Decoders for whole copies of a tiny model, which take a copy each while there is room."""
    full, made = methods.get("full"), []
    model = tiny()
    for number in range(6):
        folder = tmp_path / str(number)
        folder.mkdir()
        model.save_pretrained(folder)

    def copy(_quantisation: Quantisation | None) -> nn.Module:
        if not room():
            raise StudioError("chat_copy_memory", needed_bytes=2, free_bytes=1)
        made.append(1)
        return tiny()

    tuned = TunedDecoders(Shared(tiny()), copy)
    return tuned, lambda number: tuned.require(tmp_path / str(number), full, full.params())[0], made


@pytest.fixture
def untouched_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a full run saves is no matter here."""
    monkeypatch.setattr("studio.train.full.FullTuner.load", lambda _self, model, _folder: model)


@pytest.mark.usefixtures("untouched_weights")
def test_four_whole_copies_answer_at_a_time_and_a_fifth_waits_for_one(tmp_path: Path) -> None:
    tuned, require, _ = _tuned_copies(tmp_path, lambda: True)
    decoders = [require(number) for number in range(4)]
    for decoder in decoders:
        decoder.add(Request(prompt(4, 1), max_tokens=2))
    with pytest.raises(StudioError) as busy:
        require(4)
    assert (busy.value.code, busy.value.facts) == ("chat_copies_busy", {"limit": 4})
    while decoders[1].busy:
        decoders[1].step()
    assert require(4) not in decoders
    assert decoders[1] not in tuned.decoders


@pytest.mark.usefixtures("untouched_weights")
def test_a_copy_without_memory_takes_that_of_one_that_is_idle_or_says_so(tmp_path: Path) -> None:
    tuned: TunedDecoders
    tuned, require, made = _tuned_copies(tmp_path, lambda: len(tuned.decoders) < 2)
    first, second = require(0), require(1)
    second.add(Request(prompt(4, 1), max_tokens=2))
    third = require(2)
    assert tuned.decoders == [second, third]
    third.add(Request(prompt(4, 1), max_tokens=2))
    with pytest.raises(StudioError, match="chat_copy_memory"):
        require(3)
    assert tuned.decoders == [second, third]
    assert (require(1), require(2)) == (second, third)
    assert (len(made), first.busy) == (3, False)


def test_a_name_of_a_side_network_is_no_adapters() -> None:
    assert not is_side(BASE)
    assert not is_side("adapter0")
