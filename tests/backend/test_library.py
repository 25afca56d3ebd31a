"""What is on the disk: sizes against the files, who depends on whom, what may go and what goes with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from backend.api import Dependent, ExportRequest, Holding, MergeRequest
from backend.facade import StudioFacade
from backend.jobs import record
from studio.errors import StudioError
from studio.files import remove_folder
from studio.names import mix
from tests.backend.conftest import write_sums
from tests.backend.launchers import HereAndNow, Notes
from tests.toys.folders import write_model

SETTINGS = {
    **{"steps": 4, "batch": 4, "lr": 0.01, "precision": "fp32", "adapter_dtype": "fp32", "device": "cpu"},
    "rank": 4,
}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a chain in it, never changed: base -> sums-1 -> merge-1 (adapter) and merge-2 (whole, in
    the home) -> sums-2 on that -> merge-3 of it, outside the home."""
    root = tmp_path_factory.mktemp("chain")
    facade = StudioFacade(root / "home", launcher=HereAndNow())
    model = write_model(root / "model")
    data = str(write_sums(root / "sums.jsonl", 60))
    facade.register(str(model))
    run = facade.start(str(model), data, set=SETTINGS)
    facade.merge(MergeRequest([f"run:{run}"], how="linear", weights=[0.5]))
    whole = facade.merge(MergeRequest([f"run:{run}"]))
    second = facade.start(whole, data, set=SETTINGS)
    facade.merge(MergeRequest([f"run:{second}"], out=str(root / "out")))
    states = {job.run: job.state for job in facade.runs("all")}
    facade.close()
    assert set(states.values()) == {"done"}, states
    return root


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub-cache"
    folder.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def facade(chain: Path, tmp_path: Path, cache: Path) -> Iterator[StudioFacade]:  # noqa: ARG001 - an empty cache
    """The chain's own home while only looked at: its store names the folders in it."""
    kept = tmp_path / "kept"
    shutil.copytree(chain, kept, symlinks=True)
    facade = StudioFacade(chain / "home", launcher=Notes())
    yield facade
    facade.close()
    shutil.rmtree(chain)
    kept.rename(chain)


def held(facade: StudioFacade) -> dict[str, Holding]:
    return {item.name: item for item in facade.library().holdings}


def on_disk(folder: Path) -> int:
    """By the system's own walk."""
    files = [Path(at) / name for at, _, names in os.walk(folder) for name in names]
    return sum(file.stat().st_size for file in files if not file.is_symlink())


def refused(facade: StudioFacade, name: str, knowing: tuple[str, ...] = ()) -> StudioError:
    with pytest.raises(StudioError) as caught:
        facade.remove(name, knowing)
    return caught.value


def test_every_size_is_that_of_the_files(facade: StudioFacade, chain: Path) -> None:
    items = held(facade)
    runs = chain / "home" / "runs"
    for name in ("sums-1", "sums-2"):
        assert items[f"run:{name}"].size_bytes == items[f"run:{name}"].frees_bytes == on_disk(runs / name)
    checkpoint = items["run:sums-1@4"]
    assert checkpoint.size_bytes == on_disk(Path(checkpoint.path)) > 0
    assert Path(checkpoint.path).parent == runs / "sums-1" / "checkpoints"
    outside = items["merge:merge-3"]
    assert outside.frees_bytes == on_disk(runs / "merge-3")
    assert outside.size_bytes == outside.frees_bytes + on_disk(chain / "out")
    assert outside.stays == str(chain / "out")
    assert items["merge:merge-2"].stays is None
    model = items[f"path:{chain / 'model'}"]
    assert (model.size_bytes, model.frees_bytes, model.removal) == (on_disk(chain / "model"), 0, "forget")
    disk = facade.library().disk
    assert disk.free_bytes <= disk.total_bytes
    assert disk.home_bytes == pytest.approx(on_disk(chain / "home"), abs=200_000)  # the store's log grows


def test_each_knows_who_depends_on_it(facade: StudioFacade, chain: Path) -> None:
    items = held(facade)
    dependents = {name: set(item.dependents) for name, item in items.items()}
    # The first run and the adapter out of it answer over the base; the whole model stands alone.
    assert dependents[f"path:{chain / 'model'}"] == {
        Dependent("sums-1", "train", True),
        Dependent("merge-1", "merge", True),
        Dependent("merge-2", "merge", False),
    }
    assert dependents["run:sums-1"] == {
        Dependent("merge-1", "merge", False),
        Dependent("merge-2", "merge", False),
    }
    assert dependents["merge:merge-2"] == {
        Dependent("sums-2", "train", True),
        Dependent("merge-3", "merge", False),
    }
    assert dependents["merge:merge-1"] == dependents["merge:merge-3"] == dependents["run:sums-1@4"] == set()
    assert items["merge:merge-2"].made_by == "merge-2"
    assert (items["run:sums-2"].kind, items["merge:merge-1"].kind) == ("adapter", "merge")


def test_a_run_starts_from_a_merge_by_its_name(facade: StudioFacade, chain: Path) -> None:
    data = str(chain / "sums.jsonl")
    listed = {model.name: model for model in facade.models()}
    assert listed["merge:merge-2"] == facade.model("merge-2")
    assert "merge:merge-1" not in listed  # an adapter
    assert [model.name for model in facade.chat_models()].count("merge:merge-2") == 1
    draft = facade.draft("merge-2", data, set=SETTINGS)
    assert (draft.problems, draft.plan["model"]) == ((), "merge:merge-2")
    assert facade.check(data, "merge-2").tokens
    assert facade.estimate("merge:merge-2", data, set=SETTINGS).memory == draft.memory
    run = facade.start("merge-2", data, set=SETTINGS)
    assert facade.run(run).base_of == facade.run("sums-2").base_of == ("run:sums-1",)
    assert facade.run("sums-1").base_of == ()
    assert facade.base_of("run:sums-2") == "merge:merge-2"
    assert held(facade)["merge:merge-2"].in_use == (run,)
    facade.stop(run)
    with pytest.raises(StudioError) as caught:
        facade.start("merge-1", data, set=SETTINGS)
    assert caught.value.code == "model_is_run"


def removed(facade: StudioFacade, name: str, knowing: tuple[str, ...] = ()) -> None:
    facade.remove(name, knowing)


def deleted(facade: StudioFacade, name: str, knowing: tuple[str, ...] = ()) -> None:
    facade.delete(name.partition(":")[2], knowing)


@pytest.mark.parametrize("act", [removed, deleted])
def test_what_others_need_stays_and_what_only_made_others_goes_when_they_were_named(
    facade: StudioFacade, chain: Path, act: Callable[..., None]
) -> None:
    def refusal(name: str, *knowing: str) -> tuple[str, list[str]]:
        with pytest.raises(StudioError) as caught:
            act(facade, name, knowing)
        return caught.value.code, caught.value.facts["runs"]

    folder = chain / "home" / "runs" / "merge-2"
    assert facade.run("merge-2").dependents == held(facade)["merge:merge-2"].dependents
    assert held(facade)["merge:merge-2"].needed_by == ("sums-2",)
    assert refusal("merge:merge-2", "sums-2", "merge-3") == ("library_needed", ["sums-2"])
    assert refusal("run:sums-2") == ("library_has_dependents", ["merge-3"])
    act(facade, "run:sums-2", ("merge-3",))
    # With the run gone nothing needs the merge; what came out of the run lies outside and names it.
    assert refusal("merge:merge-2") == ("library_has_dependents", ["merge-3"])
    assert folder.is_dir()
    act(facade, "merge:merge-2", ("merge-3",))
    assert not folder.exists()
    assert "merge:merge-2" not in held(facade)
    assert (chain / "out" / "config.json").is_file()


def test_a_run_that_a_job_reads_stays_until_that_has_ended(facade: StudioFacade) -> None:
    job = facade.mix_losses(str(mix(facade.run("sums-1").plan["model"], [("run:sums-1", 0.5)])))
    with pytest.raises(StudioError) as caught:
        facade.delete("sums-1", ("merge-1", "merge-2"))
    assert (caught.value.code, caught.value.facts["runs"]) == ("library_in_use", [job])
    facade.stop(job)


def test_an_export_names_what_it_was_made_of(facade: StudioFacade) -> None:
    job = facade.export(ExportRequest("run:sums-1"))
    assert refused(facade, "run:sums-1", ("merge-1", "merge-2")).facts["runs"] == [job]
    assert held(facade)["merge:merge-1"].made_of == ("run:sums-1",)


def test_what_a_run_over_a_folder_outside_reads_stays_there_when_its_maker_goes(
    facade: StudioFacade, chain: Path
) -> None:
    facade.start(str(chain / "out"), str(chain / "sums.jsonl"), set=SETTINGS)
    assert held(facade)["merge:merge-3"].in_use == ()
    facade.delete("merge-3")
    assert (chain / "out" / "config.json").is_file()


def test_what_lies_outside_the_home_is_left_alone(facade: StudioFacade, chain: Path) -> None:
    before = on_disk(chain / "out")
    facade.remove("merge:merge-3")
    assert "merge:merge-3" not in held(facade)
    assert on_disk(chain / "out") == before > 0
    model = on_disk(chain / "model")
    facade.remove(str(chain / "model"), ("sums-1", "merge-1", "merge-2"))
    assert f"path:{chain / 'model'}" not in held(facade)
    assert on_disk(chain / "model") == model > 0


def test_a_checkpoint_goes_alone_and_that_of_an_unfinished_run_stays(
    facade: StudioFacade, chain: Path
) -> None:
    with facade._store.writing() as connection:
        record.update(connection, "sums-1", state="stopped")
    error = refused(facade, "run:sums-1@4")
    assert (error.code, error.facts["runs"]) == ("library_in_use", ["sums-1"])
    with facade._store.writing() as connection:
        record.update(connection, "sums-1", state="done")
    gone = Path(facade.remove("sums-1@4").path)
    assert not gone.exists()
    assert gone.parent.is_dir()
    assert (chain / "home" / "runs" / "sums-1" / "adapter" / "manifest.json").is_file()
    assert "run:sums-1" in held(facade)


def test_nothing_goes_under_a_job_that_reads_it(facade: StudioFacade) -> None:
    job = facade.merge(MergeRequest(["run:sums-1"], how="linear", weights=[1.0]))
    assert facade.run(job).summary.state == "running"
    assert refused(facade, "run:sums-1", ("merge-1", "merge-2")).facts["runs"] == [job]
    facade.stop(job)
    for name, code in (("starter", "library_shipped"), ("run:nobody-1", "library_missing")):
        assert refused(facade, name).code == code


def test_a_folder_that_leads_out_is_never_emptied(tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    (outside / "precious").write_text("x")
    root = tmp_path / "home"
    root.mkdir()
    (root / "link").symlink_to(outside)
    for folder in (root / "link", root, outside, root / ".." / "elsewhere"):
        with pytest.raises(StudioError) as caught:
            remove_folder(folder, root)
        assert caught.value.code == "library_outside"
    assert (outside / "precious").read_text() == "x"


def test_a_registered_folder_is_proposed_until_it_is_gone(facade: StudioFacade, chain: Path) -> None:
    name = f"path:{chain / 'model'}"
    assert facade.register(f"path:{chain / 'model'}/") == name
    assert [model.name for model in facade.models()].count(name) == 1
    (chain / "model").rename(chain / "moved")
    assert name not in [model.name for model in facade.models()]
    assert (held(facade)[name].state, held(facade)[name].size_bytes) == ("missing", 0)
    for folder, code in (
        (chain / "model", "model_missing"),
        (chain, "model_inside"),
        ("ada/x", None),
        ("sums-1", "register_made_here"),
        ("merge:merge-1", "register_made_here"),
        ("sums-9", "run_missing"),
    ):
        with pytest.raises(StudioError) as caught:
            facade.register(str(folder))
        assert caught.value.code == (code or "register_not_folder")


def test_the_persons_own_limit_warns_once_it_is_passed(facade: StudioFacade) -> None:
    taken = facade.library().disk.home_bytes
    for quota, passed in ((2 * taken, False), (taken // 2, True), (None, False)):
        facade.set_quota(quota)
        disk = facade.library().disk
        assert disk.quota_bytes == quota
        assert (disk.warning == "quota_passed") is passed or disk.warning == "disk_low"
    with pytest.raises(StudioError) as caught:
        facade.set_quota(0)
    assert caught.value.code == "quota_bad"
