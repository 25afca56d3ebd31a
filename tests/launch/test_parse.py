"""Any Python 3 can read launch.py, and one that is too old says what it needs."""

from __future__ import annotations

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parents[2] / "launch.py"


def test_the_first_python_3_could_read_it() -> None:
    tree = ast.parse(LAUNCH.read_text(), feature_version=(3, 0))
    new = (ast.JoinedStr, ast.NamedExpr, ast.AnnAssign, ast.Match, ast.AsyncFunctionDef, ast.Starred)
    assert [node for node in ast.walk(tree) if isinstance(node, new)] == []


def test_before_the_version_is_known_nothing_but_sys_is_imported() -> None:
    tree = ast.parse(LAUNCH.read_text())
    first = [node for node in tree.body if not isinstance(node, ast.Expr)][:2]
    assert isinstance(first[0], ast.Import)
    assert [name.name for name in first[0].names] == ["sys"]
    assert isinstance(first[1], ast.If)


@pytest.mark.parametrize("version", [(3, 4, 10), (3, 10, 14)])
def test_an_old_python_is_told_what_is_needed(version: tuple[int, int, int]) -> None:
    program = f"""
        import runpy, sys
        sys.version_info = {version}
        runpy.run_path({str(LAUNCH)!r}, run_name="__main__")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert f"needs Python 3.11 or newer; this is Python {version[0]}.{version[1]}." in done.stderr
    assert "Traceback" not in done.stderr
