"""Prompt sets out of the files that people have."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studio.data.prompts import read_prompts
from studio.errors import StudioError


@pytest.mark.parametrize(
    ("name", "text", "prompts"),
    [
        ("a.txt", "one\n\n  two  \r\nthree", ["one", "two", "three"]),
        ("a.csv", 'Prompt,note\n"one, or two",x\n,y\nthree,z\n', ["one, or two", "three"]),
        ("a.jsonl", '{"question": "one"}\n{"instruction": "two", "output": "x"}\n', ["one", "two"]),
        ("a.json", '["one", "two"]', ["one", "two"]),
        (
            "b.jsonl",
            json.dumps({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}),
            ["b"],
        ),
    ],
)
def test_prompts_of_a_file(tmp_path: Path, name: str, text: str, prompts: list[str]) -> None:
    (tmp_path / name).write_text(text)
    assert read_prompts(tmp_path / name) == prompts


def test_a_file_without_prompts_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("name,age\nAda,28\n")
    with pytest.raises(StudioError, match="prompts_none"):
        read_prompts(file)
    with pytest.raises(StudioError, match="data_unreadable"):
        read_prompts(tmp_path / "gone.txt")
