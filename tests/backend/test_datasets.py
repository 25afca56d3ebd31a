"""What is kept of datasets, and when it is read anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from backend import datasets
from backend.datasets import Datasets
from backend.home import open_home
from studio.errors import StudioError
from tests.toys.folders import write_model
from ui.words import Words


@pytest.fixture
def kept(tmp_path: Path) -> Datasets:
    return Datasets(open_home(tmp_path / "home"))


def write(file: Path, count: int = 60) -> str:
    rows = ({"prompt": f"{i}?", "completion": f"it is {i}"} for i in range(count))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def test_a_file_is_read_once_for_all_that_is_asked_of_it(
    kept: Datasets, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    real = datasets.read_dataset
    monkeypatch.setattr(datasets, "read_dataset", lambda path: read.append(path) or real(path))
    monkeypatch.setattr("studio.data.check.read_dataset", lambda path: read.append(path) or real(path))
    name = write(tmp_path / "rows.jsonl")
    kept.check(name, model)
    kept.check(name, None)
    kept.prepared(name, model, 64, "text")
    kept.prepared(name, model, None, "text")
    assert len(read) == 1


def test_what_was_brought_here_is_told_by_its_name(kept: Datasets, tmp_path: Path) -> None:
    """A file of the person's own by the path that they gave."""
    file = tmp_path / "My Photo.PNG"
    file.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    copy = kept.save_upload(str(file))
    for ask in (lambda name: kept.check(name, None), kept.prompts):
        for name, said in ((copy, "my-photo.png"), (str(file), str(file))):
            with pytest.raises(StudioError) as refused:
                ask(name)
            assert Words("en").error(refused.value)[0] == f"{said} holds binary data, not text."
    with pytest.raises(StudioError) as refused:
        kept.save_upload(str(tmp_path / "gone.csv"))
    assert refused.value.facts == {"path": "gone.csv"}


def test_a_template_that_changed_is_seen(kept: Datasets, model: Path, tmp_path: Path) -> None:
    name = write(tmp_path / "rows.jsonl")
    before = kept.check(name, model).tokens
    prepared = kept.prepared(name, model, None, "text").report.tokens
    for file in (model / "chat_template.jinja", model / "tokenizer_config.json"):
        if file.exists() and "<|" in file.read_text():
            file.write_text(file.read_text().replace("{{", "{{ 'more words ' }}{{", 1))
    after = kept.check(name, model).tokens
    again = kept.prepared(name, model, None, "text").report.tokens
    assert before is not None
    assert after is not None
    assert prepared is not None
    assert again is not None
    assert after["total"] > before["total"]
    assert again.total > prepared.total


def test_few_whole_datasets_are_held(kept: Datasets, model: Path, tmp_path: Path) -> None:
    for number in range(6):
        kept.prepared(write(tmp_path / f"{number}.jsonl"), model, 64, "text")
    kinds = [key[0] for key in kept._cache]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"read": 3, "prepared": 3, "renderer": 1}
    shutil.rmtree(model)
    assert kept.samples() == kept.samples()
