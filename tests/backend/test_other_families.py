"""A decoder whose family the studio has no line for, from the form to what leaves with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backend.api import ExportRequest
from backend.chat.base import load_base
from backend.facade import StudioFacade
from backend.home import Home
from studio.errors import StudioError
from studio.generate.decode import generate
from studio.generate.request import Request
from studio.models.survey_apart import Surveys
from tests.toys.folders import write_model

SETTINGS = {"steps": 2, "batch": 2, "seq": 48, "device": "cpu", "precision": "fp32"}


@pytest.fixture(autouse=True)
def surveyed_here(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Surveys without a process of their own; the types that were asked for."""
    from studio.models.survey import survey

    asked: list[str] = []

    def answer(config: dict[str, str], towers: bool) -> object:
        assert not towers
        asked.append(config["model_type"])
        try:
            return survey(config).as_dict()
        except StudioError as error:
            return {"error": error.as_dict()}

    monkeypatch.setattr("studio.models.survey_apart._survey", answer)
    return asked


def test_it_is_estimated_tuned_taken_along_and_answers(
    working: StudioFacade,
    sums: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    surveyed_here: list[str],
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))  # loading chooses the device for the whole process
    model = write_model(tmp_path / "gptj", "gptj")
    need = working.estimate(str(model), str(sums), "lst", SETTINGS).memory
    assert need is not None
    assert need.notes == ()
    assert working.model(str(model)).parameters == need.total_params - need.trainable_params
    run = working.start(str(model), str(sums), "lst", set=SETTINGS)
    assert working.run(run).summary.state == "done", working.log_tail(run)
    exported = working.product(working.export(ExportRequest(f"run:{run}", format="adapter")))
    assert exported.facts["parity"]["passed"], exported
    home = Home(working.home)
    loaded = load_base(model, home, wanted="cpu")
    tokens = list(generate(loaded.decoder.model, [Request((5, 6, 7), max_tokens=3)]))
    assert [token.id is not None for token in tokens] == [True] * 3
    assert surveyed_here == ["gptj"]
    assert Surveys(home.surveys).folder.is_dir()


def test_one_whose_layers_no_survey_knows_is_tuned_and_its_memory_said_to_be_guessed(
    working: StudioFacade, sums: Path, tmp_path: Path
) -> None:
    """Attention through a bottleneck."""
    sizes = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8}
    model = write_model(tmp_path / "youtu", "youtu", **sizes, v_head_dim=8, num_key_value_heads=4)
    need = working.estimate(str(model), str(sums), "lst", SETTINGS).memory
    assert need is not None
    assert [note.code for note in need.notes] == ["layers_guessed"]
    run = working.start(str(model), str(sums), "lst", set=SETTINGS)
    assert working.run(run).summary.state == "done", working.log_tail(run)


def test_one_that_cannot_be_taken_apart_says_why_in_its_run(
    working: StudioFacade, sums: Path, tmp_path: Path
) -> None:
    """Its layers run in circles."""
    model = write_model(tmp_path / "circles", "hrm_text")
    run = working.start(str(model), str(sums), "lst", set=SETTINGS)
    error = working.run(run).summary.error
    assert error is not None
    assert (error["code"], error["facts"]["part"]) == ("architecture_part_missing", "layers")
