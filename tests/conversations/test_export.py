"""Conversations as files: read back by the studio's own readers where there is one."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from backend.api.chat import Answer, Conversation, Proof, Setup, Turn
from backend.conversations.export import export
from studio.data.read import read_dataset
from studio.errors import StudioError

SETUP = Setup(("starter", "run:a-1"))


def turn(id: int, parent: int | None, prompt: str, vote: str | None = None) -> Turn:
    answers = tuple(
        Answer(f"{model}: {prompt}!", True, "stop", 7, 41.7, 0.2, Proof("b" * 64, adapter, "c" * 64))
        for model, adapter in (("base", None), ("tuned", "a" * 64))
    )
    return Turn(id, 1, parent, prompt, SETUP, answers, vote)


TREE = Conversation(
    1,
    "Parrots",
    (turn(1, None, "one"), turn(4, 1, "two", "1"), turn(7, 1, "two, again"), turn(9, 7, "three")),
)
SET = Conversation(2, "ask.txt", (turn(1, None, 'say "a",\nb', "tie"), turn(2, None, "two", "0")), ("x", "y"))


def test_markdown_has_every_branch_and_what_answered() -> None:
    text = export(TREE, "markdown", "parrots").text
    heads = [line for line in text.split("\n") if line.startswith("## ")]
    assert heads == ["## 1", "## 2a", "## 2b", "## 3"]
    assert "### run:a-1 (voted best)\n\ntuned: two!" in text
    assert text.count("(voted best)") == 1
    line = "seed 0 · temperature 0 · 7 tokens · 42 a second · base `bbbbbbbbbbbb` · adapter `aaaaaaaaaaaa`"
    assert line in text
    assert "> two, again" in text


def test_rows_are_what_the_studio_reads_as_chats_one_for_each_branch(tmp_path: Path) -> None:
    made = export(TREE, "rows-1", "parrots")
    assert (made.name, export(TREE, "rows-0", "parrots").name) == (
        "parrots-a-1.jsonl",
        "parrots-starter.jsonl",
    )
    (tmp_path / made.name).write_text(made.text)
    dataset = read_dataset(tmp_path / made.name)
    assert (dataset.format, dataset.problems) == ("messages", [])
    said = [[m.text for m in row.streams["text"].messages] for row in dataset.rows]
    assert said == [
        ["one", "tuned: one!", "two", "tuned: two!"],
        ["one", "tuned: one!", "two, again", "tuned: two, again!", "three", "tuned: three!"],
    ]


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("run:a-1@12", "parrots-a-1-12.jsonl"),
        ("hub:Qwen/Qwen2.5-0.5B", "parrots-qwen2-5-0-5b.jsonl"),
        ("path:/home/ada/My model", "parrots-my-model.jsonl"),
        ('mix:{"base": "starter", "adapters": [["run:a-1", 0.5]]}', "parrots-mix.jsonl"),
    ],
)
def test_rows_are_called_by_the_title_and_by_who_answered(model: str, name: str) -> None:
    turns = tuple(replace(turn, setup=Setup(("starter", model))) for turn in TREE.turns)
    assert export(replace(TREE, turns=turns), "rows-1", "parrots").name == name


def test_a_table_has_a_prompt_a_row_and_an_answer_a_column() -> None:
    rows = list(csv.reader(io.StringIO(export(SET, "csv", "ask").text)))
    assert rows == [
        ["prompt", "starter", "run:a-1", "vote"],
        ['say "a",\nb', 'base: say "a",\nb!', 'tuned: say "a",\nb!', "tie"],
        ["two", "base: two!", "tuned: two!", "starter"],
    ]
    second = json.loads(export(SET, "jsonl", "ask").text.split("\n")[1])
    assert (second["prompt"], second["vote"], second["answers"][1]["adapter"]) == ("two", "starter", "a" * 64)


def test_a_model_that_stands_in_two_panes_has_two_columns() -> None:
    twice = replace(SET.turns[0], setup=Setup(("starter", "starter")), vote=None)
    text = export(replace(SET, turns=(twice,)), "csv", "ask").text
    assert list(csv.reader(io.StringIO(text))) == [
        ["prompt", "starter", "starter", "vote"],
        [twice.prompt, twice.answers[0].text, twice.answers[1].text, ""],
    ]


def test_other_forms_are_refused_with_those_that_there_are() -> None:
    for form in ("rows-2", "pdf", "rows-x"):
        with pytest.raises(StudioError) as refused:
            export(TREE, form, "parrots")
        assert refused.value.facts["known"] == ["markdown", "csv", "jsonl", "rows-0", "rows-1"]
