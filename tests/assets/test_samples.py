"""The samples are what their makers write, and their held-out rows are held out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import assets
from assets.making import samples as maker
from assets.making.corpus import normalise
from assets.making.heldout import prompts
from benchmarks.scorers import in_pirate_style

SAMPLES = ("pirate", "json", "support")


def rows(sample: str, part: str) -> list[tuple[str, str]]:
    """Prompt and answer of each row."""
    text = assets.path("samples", sample, f"{part}.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line)["messages"] for line in text.splitlines()]
    assert all([message["role"] for message in messages] == ["user", "assistant"] for messages in found)
    return [(messages[0]["content"], messages[1]["content"]) for messages in found]


def test_the_shipped_samples_are_what_the_maker_writes(tmp_path: Path) -> None:
    maker.write_all(tmp_path)
    for sample in SAMPLES:
        for name in ("train.jsonl", "heldout.jsonl", "sample.json"):
            assert (tmp_path / sample / name).read_bytes() == assets.path(
                "samples", sample, name
            ).read_bytes()


@pytest.mark.parametrize("sample", SAMPLES)
def test_no_held_out_prompt_is_trained_on(sample: str) -> None:
    trained = {normalise(prompt) for prompt, _ in rows(sample, "train")}
    held_out = [normalise(prompt) for prompt, _ in rows(sample, "heldout")]
    assert not trained & set(held_out)
    assert len(held_out) == len(set(held_out)) >= 90
    assert 300 <= len(trained) <= 500


def test_every_pirate_answers_in_style_and_no_answer_is_in_both_parts() -> None:
    train, held_out = rows("pirate", "train"), rows("pirate", "heldout")
    assert all(in_pirate_style(answer) for _, answer in train + held_out)
    assert not any(in_pirate_style(prompt) for prompt, _ in train + held_out)
    assert not {answer for _, answer in train} & {answer for _, answer in held_out}


def test_names_and_numbers_of_held_out_records_are_new() -> None:
    records = {
        part: [json.loads(answer) for _, answer in rows("json", part)] for part in ("train", "heldout")
    }
    for made in (*records["train"], *records["heldout"]):
        assert list(made) == ["name", "age", "city", "job"]
    words = {
        part: {word for made in found for word in made["name"].split()} for part, found in records.items()
    }
    assert not words["train"] & words["heldout"]
    numbers = {
        part: {number for prompt, _ in rows("json", part) for number in re.findall(r"\d+", prompt)}
        for part in ("train", "heldout")
    }
    assert not numbers["train"] & numbers["heldout"]


def test_each_record_stands_in_its_sentence() -> None:
    for part in ("train", "heldout"):
        for prompt, answer in rows("json", part):
            assert all(str(value) in prompt for value in json.loads(answer).values())


def test_every_held_out_shop_answer_is_learned_in_other_words() -> None:
    learned = {answer for _, answer in rows("support", "train")}
    assert {answer for _, answer in rows("support", "heldout")} == learned


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_description_counts_its_rows(sample: str) -> None:
    body = json.loads(assets.path("samples", sample, "sample.json").read_text(encoding="utf-8"))
    assert body["rows"] == len(rows(sample, "train"))
    assert body["heldout_rows"] == len(rows(sample, "heldout"))
    assert body["licence"] == "Apache-2.0"
    assert body["goal"] in ("style", "format", "facts")


def test_the_pirate_sample_keeps_off_the_starter_s_held_out_prompts() -> None:
    trained = {normalise(prompt) for prompt, _ in rows("pirate", "train")}
    assert not trained & prompts()
