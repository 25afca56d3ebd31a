"""Loading model folders, and refusing what is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from studio.errors import StudioError
from studio.models.load import load_model
from tests.toys.folders import write_model


def _refusal(folder: Path) -> StudioError:
    with pytest.raises(StudioError) as refusal:
        load_model(folder, dtype=torch.float32, device="cpu")
    return refusal.value


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_loads_the_weights_as_they_are(family: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", family)
    model = load_model(folder, dtype=torch.float32, device="cpu")
    own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for (name, ours), theirs in zip(model.named_parameters(), own.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
        assert not ours.requires_grad
    assert not model.training


def test_dtype(tmp_path: Path) -> None:
    model = load_model(write_model(tmp_path / "model"), dtype=torch.bfloat16, device="cpu")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_folder_without_config_is_no_model(tmp_path: Path) -> None:
    assert _refusal(tmp_path).code == "model_foreign"


def test_pickles_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    refusal = _refusal(folder)
    assert refusal.code == "model_pickles_refused"
    assert refusal.facts["files"] == ["pytorch_model.bin"]
    (folder / "pytorch_model.bin").unlink()
    assert _refusal(folder).code == "model_weights_missing"


def test_code_in_the_folder_is_never_run(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    refusal = _refusal(folder)
    assert refusal.code == "architecture_unknown"
    assert refusal.facts["architecture"] == "evil"
    assert not (tmp_path / "ran").exists()


def test_cut_off_weights_are_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    refusal = _refusal(folder)
    assert refusal.code == "model_unreadable"
    assert refusal.facts["path"] == str(folder)
    assert refusal.facts["detail"]


def test_config_that_is_no_json(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "config.json").write_text("{")
    assert _refusal(folder).code == "model_unreadable"
