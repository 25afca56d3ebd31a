"""The list of models: which stand in it at once, and what becomes of a choice from among the others."""

import dataclasses

import pytest

from tests.fake_content import MODELS
from ui.fragments.model import SHORT_LIST, short_list, spread, view
from ui.words import Words

PLAIN = dataclasses.replace(MODELS[1], fits="yes", gated=False, on_disk=False)


def model(number, **facts):
    return dataclasses.replace(PLAIN, name=f"hub:some/model-{number}", title=f"Model {number}", **facts)


def many(fits, **facts):
    return [model(i, fits=fits, **facts) for i in range(40)]


def numbers(models):
    return [int(m.name.rpartition("-")[2]) for m in models]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (-1, []),
        (0, []),
        (1, [0]),
        (2, [0, 39]),
        (4, [0, 13, 26, 39]),
        (40, list(range(40))),
        (50, list(range(40))),
    ],
)
def test_spread_takes_both_ends_and_even_distances(count, expected):
    assert numbers(spread(many("yes"), count)) == expected


def test_a_few_models_are_all_shown():
    assert short_list(MODELS) == list(MODELS)


def test_what_fits_comes_first_from_small_to_large():
    models = [model(i, fits="yes" if i < 22 else "no") for i in range(40)]
    assert numbers(short_list(models)) == [0, 3, 6, 9, 12, 15, 18, 21]


def test_what_is_on_this_machine_is_always_there():
    models = [model(i, fits="no", on_disk=i in (0, 30)) for i in range(40)]
    assert numbers(short_list(models)) == [0, 30]


def test_models_without_a_login_go_first_and_tight_ones_last():
    fits = {3: "yes", 5: "yes", 7: "tight", 9: "tight", 11: "yes", 13: "tight"}
    models = [model(i, fits=fits.get(i, "no"), gated=i in (11, 13)) for i in range(40)]
    assert numbers(short_list(models)) == [3, 5, 7, 9, 11]
    models = [model(i, fits="yes" if i < 7 else "tight", gated=6 <= i < 20) for i in range(40)]
    assert numbers(short_list(models)) == [0, 1, 2, 3, 4, 5, 6, 20]


def test_the_list_is_short_when_memory_is_unknown():
    assert len(short_list(many(None))) == SHORT_LIST


def shown(chosen):
    page = str(view(Words("en").text, many("yes"), chosen))
    above, _, folded = page.partition("<details")
    return above.count("data-name="), folded.count("data-name="), above


def test_the_others_are_folded_away_and_none_is_lost():
    above, folded, _ = shown(None)
    assert (above, folded) == (SHORT_LIST, 40 - SHORT_LIST)


def test_a_choice_from_the_others_joins_the_short_list():
    above, folded, html = shown(model(1))
    assert (above, folded) == (SHORT_LIST + 1, 39 - SHORT_LIST)
    assert html.count("chosen") == 1
    assert html.index("Model 0") < html.index("Model 1<") < html.index("Model 6<")


def test_an_own_model_stands_below_the_short_list():
    above, folded, html = shown(model(77))
    assert (above, folded) == (SHORT_LIST + 1, 40 - SHORT_LIST)
    assert html.index("Model 39<") < html.index("Model 77<")
