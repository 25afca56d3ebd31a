"""The installation, really done with a tiny project: at first, cut off, changed, refused."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from backend.jobs.processes import own_identity
from tests.launch.checkouts import PYPROJECT, call, make_checkout, make_wheel, start

pytestmark = pytest.mark.worker


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that was installed by its first call. A test that changes it must change it back."""
    checkout = make_checkout(tmp_path_factory.mktemp("launch") / "studio")
    code, _, errors = call(checkout, "first")
    assert code == 0, errors
    return checkout


def stamp(checkout: Path) -> dict[str, object]:
    body: dict[str, object] = json.loads((checkout / ".venv" / "complete.json").read_text())
    return body


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.02)


def test_the_first_call_installs_and_goes_on_with_the_command(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "studio")
    code, output, errors = call(checkout, "gpu", "--json", "--home", "h")
    assert code == 0
    # What the command prints is all there is on standard output; it runs where the person stands.
    assert json.loads(output) == {
        "arguments": ["gpu", "--json", "--home", "h"],
        "folder": str(tmp_path),
        "torch": "2.7.0",
    }
    assert "making .venv" in errors
    assert "torch: pip is set up to look in places of your own" in errors
    assert f"find-links={checkout}/wheels" in errors
    assert "ready" in errors
    assert stamp(checkout)["torch"] == "auto"


def test_the_second_call_installs_nothing_and_passes_the_exit_code_on(installed: Path) -> None:
    before = (installed / ".venv.log").stat().st_mtime_ns
    code, output, errors = call(installed, "fail", "--anything", "goes here")
    assert (code, errors) == (7, "")
    assert json.loads(output)["arguments"] == ["fail", "--anything", "goes here"]
    assert (installed / ".venv.log").stat().st_mtime_ns == before


def test_options_before_the_command_go_with_it(installed: Path) -> None:
    _, output, _ = call(installed, "--home", "/some/where", "--json", "runs", "list")
    assert json.loads(output)["arguments"] == ["runs", "--home", "/some/where", "--json", "list"]


def test_without_a_word_the_screen_is_started_with_its_options(installed: Path) -> None:
    _, output, _ = call(installed, "--port", "8000", "--no-browser", "--home", "h")
    home = str(installed.parent / "h")
    assert json.loads(output) == {"screen": ["--home", home, "--port", "8000", "--no-browser"]}


@pytest.mark.parametrize(
    "whole_group", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["launch alone", "launch and pip"]
)
def test_killed_in_mid_install_the_next_call_repairs_it(tmp_path: Path, whole_group: bool) -> None:
    checkout = make_checkout(tmp_path / "studio")
    (checkout / "hold").touch()
    process = start(checkout, "gpu")
    wait_for(checkout / "holding")
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (checkout / ".venv" / "complete.json").exists()
    again = start(checkout, "gpu")
    if not whole_group:
        # pip outlived its launch and holds the lock: the new call must not run a second one beside it.
        time.sleep(1.0)
        assert again.poll() is None
    (checkout / "hold").unlink()
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert json.loads(output)["torch"] == "2.7.0"
    assert ("Another start is installing" in errors) is not whole_group


@pytest.mark.slow
def test_ctrl_c_in_mid_install_ends_pip_and_says_that_it_goes_on(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "studio")
    (checkout / "hold").touch()
    process = start(checkout, "gpu")
    wait_for(checkout / "holding")
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.endswith("Stopped. The next call goes on from here.\n")
    (checkout / "hold").unlink()
    assert call(checkout, "gpu")[0] == 0


def test_a_package_cut_off_in_the_middle_is_put_in_again(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "studio")
    call(checkout, "gpu")
    (packages,) = (checkout / ".venv").glob("lib/python3*/site-packages")
    # As a kill leaves it: files of the package missing, and what pip had set aside still there.
    (packages / "torch" / "__init__.py").unlink()
    (packages / "~orch").mkdir()
    (checkout / ".venv" / "complete.json").unlink()
    code, output, errors = call(checkout, "gpu")
    assert code == 0, errors
    assert json.loads(output)["torch"] == "2.7.0"
    assert not (packages / "~orch").exists()


@pytest.mark.slow
def test_a_venv_made_by_hand_is_adopted(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "studio")
    call(checkout, "gpu")
    (checkout / ".venv" / "complete.json").unlink()
    mine = checkout / ".venv" / "mine"
    mine.touch()
    assert call(checkout, "gpu")[0] == 0
    assert mine.exists()


@pytest.mark.slow
def test_a_venv_whose_python_is_gone_is_made_anew(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "studio")
    call(checkout, "gpu")
    python = checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    code, _, errors = call(checkout, "gpu")
    assert code == 0, errors
    assert "making .venv" in errors


def test_a_changed_project_upgrades_and_keeps_what_was_there(installed: Path) -> None:
    make_wheel(installed / "wheels", "torch", "2.8.0", {"torch/__init__.py": "__version__ = '2.8.0'\n"})
    (installed / "pyproject.toml").write_text(PYPROJECT.replace("torch>=2.6", "torch>=2.8"))
    backend = (installed / "tiny_backend.py").read_text()
    (installed / "tiny_backend.py").write_text(backend.replace("torch>=2.6", "torch>=2.8"))
    code, output, errors = call(installed, "gpu")
    assert code == 0, errors
    assert json.loads(output)["torch"] == "2.8.0"
    assert "Updating the installation." in errors


def make_store(home: Path, state: str) -> None:
    """A store whose second job this very process works at."""
    own = own_identity()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    with contextlib.closing(sqlite3.connect(home / "studio.db")) as store, store:
        store.execute("CREATE TABLE job (id, state, started, host, boot, pid, pid_started)")
        at_work = (time.time(), own.host, own.boot, own.pid, own.started)
        store.executemany(
            "INSERT INTO job VALUES (?, ?, ?, ?, ?, ?, ?)",
            [("a-1", "done", *at_work), ("a-2", state, *at_work)],
        )


@pytest.mark.parametrize(
    ("state", "waits"),
    [("running", True), ("paused", True), ("stopping", True), ("queued", False), ("interrupted", False)],
)
def test_nothing_is_upgraded_under_a_run(installed: Path, state: str, waits: bool) -> None:
    make_store(installed / "home", state)
    with (installed / "pyproject.toml").open("a") as project:
        project.write(f"# changed for {state}\n")
    code, output, errors = call(installed, "gpu")
    assert code == 0, errors
    assert json.loads(output)["arguments"] == ["gpu"]  # the command itself is not held up
    assert ("An update of the installation waits: a run is under way." in errors) is waits
    assert ("Updating the installation." in errors) is not waits
    shutil.rmtree(installed / "home")


def test_another_torch_is_refused_while_a_run_is_under_way(installed: Path) -> None:
    make_store(installed / "home", "running")
    code, output, errors = call(installed, "--torch", "cpu", "--json", "gpu")
    assert code == 1
    refusal = json.loads(output)["error"]
    assert refusal["code"] == "studio_busy"
    assert refusal["message"] in errors
    assert refusal["remedy"] in errors
    shutil.rmtree(installed / "home")


@pytest.mark.slow
def test_a_failed_installation_says_why_and_the_next_call_mends_it(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "studio")
    wheel = next((checkout / "wheels").iterdir())
    wheel.rename(tmp_path / wheel.name)
    code, output, errors = call(checkout, "gpu")
    assert (code, output) == (1, "")
    assert "Could not find a version that satisfies the requirement torch<2.14,>=2.6" in errors
    assert str(checkout / ".venv.log") in errors
    (tmp_path / wheel.name).rename(wheel)
    assert call(checkout, "gpu")[0] == 0


def test_wrong_usage_is_exit_code_2_and_installs_nothing(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "studio")
    assert call(checkout, "--torch", "rocm")[0] == 2
    assert call(checkout, "--help")[0] == 0
    assert not (checkout / ".venv").exists()
