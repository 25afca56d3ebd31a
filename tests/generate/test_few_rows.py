from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from studio.generate.decode import generate
from studio.generate.few_rows import multiply_few_rows
from studio.generate.request import Request, Sampling
from tests.generate.models import FAMILIES, prompt, tiny


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (3, 1), (1, 4), (4, 1), (5, 1), (2, 9)])
def test_the_product_is_the_same(bias: bool, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(40, 24, bias=bias), torch.randn(*shape, 40)
    expected = nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double() if bias else None)
    multiply_few_rows(layer)
    got = layer(x)
    assert got.shape == expected.shape
    assert got.is_contiguous()
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)


def test_layers_in_16_bit_stay_as_they_are() -> None:
    layer, x = nn.Linear(40, 24, dtype=torch.bfloat16), torch.randn(2, 40, dtype=torch.bfloat16)
    expected = layer(x)
    multiply_few_rows(layer)
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_to_five_rows_answer_as_each_alone_in_a_model_that_was_left_as_it_is(family: str) -> None:
    model = tiny(family)
    plain = copy.deepcopy(model)
    multiply_few_rows(model)
    samplings = [Sampling(), Sampling(1.0, seed=3), Sampling(), Sampling(0.7, top_p=0.9, seed=4), Sampling()]
    requests = [
        Request(prompt(5 + 4 * index, index), sampling, max_tokens=30 - 5 * index)
        for index, sampling in enumerate(samplings)
    ]
    together: list[list[int | None]] = [[] for _ in requests]
    for token in generate(model, requests):
        together[token.row].append(token.id)
    assert together == [[token.id for token in generate(plain, [request])] for request in requests]
