"""What an epoch takes by what other steps took: closed forms."""

from __future__ import annotations

from studio.cost import Cost, Spent, cost

SPENT = Spent(steps=10, tokens=4000, seconds=20.0, joules=600.0)  # 2 s a step, 200 tokens/s, 0.15 J a token


def test_steps_of_as_many_tokens_take_as_long_each() -> None:
    assert cost(SPENT, steps=50, tokens=20_000) == Cost(100.0, (100.0, 100.0), 3000.0)


def test_smaller_steps_take_between_as_long_by_the_token_and_as_long_by_the_step() -> None:
    assert cost(SPENT, steps=100, tokens=20_000) == Cost(100.0, (100.0, 200.0), 3000.0)


def test_larger_steps_take_no_longer_than_by_the_token() -> None:
    assert cost(SPENT, steps=25, tokens=20_000) == Cost(100.0, (50.0, 100.0), 3000.0)


def test_what_was_not_measured_is_not_made_up() -> None:
    assert cost(Spent(10, 4000, 20.0, None), 50, 20_000).joules is None
