"""Downloads as jobs, from a hub on loopback into a cache of their own; and what the cache holds."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.api import Holding
from backend.facade import StudioFacade
from backend.inputs import base_hash
from backend.jobs import kinds
from studio.errors import StudioError
from studio.models import hub as hub_models
from tests.backend.launchers import HereAndNow
from tests.hub import server
from tests.hub.conftest import hub  # noqa: F401 - a fixture
from tests.toys.folders import write_model

NAME = "hub:ada/real"


@pytest.fixture
def source(hub: server.Hub, tmp_path: Path) -> Path:  # noqa: F811
    """A tiny model, on disk here and on the hub as `ada/real`."""
    folder = write_model(tmp_path / "source")
    hub.repos["ada/real"] = server.Repo({file.name: file.read_bytes() for file in folder.iterdir()})
    return folder


@pytest.fixture
def facade(home: Path) -> Iterator[StudioFacade]:
    facade = StudioFacade(home, launcher=HereAndNow())
    yield facade
    facade.close()


def held(facade: StudioFacade) -> dict[str, Holding]:
    return {item.name: item for item in facade.library().holdings}


def fetched(hub: server.Hub) -> list[str]:  # noqa: F811
    return [
        path.rpartition("/")[2] for method, path, _ in hub.requests if method == "GET" and "/api/" not in path
    ]


def test_a_model_arrives_and_is_known_by_its_content(
    facade: StudioFacade,
    hub: server.Hub,  # noqa: F811
    source: Path,
) -> None:
    job = facade.download("ada/real")
    made = facade.product(job)
    assert (made.kind, made.state) == ("download", "done"), facade.log_tail(job)
    assert facade.run(job).summary.size_bytes == sum(
        len(body) for body in hub.repos["ada/real"].files.values()
    )
    assert [model.title for model in facade.models() if model.on_disk] == ["Starter", "ada/real"]
    item = held(facade)[NAME]
    assert (item.state, item.made_by, item.dependents, item.in_use) == ("whole", job, (), ())
    here = {file.name: file.read_bytes() for file in Path(str(made.path)).iterdir()}
    assert here == hub.repos["ada/real"].files
    # What the client keeps beside the files (references, its listing) is small.
    assert 0 <= item.size_bytes - sum(map(len, here.values())) < 5_000
    row = facade._store.rows("SELECT kind, hash, made_by FROM artifact")
    assert [tuple(r) for r in row] == [("base", base_hash(source, facade._home), job)]


def test_a_stopped_download_goes_on_with_the_same_job_and_fetches_nothing_twice(
    facade: StudioFacade,
    hub: server.Hub,  # noqa: F811
    source: Path,  # noqa: ARG001 - it fills the hub
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    download = hub_models.download

    def cut(repo: str, revision: str | None, progress: hub_models.Progress) -> Path:
        def stop_at_the_weights(done: int, total: int) -> None:
            progress(done, total)
            if total - done < 1_000 or done > total // 2:
                raise kinds.Stopped

        return download(repo, revision, stop_at_the_weights)

    monkeypatch.setattr(hub_models, "download", cut)
    job = facade.download(NAME)
    assert facade.run(job).summary.state == "interrupted"
    first = set(fetched(hub)) - {"model.safetensors"}
    assert first >= {"config.json"}
    assert held(facade).get(NAME) is None or held(facade)[NAME].state == "incomplete"
    there = {f.name for f in hub_models.hub_files("ada/real").needed if _is_here(f.name)}
    assert there
    monkeypatch.setattr(hub_models, "download", download)
    blobs = tmp_path / "cache" / "models--ada--real" / "blobs"
    for part, age in (("killed.1.incomplete", 7200), ("alive.2.incomplete", 60)):
        (blobs / part).write_bytes(bytes(1000))
        os.utime(blobs / part, (time.time() - age,) * 2)
    hub.requests.clear()
    assert facade.download(NAME) == job
    summary = facade.run(job).summary
    assert (summary.state, summary.attempt) == ("done", 2)
    assert not there & set(fetched(hub))
    assert "model.safetensors" in fetched(hub)
    assert held(facade)[NAME].state == "whole"
    assert [part.name for part in blobs.glob("*.incomplete")] == ["alive.2.incomplete"]


def _is_here(file: str) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache("ada/real", file), str)


def test_deleting_empties_the_cache_of_it_and_of_nothing_else(
    facade: StudioFacade,
    hub: server.Hub,  # noqa: F811
    source: Path,  # noqa: ARG001 - it fills the hub
    tmp_path: Path,
) -> None:
    hub.repos["ada/other"] = server.Repo(dict(hub.repos["ada/real"].files))
    for name in (NAME, "hub:ada/other"):
        assert facade.run(facade.download(name)).summary.state == "done"
    gone = facade.remove("ada/real")
    assert gone.frees_bytes == gone.size_bytes > 100_000
    cache = tmp_path / "cache"
    assert [f.name for f in cache.iterdir() if f.name.startswith("models--")] == ["models--ada--other"]
    assert not list(cache.glob(".deleted-*"))
    assert hub_models.local_folder("ada/real") is None
    assert hub_models.local_folder("ada/other") is not None
    assert set(held(facade)) == {"starter", "hub:ada/other"}


def test_the_cache_of_other_programs_is_not_listed(
    facade: StudioFacade,
    hub: server.Hub,  # noqa: F811
    tmp_path: Path,
) -> None:
    facade.model("hub:ada/tiny")  # a look fetches its config.json
    hub.repos["ada/pictures"] = server.Repo(
        {"config.json": b'{"model_type": "clip", "architectures": ["CLIPModel"]}'}
    )
    hub_models.fetch_config("ada/pictures")
    assert len(list((tmp_path / "cache").glob("models--*"))) == 2
    assert set(held(facade)) == {"starter"}


def test_what_cannot_be_fetched_says_so(facade: StudioFacade, hub: server.Hub) -> None:  # noqa: F811
    hub.repos["ada/gguf"] = server.Repo({"a.gguf": b"x"})
    error = facade.run(facade.download("hub:ada/gguf")).summary.error
    assert error is not None
    assert error["code"] == "model_gguf"
    with pytest.raises(StudioError) as caught:
        facade.download("starter")
    assert caught.value.code == "download_not_hub"
