"""Downloads through the real hub client from a hub on loopback."""

import hashlib
import shutil
from types import SimpleNamespace

import pytest

from studio.errors import StudioError
from studio.models import hub as hub_models
from studio.models.locate import locate
from tests.hub import server

NEEDED = {
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
}


def fetch(repo="ada/tiny", revision=None):
    seen = []
    folder = hub_models.download(repo, revision, lambda done, total: seen.append((done, total)))
    return folder, seen


def refusal(call, *args):
    with pytest.raises(StudioError) as caught:
        call(*args)
    return caught.value


def test_only_what_loading_needs_is_fetched_and_progress_counts_every_byte(hub):
    folder, seen = fetch()
    files = hub.repos["ada/tiny"].files
    assert {p.name for p in folder.iterdir()} == NEEDED
    assert all((folder / name).read_bytes() == files[name] for name in NEEDED)
    total = sum(len(files[name]) for name in NEEDED)
    # The configuration comes first: of a model that can't be tuned nothing more is fetched.
    assert seen[0] == (len(files["config.json"]), total)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert locate("hub:ada/tiny") == folder


def test_listing_gives_sizes_and_hashes(hub):
    listing = hub_models.hub_files("ada/tiny")
    files = hub.repos["ada/tiny"].files
    by_name = {f.name: f for f in listing.files}
    assert {n: f.size for n, f in by_name.items()} == {n: len(body) for n, body in files.items()}
    weights = hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert by_name["model.safetensors"].sha256 == weights
    assert by_name["config.json"].sha256 is None
    assert {f.name for f in listing.needed} == NEEDED
    assert listing.commit == hub.repos["ada/tiny"].commit
    assert (listing.licence, listing.gated) == ("apache-2.0", False)


def test_config_alone_can_be_looked_at(hub):
    assert hub_models.fetch_config("ada/tiny").read_bytes() == hub.repos["ada/tiny"].files["config.json"]
    assert not [path for _, path, _ in hub.requests if path.endswith(".safetensors")]
    assert hub_models.local_folder("ada/tiny") is None
    hub.repos["ada/gguf"] = server.Repo({"a.gguf": b"x"})
    assert refusal(hub_models.fetch_config, "ada/gguf").code == "model_gguf"
    assert refusal(hub_models.fetch_config, "ada/nothing").code == "hub_missing"


def test_hashes_are_known_after_the_download_without_reading_the_weights(hub):
    folder, _ = fetch()
    weights = hub.repos["ada/tiny"].files["model.safetensors"]
    assert hub_models.known_hashes(folder) == {"model.safetensors": hashlib.sha256(weights).hexdigest()}


def test_broken_off_transfer_goes_on_where_it_stopped(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 30_000)
    hub.breaks["model.safetensors"] = 100_000
    folder, seen = fetch()
    assert (folder / "model.safetensors").read_bytes() == hub.repos["ada/tiny"].files["model.safetensors"]
    assert hub.ranges("model.safetensors") == [None, "bytes=90000-"]
    assert seen[-1][0] == seen[-1][1]


def test_second_call_keeps_the_files_that_were_complete(hub):
    hub.repos["ada/tiny"].files["extra.json"] = b"[1]"
    folder, _ = fetch()
    (folder / "model.safetensors").unlink()
    for blob in (folder.parents[1] / "blobs").iterdir():
        if blob.stat().st_size > 1000:
            blob.unlink()
    assert hub_models.local_folder("ada/tiny") is None
    assert refusal(locate, "hub:ada/tiny").code == "model_not_on_disk"
    hub.requests.clear()
    again, seen = fetch()
    assert again == folder
    assert {p.name for p in again.iterdir()} == NEEDED | {"extra.json"}
    small = sum(
        len(hub.repos["ada/tiny"].files[n]) for n in (NEEDED | {"extra.json"}) - {"model.safetensors"}
    )
    assert seen[0][0] == small
    assert not [
        path for method, path, _ in hub.requests if method == "GET" and path.endswith("tokenizer.json")
    ]


@pytest.mark.usefixtures("hub")
def test_complete_copy_serves_without_a_connection(monkeypatch):
    folder, _ = fetch()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert fetch()[0] == folder
    assert hub_models.local_folder("ada/tiny") == folder


@pytest.mark.usefixtures("hub")
def test_nothing_on_disk_and_no_connection(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    error = refusal(fetch)
    assert error.code == "hub_offline"
    assert error.facts["endpoint"] == "http://127.0.0.1:9"
    assert hub_models.local_folder("ada/tiny") is None


def test_offline_switch_of_the_client_is_honoured(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert refusal(fetch).code == "hub_offline"
    assert hub.requests == []


def test_revision(hub):
    hub.repos["ada/tiny"].revisions = ("main", "v2")
    folder, _ = fetch(revision="v2")
    assert hub_models.local_folder("ada/tiny", "v2") == folder
    assert hub_models.local_folder("ada/tiny") is None
    error = refusal(fetch, "ada/tiny", "v3")
    assert (error.code, error.facts["revision"]) == ("hub_revision_missing", "v3")


@pytest.mark.usefixtures("hub")
def test_missing_repository():
    error = refusal(fetch, "ada/nothing")
    assert (error.code, error.facts["repo"]) == ("hub_missing", "ada/nothing")


@pytest.mark.parametrize(
    ("token", "code"),
    [(None, "hub_gated"), (server.POOR_TOKEN, "hub_gated_refused"), ("hf_expired", "hub_login_invalid")],
)
def test_gated_repository_says_what_is_missing(hub, tmp_path, token, code):
    hub.repos["ada/gated"] = server.Repo(hub.repos["ada/tiny"].files, gated=True)
    if token:
        (tmp_path / "token").write_text(token)
    error = refusal(fetch, "ada/gated")
    assert error.code == code
    if code != "hub_login_invalid":
        assert error.facts["page"] == f"{hub.url}/ada/gated"


def test_login_is_taken_from_where_the_client_keeps_it(hub, tmp_path):
    hub.repos["ada/gated"] = server.Repo(hub.repos["ada/tiny"].files, gated=True)
    (tmp_path / "token").write_text(server.GOOD_TOKEN)
    assert hub_models.hub_files("ada/gated").gated
    folder, _ = fetch("ada/gated")
    assert {p.name for p in folder.iterdir()} == NEEDED
    elsewhere = [headers for _, path, headers in hub.requests if path.startswith("/cdn/")]
    assert elsewhere
    assert not any("authorization" in {key.lower() for key in headers} for headers in elsewhere)


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"x"}, "model_weights_pickle"),
        ({"config.json": b"{}", "README.md": b"x"}, "model_weights_missing"),
        ({"tiny-q4.gguf": b"x", "README.md": b"x"}, "model_gguf"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b"x"}, "model_adapter_without_base"),
        ({"model_index.json": b"{}"}, "model_diffusion"),
        ({"data.jsonl": b"{}"}, "model_dataset"),
    ],
)
def test_repository_that_is_no_model_is_refused_before_any_download(hub, files, code):
    hub.repos["ada/other"] = server.Repo(files)
    assert refusal(fetch, "ada/other").code == code
    assert not [path for _, path, _ in hub.requests if "/resolve/" in path]


def test_full_disk_is_refused_before_any_download(hub, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(total=1, used=1, free=1000))
    error = refusal(fetch)
    assert (error.code, error.facts["free_bytes"]) == ("hub_disk_full", 1000)
    assert error.facts["needed_bytes"] == sum(len(hub.repos["ada/tiny"].files[n]) for n in NEEDED)
    assert not [path for _, path, _ in hub.requests if "/resolve/" in path]


def test_failing_hub(hub):
    hub.fail_with = 500
    error = refusal(hub_models.hub_files, "ada/tiny")
    assert (error.code, error.facts["status"]) == ("hub_failed", 500)


def test_client_tells_no_one_else_anything(hub):
    fetch()
    paths = {path for _, path, _ in hub.requests}
    assert all(
        path.startswith(("/api/models/ada/tiny", "/ada/tiny/resolve/", "/cdn/ada/tiny/")) for path in paths
    )
    assert all("torch/" not in headers["user-agent"] for _, _, headers in hub.requests)
