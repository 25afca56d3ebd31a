"""Who gets a spare, and who ends it: files only, with this process in the place of the spare."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from backend.jobs import spare
from backend.jobs.processes import Identity, own_identity
from backend.jobs.spare import Spares
from tests.backend.conftest import Bench


@pytest.fixture
def file(bench: Bench) -> Path:
    file = bench.home.cache / "spare" / "1.json"
    file.parent.mkdir()
    body = {"process": asdict(own_identity()), "device": "cpu", "sources": spare._sources()}
    file.write_text(json.dumps(body))
    return file


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[Identity]:
    ended: list[Identity] = []
    monkeypatch.setattr(spare, "ask_to_end", ended.append)
    return ended


def test_a_spare_that_nobody_took_is_ended(bench: Bench, file: Path, ended: list[Identity]) -> None:
    Spares(bench.home).end()
    assert ended == [own_identity()]
    assert list(file.parent.iterdir()) == []


def test_one_that_was_taken_meanwhile_is_not_ended(
    bench: Bench, file: Path, ended: list[Identity], monkeypatch: pytest.MonkeyPatch
) -> None:
    ending, taking = Spares(bench.home), Spares(bench.home)
    waiting = ending.waiting()
    job = replace(bench.job(bench.add()), devices=("cpu",))
    assert taking.take(job) == own_identity()
    monkeypatch.setattr(ending, "waiting", lambda: waiting)
    ending.end()
    assert ended == []
    assert file.with_suffix(".order").exists()


def test_a_file_that_goes_away_while_it_is_looked_at_is_passed_over(bench: Bench, file: Path) -> None:
    file.unlink()
    file.symlink_to(file.with_name("gone"))
    assert Spares(bench.home).waiting() == []
