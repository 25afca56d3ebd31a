from __future__ import annotations

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from studio.errors import StudioError
from studio.generate.request import Sampling
from studio.generate.sampling import RowSampler, adjusted, logprobs, penalised

SEEN = [3, 8, 8, 40]


def logits_of(seed: int, size: int = 60) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
@pytest.mark.parametrize("top_k", [0, 1, 7])
@pytest.mark.parametrize("top_p", [0.05, 0.8, 1.0])
@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_filters_mean_what_they_mean_in_transformers(
    temperature: float, top_k: int, top_p: float, penalty: float
) -> None:
    chain = LogitsProcessorList(
        [RepetitionPenaltyLogitsProcessor(penalty), TemperatureLogitsWarper(temperature)]
    )
    if top_k:
        chain.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        chain.append(TopPLogitsWarper(top_p))
    for seed in range(5):
        expected = chain(torch.tensor([SEEN]), logits_of(seed)[None])[0].softmax(-1)
        sampling = Sampling(temperature, top_p, top_k, penalty)
        got = adjusted(logits_of(seed), sampling, torch.tensor(SEEN[:2]), torch.tensor(SEEN[2:])).softmax(-1)
        assert torch.equal(got > 0, expected > 0)
        torch.testing.assert_close(got, expected)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])
    sampler = RowSampler(Sampling(temperature=1.0, seed=11), [])
    count = 20_000
    drawn = torch.bincount(torch.tensor([sampler.choose(logits) for _ in range(count)]), minlength=5)
    expected = logits.double().softmax(-1) * count
    chi_square = float(((drawn - expected) ** 2 / expected).sum())
    assert chi_square < 18.5  # 99.9% of the chi-square distribution with 4 degrees of freedom


def test_a_filtered_token_is_never_drawn() -> None:
    sampler = RowSampler(Sampling(temperature=2.0, top_k=2, seed=1), [])
    assert {sampler.choose(torch.tensor([0.0, 5.0, -1.0, 4.0])) for _ in range(500)} == {1, 3}


def test_each_row_draws_from_its_own_generator() -> None:
    """Neither the global generator nor another row's draws shift a row's."""
    rows = [logits_of(seed) for seed in range(30)]
    alone = RowSampler(Sampling(temperature=1.0, seed=5), [])
    expected = [alone.choose(row) for row in rows]
    row, other = (RowSampler(Sampling(temperature=1.0, seed=seed), []) for seed in (5, 6))
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    got = []
    for logits in rows:
        other.choose(logits)
        got.append(row.choose(logits))
    assert got == expected
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_penalty_counts_the_answer_as_well() -> None:
    logits = torch.tensor([1.0, 1.1, 0.9])
    sampler = RowSampler(Sampling(repetition_penalty=2.0), [])
    assert [sampler.choose(logits) for _ in range(3)] == [1, 0, 2]


def test_presence_is_taken_once_and_frequency_as_often_as_a_token_was_said() -> None:
    """OpenAI's formula: logit - count x frequency - (count > 0) x presence, over the answer alone."""
    logits, said = logits_of(3), [4, 4, 4, 9]
    expected = logits.clone()
    expected[4] -= 3 * 0.5 + 0.25
    expected[9] -= 0.5 + 0.25
    sampling = Sampling(frequency_penalty=0.5, presence_penalty=0.25)
    torch.testing.assert_close(
        penalised(logits, sampling, torch.tensor([7, 9]), torch.tensor(said)), expected
    )


def test_a_frequency_penalty_makes_a_greedy_row_move_on() -> None:
    sampler = RowSampler(Sampling(frequency_penalty=0.15), [0, 0])
    assert [sampler.choose(torch.tensor([1.0, 0.9, 0.8])) for _ in range(6)] == [0, 1, 0, 2, 1, 0]


def test_answers_of_one_request_have_seeds_of_their_own() -> None:
    sampling = Sampling(1.0, seed=7)
    assert sampling.of_row(0) == sampling
    seeds = [sampling.of_row(index).seed for index in range(50)]
    assert len(set(seeds)) == 50
    assert seeds == [Sampling(0.5, seed=7).of_row(index).seed for index in range(50)]
    assert seeds[1] != Sampling(seed=8).of_row(1).seed
    assert Sampling(seed=None).of_row(3).seed is None


def test_logprobs_are_those_of_the_raw_logits() -> None:
    logits = logits_of(5)
    expected = logits.log_softmax(-1)
    said = logprobs(logits, chosen=11, top=4)
    assert said.own == pytest.approx(float(expected[11]), abs=1e-6)
    order = expected.argsort(descending=True)[:4].tolist()
    assert [id for id, _ in said.top] == order
    assert [value for _, value in said.top] == pytest.approx(expected[order].tolist(), abs=1e-6)
    assert logprobs(logits, chosen=11, top=0).top == ()


@pytest.mark.parametrize("temperature", [1e-6, 1e-40, 5e-324])
@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_a_temperature_next_to_nothing_is_greedy(temperature: float, penalty: float) -> None:
    tokens = [
        RowSampler(Sampling(t, repetition_penalty=penalty), SEEN).choose(logits_of(1))
        for t in (0.0, temperature)
    ]
    assert tokens[0] == tokens[1]


def test_without_a_seed_two_answers_differ() -> None:
    first, second = (RowSampler(Sampling(temperature=1.0, seed=None), []) for _ in range(2))
    assert [first.choose(torch.zeros(10_000)) for _ in range(4)] != [
        second.choose(torch.zeros(10_000)) for _ in range(4)
    ]


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers_are_an_error(broken: float) -> None:
    with pytest.raises(StudioError, match="model_gives_no_numbers"):
        RowSampler(Sampling(), []).choose(torch.tensor([0.0, broken, 1.0]))
