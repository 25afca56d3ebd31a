"""Identity by content: what must change a hash, and what must not."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from studio.data.read import read_dataset
from studio.data.render import Renderer
from studio.data.rows import read_rows, write_rows
from studio.errors import StudioError
from studio.identity import base_identity, dataset_hash, file_sha256
from tests.data.templates import FAMILIES, write_model_folder

CONFIG = {"model_type": "llama", "hidden_size": 64, "rope_scaling": {"type": "linear", "factor": 2.0}}


def model(folder: Path, config: dict[str, object] = CONFIG, **weights: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name, data in (weights or {"model": b"weights"}).items():
        (folder / f"{name}.safetensors").write_bytes(data)
    return folder


def identity(folder: Path) -> str:
    return base_identity(folder, folder.parent / "cache.json").hash


def test_the_same_model_elsewhere_is_the_same(tmp_path: Path) -> None:
    noise = {
        "_name_or_path": "x",
        "transformers_version": "9",
        "torch_dtype": "float16",
        "quantization_config": {"a": 1},
    }
    one = model(tmp_path / "one")
    two = model(tmp_path / "two", {**noise, **dict(reversed(CONFIG.items()))})
    assert identity(one) == identity(two)


@pytest.mark.parametrize(
    "other",
    [
        lambda folder: model(folder, CONFIG | {"hidden_size": 65}),
        lambda folder: model(folder, CONFIG | {"rope_scaling": {"type": "linear", "factor": 4.0}}),
        lambda folder: model(folder, model=b"weightz"),
        lambda folder: model(folder, model=b"weights", more=b""),
    ],
)
def test_another_config_or_weight_is_another_model(tmp_path: Path, other) -> None:
    assert identity(model(tmp_path / "one")) != identity(other(tmp_path / "two"))


def test_files_are_hashed_once_until_they_change(tmp_path: Path) -> None:
    folder, cache = model(tmp_path / "model"), tmp_path / "deep" / "cache.json"
    first = base_identity(folder, cache)
    assert first.files == {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}
    stat = (folder / "model.safetensors").stat()
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    os.utime(folder / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert base_identity(folder, cache) == first  # same path, size and time: taken from the cache
    os.utime(folder / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert base_identity(folder, cache).files == {"model.safetensors": hashlib.sha256(b"WEIGHTS").hexdigest()}


def test_a_broken_cache_is_computed_again(tmp_path: Path) -> None:
    folder, cache = model(tmp_path / "model"), tmp_path / "cache.json"
    expected = base_identity(folder, cache)
    cache.write_text("{half")
    assert base_identity(folder, cache) == expected
    assert json.loads(cache.read_text())


def test_known_hashes_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = model(tmp_path / "model")
    digest = hashlib.sha256(b"weights").hexdigest()
    known = base_identity(folder, tmp_path / "a.json", {"model.safetensors": digest})
    assert known == base_identity(folder, tmp_path / "b.json")
    assert not (tmp_path / "a.json").exists()


def test_only_the_weights_of_the_model_count(tmp_path: Path) -> None:
    folder = model(tmp_path / "model")
    before = identity(folder)
    for name in ("adapter_model.safetensors", "pytorch_model.bin", "training_args.bin", "README.md"):
        (folder / name).write_bytes(b"other")
    assert identity(folder) == before


def test_a_sharded_model_counts_the_files_of_its_index(tmp_path: Path) -> None:
    folder = model(tmp_path / "model", a=b"1", b=b"2", stray=b"3")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors", "z": "a.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert list(base_identity(folder, tmp_path / "c.json").files) == ["a.safetensors", "b.safetensors"]


def test_a_shard_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = model(tmp_path / "model", a=b"1")
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(StudioError) as caught:
        base_identity(folder, tmp_path / "c.json")
    assert (caught.value.code, caught.value.facts["missing"]) == (
        "model_weights_incomplete",
        ["b.safetensors"],
    )
    (folder / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(StudioError) as caught:
        base_identity(folder, tmp_path / "c.json")
    assert caught.value.code == "model_foreign"


@pytest.mark.parametrize(
    ("files", "code"), [([], "model_foreign"), (["config.json"], "model_weights_missing")]
)
def test_a_folder_that_is_no_model_is_said_so(tmp_path: Path, files: list[str], code: str) -> None:
    for name in files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(StudioError) as caught:
        base_identity(tmp_path, tmp_path / "cache.json")
    assert caught.value.code == code


def test_a_dataset_is_its_rows_whatever_the_file(jsonl, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]
    lines = read_dataset(jsonl(*rows)).rows
    (tmp_path / "x.json").write_text(
        json.dumps([{"instruction": r["prompt"], "output": r["completion"]} for r in rows])
    )
    assert dataset_hash(read_dataset(tmp_path / "x.json").rows) == dataset_hash(lines)
    assert dataset_hash(lines[::-1]) != dataset_hash(lines)
    assert dataset_hash(lines[:1]) != dataset_hash(lines)


def test_frozen_rows_come_back_as_they_were(jsonl, tmp_path: Path) -> None:
    records = [{"prompt": "é\u2028\n", "completion": "b"}, {"prompt": "c", "completion": "d", "system": "e"}]
    rows = read_dataset(jsonl(*records)).rows
    rows += read_dataset(jsonl({"prompt": "q", "completion": "y", "label": True})).rows
    assert write_rows(tmp_path / "rows.jsonl", rows) == 3
    again = read_rows(tmp_path / "rows.jsonl")
    assert again == rows
    assert dataset_hash(again) == dataset_hash(rows)
    write_rows(tmp_path / "again.jsonl", again)
    assert file_sha256(tmp_path / "again.jsonl") == file_sha256(tmp_path / "rows.jsonl")


def test_another_template_or_tokenizer_is_another_renderer(tmp_path: Path) -> None:
    def digest(name: str, family: str, place: str = "jinja") -> str:
        return Renderer.from_folder(write_model_folder(tmp_path / name, FAMILIES[family], place)).hash()

    assert digest("a", "chatml") == digest("b", "chatml", "config")
    assert len({digest(name, name) for name in ("chatml", "chatml_marked", "starter", "qwen3")}) == 4
