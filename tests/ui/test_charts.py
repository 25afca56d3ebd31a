import json
import math

import pytest

from backend.api import Series
from ui import charts
from ui.look import tokens


def body(plot):
    return json.loads(plot.plot)


def test_smoothing_is_the_weighted_mean_of_all_points_so_far():
    values, weight = [3.0, 1.0, 2.0, 5.0], 0.8
    for i, got in enumerate(charts.smooth(values, weight)):
        shares = [weight ** (i - j) for j in range(i + 1)]
        assert got == pytest.approx(sum(s * v for s, v in zip(shares, values, strict=False)) / sum(shares))


def test_no_smoothing_leaves_the_curve_and_gaps_stay_gaps():
    assert charts.smooth([1.0, None, 3.0], 0.0) == [1.0, None, 3.0]
    assert charts.smooth([2.0, None, 2.0], 0.9) == [pytest.approx(2.0), None, pytest.approx(2.0)]


def test_one_run_is_the_accent_and_its_held_out_loss_slate(words):
    series = [Series("a", "loss", (1, 2), (2.0, 1.0)), Series("a", "eval_loss", (2,), (1.5,))]
    drawn = body(charts.loss_chart(words.text, series, 0.6))
    raw, smooth, held_out = drawn["data"]
    assert (raw["y"], raw["showlegend"]) == ([2.0, 1.0], False)
    assert smooth["line"]["color"] == tokens.SERIES[0]
    assert held_out["line"]["color"] == tokens.CHART_BASE
    assert held_out["name"] == "Held-out loss"


def test_several_runs_have_a_colour_each_and_say_whose_curve_it_is(words):
    series = [Series(run, "loss", (1,), (1.0,)) for run in ("a", "b", "c")]
    drawn = body(charts.loss_chart(words.text, series))
    assert [t["line"]["color"] for t in drawn["data"]] == list(tokens.SERIES[:3])
    assert drawn["data"][1]["name"] == "b · Loss"


def test_before_the_first_point_the_chart_says_so_instead_of_showing_axes(words):
    drawn = body(charts.loss_chart(words.text, [Series("a", "loss", (), ())]))
    assert drawn["layout"]["xaxis"]["visible"] is False
    assert drawn["layout"]["annotations"][0]["text"] == words.text("metric.soon")


def test_nothing_of_a_chart_is_nan(words):
    series = [Series("a", "loss", (1, 2), (None, 1.0))]
    assert "NaN" not in charts.loss_chart(words.text, series, 0.5).plot
    assert not any(isinstance(v, float) and math.isnan(v) for v in charts.smooth([None, 1.0], 0.5))


def test_memory_is_drawn_in_gigabytes(words):
    series = [Series("a", "memory_bytes", (1,), (3 * 1024**3,))]
    assert body(charts.small_chart(words.text, "memory_bytes", series))["data"][0]["y"] == [3.0]
