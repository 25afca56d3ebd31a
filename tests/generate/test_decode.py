from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from studio.errors import StudioError
from studio.generate.decode import Decoder, generate, rows_may_share
from studio.generate.request import Request, Sampling, Token
from tests.generate.models import CONTEXT, FAMILIES, prompt, tiny


def answers(model: Any, requests: list[Request]) -> list[list[Token]]:
    rows: list[list[Token]] = [[] for _ in requests]
    for token in generate(model, requests):
        rows[token.row].append(token)
    return rows


def ids(tokens: list[Token]) -> list[int | None]:
    return [token.id for token in tokens]


def by_transformers(model: Any, prompt_ids: tuple[int, ...], count: int, **more: Any) -> list[int]:
    out = model.generate(torch.tensor([prompt_ids]), max_new_tokens=count, do_sample=False, **more)
    return list(out[0, len(prompt_ids) :].tolist())


MIXED = [
    Request(prompt(5, 1), max_tokens=24),
    Request(prompt(31, 2), Sampling(temperature=1.0, seed=3), max_tokens=40),
    Request(prompt(12, 3), Sampling(temperature=0.7, top_p=0.9, seed=4), max_tokens=9),
    Request(prompt(2, 4), Sampling(repetition_penalty=1.3), max_tokens=50),
    Request(
        prompt(40, 5), Sampling(temperature=1.5, top_k=20, repetition_penalty=1.1, seed=5), max_tokens=17
    ),
]


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_equal_those_of_transformers(family: str) -> None:
    model = tiny(family)
    for seed, length in ((1, 3), (2, 20)):
        expected = by_transformers(model, prompt(length, seed), 40)
        assert ids(answers(model, [Request(prompt(length, seed), max_tokens=40)])[0]) == expected
        assert len(set(expected)) > 5  # a model that repeats one token would prove little


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_answers_the_same_alone_and_in_any_batch(family: str) -> None:
    model = tiny(family)
    assert rows_may_share(model)[0]
    together = answers(model, MIXED)
    for request, row in zip(MIXED, together, strict=True):
        assert ids(row) == ids(answers(model, [request])[0])


def test_rows_really_share_a_forward_pass() -> None:
    model = tiny()
    sizes: list[int] = []
    model.register_forward_pre_hook(
        lambda _m, _a, kwargs: (
            sizes.append(len(kwargs["position_ids"])) if "position_ids" in kwargs else None
        ),
        with_kwargs=True,
    )
    answers(model, [Request(prompt(4, seed), max_tokens=10) for seed in range(3)])
    assert max(sizes) == 3


def test_a_row_that_comes_later_neither_changes_nor_is_changed() -> None:
    model = tiny()
    decoder = Decoder(model)
    decoder.add(MIXED[0])
    rows: list[list[Token]] = [[], []]
    for step in range(60):
        if step == 7:
            decoder.add(MIXED[1])
        for token in decoder.step():
            rows[token.row].append(token)
    assert not decoder.busy
    assert ids(rows[0]) == ids(answers(model, [MIXED[0]])[0])
    assert ids(rows[1]) == ids(answers(model, [MIXED[1]])[0])


def test_cancelling_a_row_ends_it_and_leaves_the_others_alone() -> None:
    model = tiny()
    decoder = Decoder(model)
    for request in MIXED[:3]:
        decoder.add(request)
    rows: list[list[Token]] = [[], [], []]
    for step in range(70):
        if step == 10:
            decoder.cancel(1)
        for token in decoder.step():
            rows[token.row].append(token)
    assert not decoder.busy
    assert len(rows[1]) < 12
    assert ids(rows[0]) == ids(answers(model, [MIXED[0]])[0])
    assert ids(rows[2]) == ids(answers(model, [MIXED[2]])[0])


def test_a_waiting_row_can_be_cancelled() -> None:
    decoder = Decoder(tiny(), max_rows=1)
    first, second = decoder.add(MIXED[0]), decoder.add(MIXED[1])
    decoder.step()
    decoder.cancel(second)
    decoder.cancel(second)
    seen = {token.row for _ in range(60) for token in decoder.step()}
    assert seen == {first}


def test_a_stop_id_ends_the_row_as_transformers_would() -> None:
    model = tiny()
    free = by_transformers(model, prompt(6, 9), 30)
    stop = free[12]
    expected = by_transformers(model, prompt(6, 9), 30, eos_token_id=stop)
    row = answers(model, [Request(prompt(6, 9), stop_ids=frozenset({stop}), max_tokens=30)])[0]
    assert ids(row) == expected
    assert row[-1] == Token(0, stop, "stop")


def test_max_tokens_and_the_context_end_a_row_with_length() -> None:
    model = tiny()
    short, full = answers(
        model, [Request(prompt(5, 1), max_tokens=3), Request(prompt(150, 1), max_tokens=99)]
    )
    assert (len(short), short[-1].finish) == (3, "length")
    assert (len(full), full[-1].finish) == (CONTEXT - 150, "length")


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_logprobs_are_those_of_plain_transformers_whatever_the_sampling(family: str) -> None:
    """One forward pass over prompt and answer is the oracle; rows that did not ask are told none."""
    model = tiny(family)
    asked = [replace(request, logprobs=3) for request in MIXED]
    rows = answers(model, [*asked, MIXED[0]])
    assert all(token.logprobs is None for token in rows[-1])
    for request, row in zip(asked, rows, strict=False):
        said = [token.id for token in row]
        logits = model(torch.tensor([[*request.ids, *said]])).logits[0]
        expected = logits[len(request.ids) - 1 : -1].float().log_softmax(-1)
        for place, token in enumerate(row):
            assert token.id is not None
            assert token.logprobs is not None
            assert token.logprobs.own == pytest.approx(float(expected[place, token.id]), abs=2e-4)
            best = expected[place].topk(3)
            assert [value for _, value in token.logprobs.top] == pytest.approx(best.values.tolist(), abs=2e-4)
            assert [id for id, _ in token.logprobs.top] == best.indices.tolist()


@pytest.mark.parametrize(
    ("length", "code", "facts"),
    [(0, "prompt_empty", {}), (CONTEXT, "prompt_too_long", {"tokens": CONTEXT, "context": CONTEXT})],
)
def test_a_prompt_without_room_is_refused(length: int, code: str, facts: dict[str, int]) -> None:
    with pytest.raises(StudioError) as refused:
        Decoder(tiny()).add(Request(prompt(length, 1)))
    assert (refused.value.code, refused.value.facts) == (code, facts)


def test_a_row_without_numbers_fails_alone() -> None:
    model = tiny()
    with torch.no_grad():
        model.model.embed_tokens.weight[7] = float("nan")
    rows = answers(model, [Request((3, 7, 4), max_tokens=5), Request((3, 5, 4), max_tokens=5)])
    assert rows[0][-1].finish == "failed"
    assert rows[0][-1].error is not None
    assert rows[0][-1].error.code == "model_gives_no_numbers"
    assert len(rows[1]) == 5


def test_seeds_make_answers_and_their_repetition() -> None:
    model = tiny()
    requests = [
        Request(prompt(5, 1), Sampling(temperature=1.0, seed=seed), max_tokens=20) for seed in (1, 1, 2)
    ]
    rows = [ids(row) for row in answers(model, requests)]
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "rows_together"),
        (
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "rows_in_turn_rope",
        ),
    ],
)
def test_rows_share_only_where_that_is_exact(changes: dict[str, Any], code: str) -> None:
    assert rows_may_share(tiny(**changes))[1].code == code


def test_in_16_bit_rows_take_turns_and_still_equal_transformers() -> None:
    model = tiny().to(torch.bfloat16)
    may_share, reason = rows_may_share(model)
    assert (may_share, reason.code) == (False, "rows_in_turn_precision")
    prompts = [prompt(5, 1), prompt(21, 2)]
    rows = answers(model, [Request(p, max_tokens=30) for p in prompts])
    assert [ids(row) for row in rows] == [by_transformers(model, p, 30) for p in prompts]
