"""Merges as jobs: adapters combined, a run merged and verified, what is refused, what is found by name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from backend.api import MergeRequest, Product
from backend.api.chat import ChatRequest, Pane, Sampling
from backend.chat import runs
from backend.facade import StudioFacade
from backend.jobs import kinds
from studio.errors import StudioError
from studio.merge.expand_adapter import expanded
from studio.models.locate import locate
from studio.names import ModelName, mix
from tests.backend.conftest import write_sums
from tests.backend.launchers import HereAndNow, Notes
from tests.toys.folders import write_model

IDS = torch.arange(4, 44)[None]
SETTINGS = {"steps": 3, "batch": 4, "lr": 0.01, "precision": "fp32", "adapter_dtype": "fp32", "device": "cpu"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def facade(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[StudioFacade]:
    """A studio with finished runs: `sums-1` (rank 4), `sums-2` (rank 6), `sums-3` (lst), `sums-4` (qlora),
    `sums-5` on another base, `sums-6` (DoRA), and `sums-7` (full)."""
    root = tmp_path_factory.mktemp("studio")
    facade = StudioFacade(root / "home", launcher=HereAndNow())
    data, other = write_sums(root / "sums.jsonl", 60), write_model(root / "other", seed=5)
    for base, method, more in (
        (model, "lora", {"rank": 4}),
        (model, "lora", {"rank": 6, "seed": 7}),
        (model, "lst", {}),
        (model, "qlora", {}),
        (other, "lora", {}),
        (model, "lora", {"dora": True}),
        (model, "full", {"lr": 0.001}),
    ):
        run = facade.start(str(base), str(data), method, set={**SETTINGS, **more})
        assert facade.run(run).summary.state == "done", facade.log_tail(run)
    yield facade
    facade.close()


def merged(facade: StudioFacade, *models: str, **more: Any) -> Product:
    made = facade.product(facade.merge(MergeRequest(models=models, **more)))
    assert made.state == "done", facade.log_tail(made.run)
    return made


@torch.no_grad()
def logits(folder: Path, adapter: Path | None = None) -> torch.Tensor:
    """By transformers and PEFT alone."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    return model.eval()(IDS).logits  # type: ignore[no-any-return]


def test_two_runs_become_an_adapter_that_answers(facade: StudioFacade, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "both"
    made = merged(facade, "run:sums-1", "sums-2", how="cat", weights=[1.0, -0.5], out=str(out))
    assert (made.kind, made.path) == ("merge", str(out))
    assert set(made.files) == {"adapter_config.json", "adapter_model.safetensors", "manifest.json"}
    assert (made.facts["rank"], made.facts["error"]) == (10, 0.0)
    assert made.artifact is not None
    own = runs.adapter_folder(facade.home / "runs", ModelName("run", made.run))
    torch.testing.assert_close(logits(model, out), logits(model, own))
    assert runs.base_of(facade.home / "runs", made.run) == f"path:{model}"
    assert runs.tokenizer_folder(facade.home / "runs", made.run).is_dir()
    rows = facade._store.rows(
        "SELECT role, kind FROM input JOIN artifact ON artifact = id WHERE job = ?", made.run
    )
    assert sorted(map(tuple, rows)) == [("adapter 0", "adapter"), ("adapter 1", "adapter")]
    with pytest.raises(StudioError) as refused:
        locate(f"merge:{made.run}", facade.home / "runs")
    assert (refused.value.code, refused.value.facts["base"]) == ("model_is_run", f"path:{model}")


def test_a_merge_goes_into_the_next(facade: StudioFacade, model: Path) -> None:
    first = merged(facade, "run:sums-1", "run:sums-2", how="cat", weights=[1.0, 1.0])
    again = merged(facade, f"merge:{first.run}", "run:sums-2", how="linear", weights=[1.0, -1.0])
    assert again.path is not None
    adapter = facade.run("sums-1").summary.adapter
    torch.testing.assert_close(
        logits(model, Path(again.path)), logits(model, Path(str(adapter))), rtol=0, atol=1e-4
    )


def test_a_run_becomes_a_model_with_the_difference_said(
    facade: StudioFacade, model: Path, tmp_path: Path
) -> None:
    made = merged(facade, "run:sums-1", out=str(tmp_path / "whole"))
    assert made.path is not None
    found = locate(f"merge:{made.run}", facade.home / "runs")
    assert found == Path(made.path) == tmp_path / "whole"
    adapter = Path(str(facade.run("sums-1").summary.adapter))
    torch.testing.assert_close(logits(found), logits(model, adapter), rtol=0, atol=1e-4)
    assert made.facts["verified"]["passed"] is True
    assert made.facts["prompts"] == 8
    assert made.facts["ways"] is None
    kinds = [event["kind"] for event in facade.run(made.run).events]
    assert "verified" in kinds


def test_a_run_over_4_bit_is_merged_both_ways(facade: StudioFacade) -> None:
    exact, stored = merged(facade, "run:sums-4", exact=True), merged(facade, "run:sums-4")
    for made in (exact, stored):
        assert made.facts["verified"]["passed"] is True
        assert made.facts["ways"]["max_difference"] > 10 * made.facts["verified"]["max_difference"]
    assert exact.facts["exact"]
    assert not stored.facts["exact"]


def test_a_mix_is_merged_as_the_sum_of_its_adapters(facade: StudioFacade, model: Path) -> None:
    mix = {"base": f"path:{model}", "adapters": [["run:sums-1", 0.5], ["run:sums-2", 0.5]]}
    made = merged(facade, f"mix:{json.dumps(mix)}")
    both = merged(facade, "run:sums-1", "run:sums-2", how="cat")
    assert made.path is not None
    assert both.path is not None
    torch.testing.assert_close(logits(Path(made.path)), logits(model, Path(both.path)), rtol=0, atol=1e-4)


def test_a_compressed_adapter_is_small_and_answers_as_it_is(facade: StudioFacade, model: Path) -> None:
    made = merged(facade, "run:sums-1", how="cat", compress=0.2)
    assert made.path is not None
    assert "compeft.safetensors" in made.files
    assert made.facts["compression_error"] > 0
    own = runs.adapter_folder(facade.home / "runs", ModelName("run", made.run))
    assert not list((facade.home / "runs" / made.run).rglob("adapter_model.safetensors"))
    with expanded(own) as plain:
        assert not torch.equal(logits(model, plain), logits(model))
    again = merged(facade, f"merge:{made.run}", how="cat")
    with expanded(own) as plain:
        torch.testing.assert_close(logits(model, Path(str(again.path))), logits(model, plain))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (MergeRequest(["run:nobody-1"]), "run_missing"),
        (MergeRequest(["run:sums-1", "run:sums-2"]), "merge_how_missing"),
        (MergeRequest(["run:sums-1", "run:sums-5"], how="linear"), "merge_bases_differ"),
        (MergeRequest(["run:sums-1"], how="linear", weights=[1.0, 2.0]), "merge_weights_count"),
        (MergeRequest(["run:sums-1"], weights=[math.nan]), "merge_weight_endless"),
        (MergeRequest(["run:sums-1"], how="ties", weights=[math.inf]), "merge_weight_endless"),
        (MergeRequest(["run:sums-1"], how="lineal"), "unknown_extension"),
        (MergeRequest(["run:sums-1"], how="ties", set={"density": 2}), "plan_invalid"),
        (MergeRequest(["run:sums-3"]), "method_not_mergeable"),
        (MergeRequest(["run:sums-1"], exact=True), "merge_not_4_bit"),
        (MergeRequest(["starter"], how="linear"), "adapter_missing"),
        (MergeRequest(["run:sums-1"], out="."), "merge_out_taken"),
    ],
)
def test_refused_before_anything_is_queued(facade: StudioFacade, request_: MergeRequest, code: str) -> None:
    before = facade.runs("merge")
    with pytest.raises(StudioError) as refused:
        facade.merge(request_)
    assert refused.value.code == code
    assert facade.runs("merge") == before


@pytest.mark.parametrize("when", ["merging", "verifying"])
def test_a_stopped_merge_leaves_no_folder_and_goes_on_later(
    facade: StudioFacade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Asked to stop while it writes or before it compares: the folder that was begun is gone, and so is its
    name."""
    from backend.jobs.kinds import merge

    go_on, shares = merge.go_on, []

    def stop(work: kinds.Work, phase: str, share: float | None) -> None:
        shares.append(share)
        if phase == when and (share is None or share > 0.5):
            work.control.set("stop")  # type: ignore[attr-defined]
        go_on(work, phase, share)

    monkeypatch.setattr(merge, "go_on", stop)
    out = tmp_path / "out"
    job = facade.merge(MergeRequest(["run:sums-1"], out=str(out)))
    made = facade.product(job)
    assert made.state in ("interrupted", "stopped")
    assert (made.path, made.artifact) == (None, None)
    assert list(tmp_path.iterdir()) == []
    assert len(shares) > 1
    monkeypatch.undo()
    facade.resume(job)
    made = facade.product(job)
    assert (made.state, made.path) == ("done", str(out))
    assert made.facts["verified"]["passed"]


def test_merges_wait_for_no_device(facade: StudioFacade) -> None:
    """A merge computes beside a run: it holds no device that another job waits for."""
    job = facade._runs.job(facade.runs("merge")[0].run)
    assert job.devices == ()


def test_merges_are_listed_with_their_settings(home: Path) -> None:
    quiet = StudioFacade(home, launcher=Notes())
    listed = {merge["id"]: merge for merge in quiet.merges()}
    quiet.close()
    assert [param["name"] for param in listed["ties"]["params"]] == ["density", "sign", "rank"]
    assert listed["cat"]["params"] == []


def test_a_mix_is_measured_on_the_held_out_rows_of_each_run(facade: StudioFacade) -> None:
    name = str(mix(facade.run("sums-1").plan["model"], [("run:sums-1", 0.5), ("run:sums-2", 0.5)]))
    job = facade.mix_losses(name)
    made = facade.product(job)
    assert made.state == "done", facade.log_tail(job)
    found = made.facts["losses"]
    assert [each["of"] for each in found] == ["run:sums-1", "run:sums-2"]
    for each in found:
        run = facade.run(each["of"])
        assert set(each["losses"]) == {"base", "run:sums-1", "run:sums-2", "mix"}
        assert each["losses"][each["of"]] == pytest.approx(run.summary.eval_loss, rel=1e-5)
        assert len(set(each["losses"].values())) == 4
    by_hand = facade.product(facade.merge(MergeRequest(["run:sums-1", "run:sums-2"], how="linear")))
    again = str(mix(facade.run("sums-1").plan["model"], [("run:sums-1", 0.0), (f"merge:{by_hand.run}", 1.0)]))
    checked = facade.product(facade.mix_losses(again)).facts["losses"]
    assert [each["of"] for each in checked] == ["run:sums-1"]
    assert checked[0]["losses"]["mix"] == pytest.approx(found[0]["losses"]["mix"], rel=1e-5)


def test_a_run_of_full_tuning_is_measured_on_its_way_back_to_its_base(
    facade: StudioFacade, tmp_path: Path
) -> None:
    base = facade.run("sums-7").plan["model"]
    found = {}
    for weight in (0.0, 0.5, 1.0):
        job = facade.mix_losses(str(mix(base, [("run:sums-7", weight)])))
        made = facade.product(job)
        assert made.state == "done", facade.log_tail(job)
        (measured,) = made.facts["losses"]
        assert (measured["of"], list(measured["losses"])) == ("run:sums-7", ["base", "run:sums-7", "mix"])
        assert measured["losses"]["run:sums-7"] == pytest.approx(facade.run("sums-7").summary.eval_loss, 1e-5)
        found[weight] = measured["losses"]
    assert found[0.0]["mix"] == found[0.0]["base"]
    assert found[1.0]["mix"] == found[1.0]["run:sums-7"]
    assert len({*found[0.5].values()}) == 3
    half = merged(facade, "run:sums-7", weights=[0.5], out=str(tmp_path / "half"))
    assert half.facts["verified"]["passed"]
    other = {model.name: model.copied for model in facade.mixable()}
    stored = sum(file.stat().st_size for file in locate(base).glob("*.safetensors"))
    assert other["run:sums-7"] == pytest.approx((stored, stored), rel=0.05)
    assert other["run:sums-1"] is None


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("run:sums-1", "model_not_mix"),
        ('mix:{"base": "starter", "adapters": [["run:sums-1", 1], ["run:sums-5", 1]]}', "merge_bases_differ"),
        ('mix:{"base": "starter", "adapters": [["run:sums-1", 1]], "how": "guess"}', "unknown_extension"),
    ],
)
def test_what_is_no_mix_is_not_measured(facade: StudioFacade, name: str, code: str) -> None:
    with pytest.raises(StudioError) as refused:
        facade.mix_losses(name)
    assert refused.value.code == code


def test_merges_are_listed_for_the_chat(facade: StudioFacade) -> None:
    adapter, whole = merged(facade, "run:sums-1", how="linear"), merged(facade, "run:sums-1")
    listed = {model.name: model.base for model in facade.chat_models()}
    base = facade.run("sums-1").plan["model"]
    assert listed[f"merge:{adapter.run}"] == base == facade.base_of(f"merge:{adapter.run}")
    assert listed[f"merge:{whole.run}"] == f"merge:{whole.run}"
    assert facade.base_of(f"merge:{whole.run}") is None


def test_a_mix_with_a_rule_goes_into_the_base_as_that_rule_makes_it(
    facade: StudioFacade, model: Path
) -> None:
    base = facade.run("sums-1").plan["model"]
    both = [("run:sums-1", 1.0), ("run:sums-2", 0.5)]
    whole = merged(facade, str(mix(base, both, "svd", {"rank": 2})))
    assert whole.path
    adapter = merged(facade, *(name for name, _ in both), how="svd", weights=[1.0, 0.5], set={"rank": 2})
    assert adapter.path
    torch.testing.assert_close(logits(Path(whole.path)), logits(model, Path(adapter.path)), rtol=0, atol=1e-4)
    with pytest.raises(StudioError) as refused:
        facade.merge(MergeRequest([str(mix(base, both, "svd", {"rank": 2}))], how="linear"))
    assert refused.value.code == "merge_rules_nested"


def test_adapters_alone_are_offered_for_a_mix(facade: StudioFacade) -> None:
    offered = {model.name for model in facade.mixable()}
    assert {"run:sums-1", "run:sums-2", "run:sums-4", "run:sums-5", "run:sums-7"} <= offered
    assert [model.name for model in facade.mixable() if model.in_4_bit] == ["run:sums-4"]
    others = {other.name: (other.error["code"], other.base) for other in facade.unmixable()}
    base = facade.run("sums-1").plan["model"]
    assert others == {"run:sums-3": ("method_not_mergeable", base), "run:sums-6": ("merge_not_plain", base)}
    assert not offered & set(others)


@pytest.mark.worker
def test_merged_weights_answer_from_an_engine_of_their_own(facade: StudioFacade) -> None:
    whole = merged(facade, "run:sums-1")
    messages = [{"role": "user", "content": "3 plus 4"}]
    panes = (Pane(f"merge:{whole.run}", messages), Pane("run:sums-1", messages))
    said = {0: "", 1: ""}
    proofs = {}
    for delta in facade.chat(ChatRequest(panes, Sampling(max_tokens=20))):
        said[delta.pane] += delta.text
        proofs[delta.pane] = delta.proof or proofs.get(delta.pane)
    assert said[0] == said[1] != ""
    assert proofs[0].adapter is None
    assert proofs[0].base != proofs[1].base
