"""The report on a dataset, its token figures against a plain count, and what stops a run."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from studio.data import check as check_module
from studio.data.check import check, prepare
from studio.data.read import read_dataset
from studio.errors import StudioError

ROWS = [{"prompt": f"What is {n}?", "completion": "x " * n + "."} for n in range(1, 61)]


def test_token_figures_equal_a_plain_count(jsonl, renderer) -> None:
    path = jsonl(*ROWS)
    tokens = check(path, renderer).tokens
    assert tokens is not None
    encoded = [renderer.encode(row.streams["text"]) for row in read_dataset(path).rows]
    lengths = sorted(len(e.ids) for e in encoded)
    assert tokens.total == sum(lengths)
    assert tokens.learned == sum(sum(e.learned) for e in encoded)
    assert (tokens.min, tokens.max) == (lengths[0], lengths[-1])
    assert tokens.median == statistics.median_low(lengths)
    assert tokens.p95 == lengths[56]  # the smallest length that 57 of 60 rows, 95%, do not exceed
    assert (tokens.truncated, tokens.without_learned, tokens.measured) == (0, 0, 60)
    edges = [bucket["upto"] for bucket in tokens.histogram]
    assert len(edges) <= 20
    for low, bucket in zip([0, *edges], tokens.histogram, strict=False):
        assert bucket["rows"] == sum(low < length <= bucket["upto"] for length in lengths)


def test_cut_rows_are_counted_and_rows_without_learned_tokens_left_out(jsonl, renderer) -> None:
    path = jsonl(*ROWS, {"prompt": "long " * 60, "completion": "never reached"})
    lengths = [len(renderer.encode(row.streams["text"]).ids) for row in read_dataset(path).rows]
    report = check(path, renderer, max_length=64)
    tokens = report.tokens
    assert tokens is not None
    assert tokens.truncated == sum(length > 64 for length in lengths)
    assert tokens.total == sum(min(length, 64) for length in lengths)
    assert tokens.without_learned == 1
    assert report.rows == 60
    by_code = {problem.code: problem for problem in report.problems}
    assert by_code["row_answer_cut"].row == 61
    assert by_code["rows_truncated"].facts == {
        "count": tokens.truncated,
        "max_length": 64,
        "longest": max(lengths),
    }


def test_without_a_model_there_are_no_token_figures(jsonl) -> None:
    report = check(jsonl(*ROWS))
    assert (report.tokens, report.rows, report.heldout_rows, report.format) == (
        None,
        60,
        8,
        "prompt_completion",
    )


def test_the_report_is_json(jsonl, renderer) -> None:
    body = json.loads(json.dumps(check(jsonl(*ROWS, "{broken"), renderer).to_json(), allow_nan=False))
    assert {"format", "rows", "problems", "tokens"} <= body.keys()
    assert body["problems"][0]["row"] == 61
    assert body["problems"][0]["code"] == "row_not_json"
    assert body["tokens"]["max_length"] is None


def test_many_problems_of_a_kind_are_counted_but_not_all_listed(jsonl) -> None:
    report = check(jsonl(*ROWS, *({"prompt": str(n), "completion": ""} for n in range(500))))
    assert report.problem_counts == {"answer_empty": 500}
    assert len(report.problems) == check_module.SHOWN_PER_CODE


def test_nothing_learned_is_told_by_check_and_stops_a_run(jsonl, renderer) -> None:
    path = jsonl(*({"prompt": "long " * 60, "completion": str(n)} for n in range(50)))
    report = check(path, renderer, max_length=32)
    assert report.rows == 0
    assert "nothing_learned" in report.problem_counts
    with pytest.raises(StudioError) as caught:
        prepare(path, renderer, max_length=32)
    assert caught.value.code == "nothing_learned"


def test_rows_that_the_template_refuses_are_left_out_of_a_run(jsonl, strict_renderer) -> None:
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    tool = {"role": "tool", "content": "c"}
    bad = {"messages": [*good["messages"], tool, tool, good["messages"][1]]}
    prepared = prepare(jsonl(good, bad), strict_renderer)
    assert [row.source for row in prepared.split.train] == ["data.jsonl:1"]
    (problem,) = prepared.report.problems
    assert (problem.row, problem.code, problem.facts["detail"]) == (
        2,
        "template_refused",
        "roles must alternate",
    )
    with pytest.raises(StudioError) as caught:
        prepare(jsonl(bad, name="bad.jsonl"), strict_renderer)
    assert (caught.value.code, caught.value.facts["detail"]) == ("template_refused", "roles must alternate")


def test_rows_for_another_objective_stop_a_run(jsonl, renderer) -> None:
    path = jsonl({"prompt": "a", "chosen": "b", "rejected": "c"})
    with pytest.raises(StudioError) as caught:
        prepare(path, renderer)
    assert caught.value.code == "stream_missing"
    assert len(prepare(path, renderer, stream="chosen").split.train) == 1


def test_the_rows_of_a_run_are_split(jsonl, renderer, tmp_path: Path) -> None:
    split = prepare(jsonl(*ROWS), renderer).split
    assert (len(split.train), len(split.heldout), split.reason.code) == (52, 8, "heldout_split")
    jsonl(*ROWS[:3], name="set/train.jsonl")
    jsonl(*ROWS[3:5], name="set/heldout.jsonl")
    split = prepare(tmp_path / "set", renderer).split
    assert (len(split.train), len(split.heldout), split.reason.code) == (3, 2, "heldout_own")


def test_big_data_is_measured_on_a_sample_and_scaled(
    jsonl, renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = jsonl(*({"prompt": f"What is {n}?", "completion": "x " * (n % 40) + "."} for n in range(400)))
    exact = check(path, renderer).tokens
    monkeypatch.setattr(check_module, "MEASURED_CHARACTERS", 10_000)
    sampled = check(path, renderer).tokens
    assert exact is not None
    assert sampled is not None
    assert exact.measured == 400
    assert 100 < sampled.measured < 300
    assert sampled.total == pytest.approx(exact.total, rel=0.05)
    assert sampled.learned == pytest.approx(exact.learned, rel=0.1)
    assert check(path, renderer).tokens == sampled


def test_a_sample_without_learned_tokens_is_not_believed(
    jsonl, renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [{"prompt": "long " * 60 + str(n), "completion": "b"} for n in range(300)]
    path = jsonl(*bad, {"prompt": "a", "completion": "b"})
    monkeypatch.setattr(check_module, "MEASURED_CHARACTERS", 2_000)
    assert [row.source for row in prepare(path, renderer, max_length=32).split.train] == ["data.jsonl:301"]
