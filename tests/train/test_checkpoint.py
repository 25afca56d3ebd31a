"""Folders are complete or they are not there."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path

import pytest

from studio.errors import StudioError
from studio.files import write_json
from studio.train import checkpoint


def _write(root: Path, step: int) -> Path:
    folder = checkpoint.checkpoint_folder(root, step)
    return checkpoint.write_folder(
        folder, lambda f: (f / "a.bin").write_bytes(b"12345") and None, {"step": step}
    )


def test_manifest_lists_the_files(tmp_path: Path) -> None:
    manifest = checkpoint.read_manifest(_write(tmp_path, 7))
    assert manifest == {"format": 1, "step": 7, "files": {"a.bin": 5}}


def test_unfinished_folders_do_not_count(tmp_path: Path) -> None:
    whole = [_write(tmp_path, step) for step in (3, 20, 100)]
    (whole[1] / checkpoint.MANIFEST).unlink()
    (whole[2] / "a.bin").write_bytes(b"1234")
    assert checkpoint.checkpoints(tmp_path) == [whole[0]]


def test_failing_while_writing_leaves_the_older_one(tmp_path: Path) -> None:
    folder = _write(tmp_path, 7)

    def fail(partial: Path) -> None:
        (partial / "a.bin").write_bytes(b"1")
        raise OSError("disk broke")

    with pytest.raises(OSError, match="disk broke"):
        checkpoint.write_folder(folder, fail, {"step": 7})
    assert checkpoint.read_manifest(folder) == {"format": 1, "step": 7, "files": {"a.bin": 5}}
    assert checkpoint.checkpoints(tmp_path) == [folder]
    _write(tmp_path, 7)
    assert [f.name for f in tmp_path.iterdir()] == ["step-00000007"]


def test_pruning_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    for step in range(1, 7):
        _write(tmp_path, step)
    checkpoint.prune(tmp_path, keep=2, best=3)
    assert [int(f.name[5:]) for f in checkpoint.checkpoints(tmp_path)] == [3, 5, 6]


def test_no_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(100, 90, 10))
    with pytest.raises(StudioError) as refusal:
        checkpoint.require_room(tmp_path, 1000)
    assert refusal.value.code == "disk_full"
    assert refusal.value.facts["free_bytes"] == 10
    assert refusal.value.facts["needed_bytes"] > 1000


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "best.json"
    write_json(file, {"step": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(file, {"step": float("nan")})
    assert json.loads(file.read_text()) == {"step": 1}
