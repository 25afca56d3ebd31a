from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.chat import runs
from studio.errors import StudioError
from studio.names import parse
from tests.chat.homes import OWN, ChatHome


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("run:tuned-1", "tuned-1/adapter"),
        ("run:tuned-1@best", "tuned-1/checkpoints/step-00000004/adapter"),
        ("run:tuned-1@8", "tuned-1/checkpoints/step-00000008/adapter"),
        ("run:early-1", "early-1/checkpoints/step-00000006/adapter"),
        ("run:early-1@best", "early-1/checkpoints/step-00000002/adapter"),
    ],
)
def test_which_adapter_a_name_means(chat_home: ChatHome, name: str, expected: str) -> None:
    folder = chat_home.root / "runs"
    assert runs.adapter_folder(folder, parse(name)) == folder / expected


@pytest.mark.parametrize(
    ("name", "code", "facts"),
    [
        ("run:nothing-1", "run_missing", {"run": "nothing-1"}),
        ("run:empty-1", "run_has_no_adapter", {"run": "empty-1", "state": None}),
        ("run:empty-1@best", "run_has_no_adapter", {"run": "empty-1", "state": None}),
        ("run:tuned-1@5", "checkpoint_missing", {"run": "tuned-1", "step": 5, "steps": [4, 8]}),
    ],
)
def test_a_name_without_an_adapter_is_refused(
    chat_home: ChatHome, name: str, code: str, facts: dict[str, object]
) -> None:
    with pytest.raises(StudioError) as refused:
        runs.adapter_folder(chat_home.root / "runs", parse(name))
    assert (refused.value.code, refused.value.facts) == (code, facts)


def test_a_checkpoint_without_its_manifest_does_not_count(chat_home: ChatHome) -> None:
    half = chat_home.run("early-1") / "checkpoints" / "step-00000009"
    half.mkdir()
    try:
        folder = runs.adapter_folder(chat_home.root / "runs", parse("run:early-1"))
    finally:
        half.rmdir()
    assert folder.parent.name == "step-00000006"


def test_a_broken_plan_and_a_run_being_deleted_hide_themselves_alone(tmp_path: Path) -> None:
    for run, plan in (("good-1", '{"model": "starter"}'), (".deleted-1", '{"model": "starter"}')):
        write_run(tmp_path / run, plan)
    for number, plan in enumerate(("", "[]", "{}", '{"model": "x:y:z"}'), 1):
        write_run(tmp_path / f"broken-{number}", plan)
        with pytest.raises(StudioError) as refused:
            runs.base_of(tmp_path, f"broken-{number}")
        assert refused.value.code == "run_unreadable"
    assert runs.answering_runs(tmp_path) == runs.answering_runs(tmp_path, "starter") == ["good-1"]


def write_run(folder: Path, plan: str) -> None:
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "manifest.json").write_text("{}")
    (folder / "plan.json").write_text(plan)


def test_runs_that_can_answer_are_listed_newest_first(chat_home: ChatHome) -> None:
    for at, run in enumerate(("tuned-1", "early-1", "moved-1")):
        os.utime(chat_home.run(run) / "plan.json", (at, at))
    folder = chat_home.root / "runs"
    known = {"tuned-1", "early-1", "moved-1", "merge-1", *(f"{method}-1" for method in OWN)}
    found = runs.answering_runs(folder, chat_home.base)
    assert found[-1] == "tuned-1"
    assert set(found) == known
    assert set(runs.answering_runs(folder)) == {*known, "foreign-1"}
