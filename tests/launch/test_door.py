"""Decisions of the door that need no installation."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from bootstrap import door, install
from bootstrap.busy import busy
from bootstrap.checkout import Checkout
from bootstrap.install import describe_pip
from bootstrap.refusal import Refusal
from bootstrap.torch_build import TorchBuild
from ui import running


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    """A checkout whose .venv is this Python's own and counts as complete."""
    made = Checkout(tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    made.python.parent.mkdir(parents=True)
    made.python.symlink_to(sys.executable)
    version = sys.version.split()[0]
    (made.venv / "pyvenv.cfg").write_text(f"executable = /elsewhere/python\nversion = {version}\n")
    made.write_stamp(made.wanted("auto", ()))
    monkeypatch.setattr(door, "ROOT", tmp_path)
    return made


def test_an_open_studio_is_not_upgraded(checkout: Checkout, home: Path) -> None:
    home.mkdir()
    running.record(home, "http://127.0.0.1:9/")
    assert busy(home) == "the studio is open"
    (checkout.root / "pyproject.toml").write_text("[project]\n# changed\n")
    stamp = checkout.stamp_file.read_text()
    door.prepare(checkout, None, (), home)
    assert checkout.stamp_file.read_text() == stamp
    with pytest.raises(Refusal, match="cannot be changed now: the studio is open"):
        door.prepare(checkout, None, ("test",), home)


def test_a_store_that_cannot_be_read_counts_as_busy(home: Path) -> None:
    home.mkdir()
    (home / "studio.db").write_bytes(b"")
    assert busy(home) is None  # no tables, no jobs


def test_a_run_counts_as_under_way_while_its_process_lives(home: Path) -> None:
    from backend.jobs import record
    from backend.jobs.processes import own_identity
    from backend.store.database import open_store

    home.mkdir()
    store, own = open_store(home / "studio.db", lambda _: False), own_identity()
    with store.writing() as connection:
        record.add(connection, "a-1", "train", {}, state="running", started=time.time())
    assert busy(home) == "a run is under way"  # its worker is being started
    named = {"host": own.host, "boot": own.boot, "pid": own.pid, "pid_started": own.started}
    for fields, said in (
        ({"started": time.time() - 3600}, None),
        (named, "a run is under way"),
        ({"boot": "before the power cut"}, None),
        ({"host": "another machine"}, "a run is under way"),
    ):
        with store.writing() as connection:
            record.update(connection, "a-1", **fields)
        assert busy(home) == said
    store.close()


@pytest.mark.parametrize(
    ("torch", "extras", "serves"),
    [(None, (), True), ("auto", (), True), ("cpu", (), False), (None, ("test",), False)],
)
def test_what_is_installed_serves_or_not(
    checkout: Checkout, torch: str | None, extras: tuple[str, ...], serves: bool
) -> None:
    stamp = checkout.stamp()
    assert stamp is not None
    assert checkout.serves(stamp, torch, extras) is serves


def test_extras_that_are_more_than_asked_for_serve(checkout: Checkout) -> None:
    assert checkout.serves(checkout.wanted("cuda", ("test",)), None, ())


def test_a_moved_folder_and_a_changed_project_do_not_serve(checkout: Checkout, tmp_path: Path) -> None:
    stamp = checkout.stamp()
    assert stamp is not None
    moved = Checkout(tmp_path / "moved")
    shutil.copytree(checkout.root, moved.root, symlinks=True, ignore=shutil.ignore_patterns("moved"))
    assert not moved.serves(stamp, None, ())
    (checkout.root / "pyproject.toml").write_text("[project]\nname='x'\n")
    assert not checkout.serves(stamp, None, ())


def test_a_python_that_became_another_version_breaks_the_venv(checkout: Checkout) -> None:
    assert not checkout.broken()
    config = f"executable = {os.path.realpath(sys.executable)}\nversion = 3.2.1\n"
    (checkout.venv / "pyvenv.cfg").write_text(config)
    assert checkout.broken()
    assert checkout.stamp() is None


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"project": 1}', '{"extras": null}'])
def test_a_stamp_cut_off_or_foreign_is_none(checkout: Checkout, body: str) -> None:
    checkout.stamp_file.write_text(body)
    assert checkout.stamp() is None


def test_without_ensurepip_the_person_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    find_spec = install.importlib.util.find_spec
    monkeypatch.setattr(
        install.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find_spec(name)
    )
    with pytest.raises(Refusal) as refused:
        install.install(Checkout(tmp_path), None, ())
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"sudo apt install python{version}-venv" in refused.value.remedy


def test_no_room_for_the_installation_is_said_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    monkeypatch.setattr(install, "NEEDED_BYTES", 2**62)
    with pytest.raises(Refusal) as refused:
        install.install(Checkout(tmp_path), None, ())
    assert refused.value.code == "no_room_to_install"
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(("torch", "refused"), [(None, False), ("cpu", True)])
def test_an_update_needs_no_room_for_a_torch_that_is_there(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, torch: str | None, refused: bool
) -> None:
    info = checkout.venv / "lib" / "python3" / "site-packages" / "torch-2.9.0.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_text("")
    (checkout.root / "pyproject.toml").write_text('[project]\ndependencies = ["torch"]\n')
    monkeypatch.setattr(install, "NEEDED_BYTES", 2**62)
    monkeypatch.setattr(install, "_make_venv", lambda *_: None)
    monkeypatch.setattr(install, "_pip", lambda *_: None)
    monkeypatch.setattr(install, "find_torch", lambda *_: TorchBuild(None, "as it is"))
    with pytest.raises(Refusal, match="3 GB") if refused else contextlib.nullcontext():
        install.install(checkout, torch, ())


def test_the_home_is_the_one_that_the_backend_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    from backend.home import locate_home

    monkeypatch.delenv("STUDIO_HOME")
    for data in (None, "/data", " "):
        if data is None:
            monkeypatch.delenv("XDG_DATA_HOME", raising=False)
        else:
            monkeypatch.setenv("XDG_DATA_HOME", data)
        assert door.find_home(None) == locate_home(None)
    monkeypatch.setenv("STUDIO_HOME", "~/here")
    assert door.find_home(None) == locate_home(None)
    assert door.find_home("relative") == locate_home("relative")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("", "looking for packages"),
        ("Collecting torch\n", "looking for packages"),
        ("".join(f"Collecting p{i}>=1\n" for i in range(45)), "found 40 packages so far"),
        (
            "".join(f"Collecting p{i}\n" for i in range(20))
            + "  Downloading torch-2.13.0-cp311-manylinux.whl (190.5 MB)\n",
            "found 20 packages so far, downloading torch (190.5 MB)",
        ),
        (
            "".join(f"Collecting p{i}\n" for i in range(20))
            + "  Downloading torch-2.13.0-cp311-manylinux.whl (190.5 MB)\nCollecting numpy\n",
            "found 20 packages so far",
        ),
        ("Collecting a\nInstalling collected packages: a, b, c\n", "installing 3 packages"),
    ],
)
def test_pip_s_progress_in_a_few_words(output: str, said: str) -> None:
    assert describe_pip(output) == said
