"""The file that leaves with a side network, run as a program."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

from studio.export.standalone import FILE, standalone_source
from studio.models.families import FAMILIES


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / FILE
    file.write_text(standalone_source(FAMILIES["llama"]), encoding="utf-8")
    (tmp_path / "side.json").write_text(json.dumps({"quantised": None, "shape": {"taps": []}}))
    return file


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        ((), 2, f"usage: {FILE} [-h] [--no-check] BASE PROMPT"),
        (("/no/such/model", "Hi"), 1, "/no/such/model"),
    ],
)
def test_what_it_was_not_given_it_says(program: Path, given: tuple[str, ...], code: int, said: str) -> None:
    command = [sys.executable, program.name, *given]
    ran = subprocess.run(command, cwd=program.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran.stderr
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.fixture
def loading(tmp_path: Path) -> Iterator[ModuleType]:
    """The exported file as a module."""
    file = tmp_path / FILE
    file.write_text(standalone_source(FAMILIES["llama"]), encoding="utf-8")
    spec = util.spec_from_file_location("exported_for_test", file)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules["exported_for_test"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["exported_for_test"]


def test_a_base_of_the_hub_is_looked_up_in_its_cache(loading: ModuleType, tmp_path: Path) -> None:
    """By the name of the blob, which is the content's sha256, or by reading it."""
    told = hashlib.sha256(b"weights").hexdigest()
    repo = tmp_path / "cache" / "models--org--name"
    snapshot = repo / "snapshots" / ("a" * 40)
    for folder in (snapshot, repo / "refs", repo / "blobs"):
        folder.mkdir(parents=True)
    (repo / "refs" / "main").write_text("a" * 40)
    (repo / "blobs" / told).write_bytes(b"weights")
    (snapshot / "model.safetensors").symlink_to(repo / "blobs" / told)
    options = {"cache_dir": str(tmp_path / "cache")}
    loading.require_base("org/name", {"model.safetensors": told}, options)
    with pytest.raises(ValueError, match=r"org/name: model.safetensors has other content"):
        loading.require_base("org/name", {"model.safetensors": "0" * 64}, options)
    with pytest.raises(ValueError, match=r"more.safetensors is missing"):
        loading.require_base("org/name", {"more.safetensors": told}, options)
