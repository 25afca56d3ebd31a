"""The interval against the equation that defines it, and who beat whom."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import pytest

from backend.api.chat import Answer, Proof, Setup, Turn
from backend.conversations.votes import Z_95, pair_votes, wilson


@pytest.mark.parametrize(("wins", "count"), [(0, 1), (1, 1), (8, 10), (5, 10), (470, 1000)])
def test_the_bounds_are_where_the_share_is_just_that_many_deviations_away(wins: int, count: int) -> None:
    share = wins / count
    for bound in wilson(wins, count):
        deviation = sqrt(bound * (1 - bound) / count)
        assert abs(share - bound) == pytest.approx(Z_95 * deviation, abs=1e-12)


def test_the_interval_of_eight_of_ten() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-7)


def turn(models: str, vote: str | None, adapters: str = "abcd") -> Turn:
    answers = tuple(Answer("x", True, proof=Proof("base", adapters[i], "t")) for i in range(len(models)))
    return Turn(1, 1, None, "?", Setup(tuple(models)), answers, vote)


def test_a_pair_is_the_same_whoever_stands_left() -> None:
    (pair,) = pair_votes(
        [turn("xy", "0", "ab"), turn("yx", "1", "ba"), turn("yx", "0", "ba"), turn("xy", None)]
    )
    assert (pair.left, pair.right, pair.left_wins, pair.right_wins) == ("x", "y", 2, 1)
    assert pair.share == pytest.approx(2 / 3)
    assert (pair.low, pair.high) == wilson(2, 3)


def test_the_best_of_three_beat_both_others_and_no_more_is_known() -> None:
    pairs = {(p.left, p.right): p for p in pair_votes([turn("xyz", "1"), turn("xyz", "tie")])}
    assert set(pairs) == {("x", "y"), ("y", "z"), ("x", "z")}
    assert (pairs["x", "y"].right_wins, pairs["y", "z"].left_wins) == (1, 1)
    between = pairs["x", "z"]
    assert (between.left_wins, between.right_wins, between.ties, between.share) == (0, 0, 1, None)


def test_who_could_not_answer_was_not_beaten() -> None:
    voted = turn("xyz", "1")
    failed = replace(voted.answers[0], error={"code": "run_missing", "facts": {"run": "x"}})
    (pair,) = pair_votes([replace(voted, answers=(failed, *voted.answers[1:]))])
    assert (pair.left, pair.right, pair.left_wins) == ("y", "z", 1)


def test_a_run_that_went_on_training_is_another_model() -> None:
    assert len(pair_votes([turn("xy", "0", "ab"), turn("xy", "0", "cb")])) == 2
    assert pair_votes([turn("xx", "0", "aa")]) == []
