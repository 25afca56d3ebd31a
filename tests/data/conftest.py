"""What the tests of the data layer share: writing a file, and a small renderer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studio.data.render import Renderer
from tests.data.templates import FAMILIES, write_model_folder


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., Path]:
    """`jsonl(*rows, name=...)` writes rows as JSON lines (a string goes in as it is) and gives the path."""

    def write(*rows: Any, name: str = "data.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    """ChatML over a tokenizer of a few hundred pieces."""
    return Renderer.from_folder(write_model_folder(tmp_path_factory.mktemp("chatml"), FAMILIES["chatml"]))


@pytest.fixture(scope="session")
def strict_renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    """Mistral's style: refuses roles that do not take turns."""
    return Renderer.from_folder(write_model_folder(tmp_path_factory.mktemp("mistral"), FAMILIES["mistral"]))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """(name, renderer, transformers' tokenizer) of the same folder."""
    from transformers import AutoTokenizer

    folder = write_model_folder(tmp_path_factory.mktemp(request.param), FAMILIES[request.param])
    return request.param, Renderer.from_folder(folder), AutoTokenizer.from_pretrained(folder)
