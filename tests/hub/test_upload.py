"""Uploads through the real hub client to a hub on loopback."""

from pathlib import Path

import numpy
import pytest
from huggingface_hub import constants
from safetensors.numpy import save_file

from studio.errors import StudioError
from studio.export.upload import upload
from studio.models import hub as hub_models
from studio.train import checkpoint
from tests.hub import server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete export, and beside it a file that is none of it."""

    def fill(folder: Path) -> None:
        save_file({"w": numpy.arange(1000, dtype=numpy.float32)}, folder / "model.safetensors")
        (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
        (folder / "tokenizer").mkdir()
        (folder / "tokenizer" / "tokenizer.json").write_text("{}")

    made = checkpoint.write_folder(tmp_path / "export", fill, {"kind": "export"})
    (made / "notes.txt").write_text("mine alone")
    return made


@pytest.fixture
def plain_transfers(monkeypatch):
    """The loopback hub takes large files as git-lfs does; the client's newer protocol is not spoken there."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)


def log_in(token: str) -> None:
    """As `hf auth login` does."""
    Path(constants.HF_TOKEN_PATH).write_text(token)


@pytest.mark.usefixtures("plain_transfers")
@pytest.mark.parametrize("public", [False, True])
def test_the_files_of_the_export_arrive(hub, folder, public):
    log_in(server.GOOD_TOKEN)
    page = upload(folder, "ada/mine", public=public)
    assert page == f"{hub.url}/ada/mine"
    repo = hub.repos["ada/mine"]
    assert repo.private is not public
    names = {"model.safetensors", "README.md", "tokenizer/tokenizer.json"}
    assert set(repo.files) == names
    assert all(repo.files[name] == (folder / name).read_bytes() for name in names)
    listed = {file.name: file.size for file in hub_models.hub_files("ada/mine").files}
    assert listed["model.safetensors"] == (folder / "model.safetensors").stat().st_size


@pytest.mark.usefixtures("plain_transfers")
@pytest.mark.parametrize(
    ("token", "fail_with", "code"),
    [
        (None, None, "hub_login_missing"),
        ("hf_wrong", None, "hub_login_invalid"),
        (server.GOOD_TOKEN, 403, "hub_failed"),
    ],
)
def test_a_refusal_has_its_words_and_nothing_arrives(hub, folder, token, fail_with, code):
    if token is not None:
        log_in(token)
    hub.fail_with = fail_with
    with pytest.raises(StudioError) as refused:
        upload(folder, "ada/mine", public=False)
    assert refused.value.code == code
    assert "ada/mine" not in hub.repos
