"""A run on a model that has to be fetched first, from a hub on loopback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.facade import StudioFacade
from backend.inputs import base_hash
from backend.jobs import kinds
from backend.jobs.kinds import Work
from backend.jobs.kinds.train import model_folder
from backend.store.writer import Writer
from studio.errors import StudioError
from studio.models.locate import locate
from tests.backend.conftest import Bench
from tests.backend.launchers import HereAndNow, Notes
from tests.hub import server
from tests.hub.conftest import hub  # noqa: F401 - a fixture
from tests.toys.folders import write_model


@pytest.fixture
def source(hub: server.Hub, tmp_path: Path) -> Path:  # noqa: F811
    """A tiny model, on disk here and on the hub as `ada/real`."""
    folder = write_model(tmp_path / "source")
    hub.repos["ada/real"] = server.Repo({file.name: file.read_bytes() for file in folder.iterdir()})
    return folder


@pytest.fixture
def data(tmp_path: Path) -> str:
    file = tmp_path / "sums.jsonl"
    rows = ({"prompt": f"{i}?", "completion": f"it is {i}"} for i in range(40))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


class Wish:
    """A control with one wish."""

    def __init__(self, wish: str | None) -> None:
        self._wish = wish

    def wish(self) -> str | None:
        return self._wish

    def stopping(self) -> bool:
        return self._wish == "stop"

    def wait_while_paused(self, _meanwhile: object) -> None:
        raise AssertionError


class Phases:
    """A sink that notes the phases."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float | None]] = []

    def metric(self, step: int, name: str, value: float) -> None:
        assert (step, name, value > 0) == (0, "total_bytes", True)

    def phase(self, name: str, progress: float | None = None) -> None:
        self.seen.append((name, progress))


def fetch(bench: Bench, wish: str | None) -> tuple[Path, list[tuple[str, float | None]]]:
    sink = Phases()
    job = bench.job(bench.add())
    work = Work(bench.home, bench.store, job, Writer(bench.store, job.id, 1), sink, Wish(wish))  # type: ignore[arg-type]
    return model_folder(work, "hub:ada/real"), sink.seen


def test_the_worker_fetches_shows_how_far_and_then_has_it(bench: Bench, source: Path) -> None:
    folder, seen = fetch(bench, None)
    assert base_hash(folder, bench.home) == base_hash(source, bench.home)
    assert {name for name, _ in seen} == {"downloading"}
    shares = [share for _, share in seen]
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert shares == sorted(shares)  # type: ignore[type-var]
    assert fetch(bench, None) == (folder, [])


def test_a_download_can_be_stopped(bench: Bench, source: Path) -> None:  # noqa: ARG001 - it fills the hub
    with pytest.raises(kinds.Stopped):
        fetch(bench, "stop")
    with pytest.raises(StudioError) as caught:
        locate("hub:ada/real")
    assert caught.value.code == "model_not_on_disk"


def test_a_run_can_be_queued_before_its_model_is_here(home: Path, source: Path, data: str) -> None:
    facade = StudioFacade(home, launcher=HereAndNow())
    info = facade.model("hub:ada/real")
    assert (info.on_disk, info.gated, info.context) == (False, False, 256)
    assert info.size_bytes == (source / "model.safetensors").stat().st_size
    assert facade.check(data, "hub:ada/real").tokens is None
    run = facade.start("hub:ada/real", data, set={"steps": 3})
    detail = facade.run(run)
    assert (detail.summary.state, detail.summary.steps, detail.summary.error) == ("done", 3, None)
    assert detail.hashes["base"] == base_hash(source, facade._home)
    assert {"tokenizer", "template"} <= detail.hashes.keys()
    assert "phase downloading" in facade.log_tail(run)
    assert facade.model("hub:ada/real").on_disk
    facade.close()


def test_a_model_that_the_hub_does_not_have_is_said_when_it_is_chosen_and_when_it_is_fetched(
    home: Path,
    hub: server.Hub,  # noqa: F811
    data: str,
) -> None:
    facade = StudioFacade(home, launcher=HereAndNow())
    with pytest.raises(StudioError) as caught:
        facade.model("hub:ada/nothing")
    assert caught.value.code == "hub_missing"
    run = facade.start("hub:ada/nothing", data, set={"steps": 3})
    summary = facade.run(run).summary
    assert summary.state == "failed"
    assert summary.error is not None
    assert summary.error["code"] == "hub_missing"
    assert hub.requests
    facade.close()


def test_a_model_that_cannot_be_tuned_is_refused_before_its_weights_are_fetched(
    home: Path,
    hub: server.Hub,  # noqa: F811
    data: str,
) -> None:
    config = json.dumps({"model_type": "mamba", "architectures": ["MambaForCausalLM"]}).encode()
    hub.repos["ada/mamba"] = server.Repo({**hub.repos["ada/tiny"].files, "config.json": config})
    facade = StudioFacade(home, launcher=HereAndNow())
    with pytest.raises(StudioError) as caught:
        facade.model("hub:ada/mamba")
    assert caught.value.code == "architecture_without_attention"
    error = facade.run(facade.start("hub:ada/mamba", data, set={"steps": 3})).summary.error
    assert error is not None
    assert error["code"] == "architecture_without_attention"
    assert not [p for method, p, _ in hub.requests if method == "GET" and p.endswith(".safetensors")]
    facade.close()


def test_a_model_that_brings_its_program_is_estimated_but_not_tuned(
    home: Path,
    hub: server.Hub,  # noqa: F811
) -> None:
    sizes = {"vocab_size": 640, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
    own = {"num_attention_heads": 4, "auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}, **sizes}
    for model_type in ("baichuan", "novel"):
        config = json.dumps({"model_type": model_type, "architectures": ["OwnModel"], **own}).encode()
        hub.repos[f"ada/{model_type}"] = server.Repo({"config.json": config})
    facade = StudioFacade(home, launcher=HereAndNow())
    with pytest.raises(StudioError) as caught:
        facade.model("hub:ada/baichuan")
    assert caught.value.code == "model_remote_code"
    need = facade.estimate("hub:ada/baichuan", None, "lora", {"batch": 1, "seq": 64}).memory
    assert need is not None
    assert [note.code for note in need.notes] == ["layers_alike", "estimated_only"]
    with pytest.raises(StudioError) as caught:
        facade.estimate("hub:ada/novel", None, "lora", {"batch": 1, "seq": 64})
    assert caught.value.code == "model_remote_code"
    facade.close()


def test_a_rounded_checkpoint_is_refused_before_its_weights_are_fetched(
    home: Path,
    hub: server.Hub,  # noqa: F811
) -> None:
    files = hub.repos["ada/tiny"].files
    config = {**json.loads(files["config.json"]), "quantization_config": {"quant_method": "awq", "bits": 4}}
    hub.repos["ada/awq"] = server.Repo({**files, "config.json": json.dumps(config).encode()})
    facade = StudioFacade(home, launcher=HereAndNow())
    for ask in (facade.model, lambda name: facade.estimate(name, None, "lora", {"batch": 1, "seq": 64})):
        with pytest.raises(StudioError) as caught:
            ask("hub:ada/awq")
        assert (caught.value.code, caught.value.facts["quantisation"]) == ("model_quantised", "awq, 4 bit")
    assert not [p for method, p, _ in hub.requests if method == "GET" and p.endswith(".safetensors")]
    facade.close()


def test_a_gated_model_is_named_with_its_page(home: Path, hub: server.Hub, data: str) -> None:  # noqa: F811
    hub.repos["ada/gated"] = server.Repo(hub.repos["ada/tiny"].files, gated=True)
    facade = StudioFacade(home, launcher=Notes())
    with pytest.raises(StudioError) as caught:
        facade.model("hub:ada/gated")
    assert caught.value.facts["page"] == f"{hub.url}/ada/gated"
    assert facade.draft("hub:ada/gated", data).problems == ()
    facade.close()
