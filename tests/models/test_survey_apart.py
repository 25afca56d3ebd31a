"""A family that is not known is surveyed once, in a process of its own, and estimated without torch."""

from __future__ import annotations

import json
import subprocess

import pytest

from studio import estimate
from studio.errors import StudioError
from studio.models.config import read_config, to_survey
from studio.models.survey_apart import Surveys
from tests.models.surveyed import CONFIGS
from tests.test_imports import HEAVY, loaded_after


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A user's cache in which one model was surveyed, for an estimate, by the real process."""
    folder = tmp_path_factory.mktemp("cache")
    config = folder / "config.json"
    config.write_text(json.dumps({**CONFIGS["stablelm"], "torch_dtype": "bfloat16"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        need = estimate(str(config), batch=1, seq=64)
    assert need.parts["weights"] > 0
    return folder


@pytest.fixture(autouse=True)
def _users_cache(monkeypatch, cache):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture
def no_process(monkeypatch):
    """Nothing may start one."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)


def surveys(cache):
    return Surveys(cache / "finetune-studio" / "surveys")


@pytest.mark.usefixtures("no_process")
def test_the_second_estimate_starts_no_process(cache):
    again = estimate(str(cache / "config.json"), "qst", batch=1, seq=64)
    assert again.parts["weights"] > 0
    assert len(list(surveys(cache).folder.iterdir())) == 1


@pytest.mark.usefixtures("no_process")
def test_it_is_found_by_what_decides_its_sizes(cache):
    config = CONFIGS["stablelm"]
    assert to_survey(config)
    assert surveys(cache).known({**config, "dtype": "float32", "transformers_version": "5.0"})
    assert not surveys(cache).known({**config, "num_hidden_layers": 5})
    assert read_config(cache / "config.json", surveys(cache)).dtype == "bfloat16"


@pytest.mark.usefixtures("no_process")
def test_a_refusal_is_kept_too(tmp_path):
    """As the process writes it; what is neither known nor can be built has the errors of before."""
    config = {**CONFIGS["stablelm"], "model_type": "novel"}
    kept = Surveys(tmp_path)
    refused = StudioError("architecture_unknown", architecture="novel", known=[])
    kept.file(config).write_text(json.dumps({"error": refused.as_dict()}))
    with pytest.raises(StudioError) as caught:
        kept.of(config)
    assert caught.value.code == "architecture_unknown"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_config(tmp_path / "config.json", kept).parameters is None
    del config["hidden_size"]
    kept.file(config).write_text(json.dumps({"error": refused.as_dict()}))
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(StudioError) as caught:
        read_config(tmp_path / "config.json", kept)
    assert caught.value.code == "model_config_incomplete"


def test_reading_a_survey_needs_no_torch(cache):
    code = f"from studio import estimate; estimate({str(cache / 'config.json')!r}, batch=1, seq=64)"
    assert not loaded_after(code) & HEAVY
