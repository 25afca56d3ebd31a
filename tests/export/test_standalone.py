"""The file that leaves with a side network, run as a program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from studio.export.standalone import FILE, standalone_source
from studio.models.families import family_of


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / FILE
    file.write_text(standalone_source(family_of("llama")), encoding="utf-8")
    (tmp_path / "side.json").write_text(json.dumps({"quantised": None, "shape": {"taps": []}}))
    return file


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [((), 2, f"usage: {FILE} [-h] BASE PROMPT"), (("/no/such/model", "Hi"), 1, "/no/such/model")],
)
def test_what_it_was_not_given_it_says(program: Path, given: tuple[str, ...], code: int, said: str) -> None:
    command = [sys.executable, program.name, *given]
    ran = subprocess.run(command, cwd=program.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == code, ran.stderr
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr
