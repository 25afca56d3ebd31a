"""Names of datasets."""

from __future__ import annotations

from pathlib import Path

import pytest

import assets
from studio.data.samples import list_samples, resolve_dataset
from studio.errors import StudioError


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A samples folder with one sample in it."""
    folder = tmp_path / "samples" / "poems"
    folder.mkdir(parents=True)
    (folder / "sample.json").write_text('{"title": "Poems", "summary": "Short ones.", "goal": "style"}')
    (folder / "train.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    monkeypatch.setattr(assets, "path", lambda *parts: tmp_path.joinpath(*parts))
    return folder


def test_a_sample_is_found_by_name(shelf: Path) -> None:
    assert resolve_dataset("poems") == shelf
    (sample,) = list_samples()
    assert (sample.name, sample.title, sample.summary, sample.goal, sample.path) == (
        "poems",
        "Poems",
        "Short ones.",
        "style",
        shelf,
    )


def test_a_path_is_a_name_too(shelf: Path) -> None:
    assert resolve_dataset(str(shelf / "train.jsonl")) == shelf / "train.jsonl"
    assert resolve_dataset(str(shelf)) == shelf


@pytest.mark.parametrize("name", ["", "novels", "/no/such/file.jsonl", "~nobody/x", "x" * 5000, "a\0b"])
def test_an_unknown_name_lists_the_samples(shelf: Path, name: str) -> None:  # noqa: ARG001 - sets the shelf up
    with pytest.raises(StudioError) as caught:
        resolve_dataset(name)
    assert (caught.value.code, caught.value.facts) == (
        "dataset_missing",
        {"name": name, "samples": ["poems"]},
    )
