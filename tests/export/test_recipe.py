"""The recipe that leaves with a model: what it learns of a row, and what it needs to be told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from transformers import AutoTokenizer

import assets
from studio.data.render import Renderer
from studio.data.shapes import Alpaca, Messages, PromptCompletion
from tests.toys.folders import write_model

SOURCE = assets.path("export", "recipe.py")
ROWS: list[tuple[Any, dict[str, Any]]] = [
    (
        Messages(),
        {
            "messages": [
                {"role": "user", "content": "3 and 4?"},
                {"role": "assistant", "content": "it is 7"},
                {"role": "user", "content": "it is 7?"},
                {"role": "assistant", "content": " yes, 7 "},
            ]
        },
    ),
    (PromptCompletion(), {"prompt": "7", "completion": "7"}),
    (Alpaca(), {"instruction": "Add", "input": "3 and 4", "output": "7"}),
]


def recipe(base: str | None = None, seq: int = 512) -> ModuleType:
    text = SOURCE.read_text(encoding="utf-8")
    module = ModuleType("recipe")
    body = f"RECIPE = {{'seq': {seq}, 'model': {base!r}, 'base': 'tiny, content 12ab'}}"
    exec(text.replace("RECIPE = {}", body), module.__dict__)
    return module


@pytest.fixture(params=["toy", "starter"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_model(tmp_path / "toy") if request.param == "toy" else assets.path("starter")


@pytest.mark.parametrize(("shape", "row"), ROWS)
@pytest.mark.parametrize("seq", [512, 12])
def test_it_learns_what_the_studio_learns(folder: Path, shape: Any, row: dict[str, Any], seq: int) -> None:
    """Every answer of a conversation with the token that ends it, and nothing else."""
    ours = Renderer.from_folder(folder).encode(shape.convert(row).streams["text"], seq)
    ids, labels = recipe(seq=seq).encode(row, AutoTokenizer.from_pretrained(folder))
    assert ids == ours.ids
    assert labels == [id if learned else -100 for id, learned in zip(ours.ids, ours.learned, strict=True)]
    assert any(label != -100 for label in labels) or seq == 12


def test_a_base_that_only_the_studio_knows_has_to_be_given(tmp_path: Path) -> None:
    file = tmp_path / "recipe.py"
    text = SOURCE.read_text(encoding="utf-8")
    body = "RECIPE = {'model': None, 'base': 'tiny, content 12ab', 'steps': 1}"
    file.write_text(text.replace("RECIPE = {}", body), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(file), "--data", "r.jsonl"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "--model is needed, the folder of tiny, content 12ab" in ran.stderr
    assert "Traceback" not in ran.stderr
