"""Exports as jobs: every format loads where it says that it does, and answers as the studio does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import assets
from backend.api import ExportRequest, MergeRequest, Product
from backend.asked import rows_of_each
from backend.descent import descent_of
from backend.facade import StudioFacade
from backend.home import Home
from backend.jobs import kinds
from backend.jobs.launchers.local import LocalLauncher
from studio.errors import StudioError
from tests.backend.conftest import write_sums
from tests.backend.doomed_worker import DOOM
from tests.backend.launchers import HereAndNow
from tests.hub.conftest import hub  # noqa: F401 - a fixture
from tests.toys.folders import write_model

IDS = torch.arange(4, 44)[None]
SETTINGS = {"steps": 3, "batch": 4, "lr": 0.01, "precision": "fp32", "adapter_dtype": "fp32", "device": "cpu"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def facade(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[StudioFacade]:
    """A studio with finished runs: `sums-1` (lora), `sums-2` (lst), `sums-3` (qlora), `sums-4` (qst) and
    `sums-5` (full)."""
    root = tmp_path_factory.mktemp("studio")
    facade = StudioFacade(root / "home", launcher=HereAndNow())
    data = write_sums(root / "sums.jsonl", 60)
    for method in ("lora", "lst", "qlora", "qst", "full"):
        run = facade.start(str(model), str(data), method, set=SETTINGS)
        assert facade.run(run).summary.state == "done", facade.log_tail(run)
    yield facade
    facade.close()


def exported(facade: StudioFacade, model: str, **more: Any) -> Product:
    made = facade.product(facade.export(ExportRequest(model, **more)))
    assert made.state == "done", facade.log_tail(made.run)
    return made


@torch.no_grad()
def logits(folder: Path, adapter: Path | None = None, **more: Any) -> torch.Tensor:
    """By transformers and PEFT alone."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **more)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    return model.eval()(IDS).logits  # type: ignore[no-any-return]


def own_adapter(facade: StudioFacade, run: str) -> Path:
    return Path(str(facade.run(run).summary.adapter))


def test_an_adapter_loads_in_peft(facade: StudioFacade, model: Path, tmp_path: Path) -> None:
    made = exported(facade, "run:sums-1", format="adapter", out=str(tmp_path / "out"))
    assert made.path == str(tmp_path / "out")
    assert {"adapter_config.json", "adapter_model.safetensors", "manifest.json"} <= set(made.files)
    torch.testing.assert_close(logits(model, Path(made.path)), logits(model, own_adapter(facade, "sums-1")))
    parity = made.facts["parity"]
    assert (parity["passed"], parity["prompts"], parity["same_answers"]) == (True, 8, 8)
    assert parity["max_difference"] <= 1e-4 * parity["largest"]
    assert made.artifact is not None
    tokenizer = AutoTokenizer.from_pretrained(Path(made.path) / "tokenizer")
    assert tokenizer.chat_template


def test_a_compact_adapter_leaves_compact_and_as_an_ordinary_one(
    facade: StudioFacade, model: Path, tmp_path: Path
) -> None:
    merge = facade.merge(MergeRequest(["run:sums-1"], how="cat", compress=0.2))
    compact = exported(facade, f"merge:{merge}", format="compact")
    plain = exported(facade, f"merge:{merge}", format="adapter")
    assert (compact.facts["parity"]["passed"], plain.facts["parity"]["passed"]) == (True, True)
    assert {"compeft.safetensors", "expand_adapter.py", "adapter_config.json"} <= set(compact.files)
    assert "adapter_model.safetensors" not in compact.files
    assert "compeft.safetensors" not in plain.files
    stored, written = (Path(str(made.path)) for made in (compact, plain))
    sizes = compact.facts["file_bytes"]
    assert sizes["compeft.safetensors"] == (stored / "compeft.safetensors").stat().st_size
    assert sizes["compeft.safetensors"] < plain.facts["file_bytes"]["adapter_model.safetensors"] / 2
    by_hand = tmp_path / "by-hand"
    subprocess.run([sys.executable, "-I", stored / "expand_adapter.py", by_hand], check=True, cwd=tmp_path)
    torch.testing.assert_close(logits(model, by_hand), logits(model, written), rtol=0, atol=0)
    assert not torch.equal(logits(model, written), logits(model))
    card = (stored / "README.md").read_text(encoding="utf-8")
    assert "expand_adapter.py" in card
    assert "library_name: peft" in card
    with pytest.raises(StudioError) as refused:
        exported(facade, "run:sums-1", format="compact")
    assert refused.value.code == "export_not_compact"
    room = facade.export_room(ExportRequest(f"merge:{merge}", "adapter")).needed_bytes
    assert room is not None
    assert room > sum(file.stat().st_size for file in written.glob("adapter_*"))


def test_whole_weights_load_in_transformers(facade: StudioFacade, model: Path) -> None:
    made = exported(facade, "run:sums-1", format="safetensors")
    assert made.path is not None
    tuned = logits(model, own_adapter(facade, "sums-1"))
    torch.testing.assert_close(logits(Path(made.path)), tuned, rtol=0, atol=1e-4)
    assert made.facts["parity"]["passed"] is True


@pytest.mark.parametrize(
    ("run", "format"), [("sums-3", "adapter"), ("sums-3", "safetensors"), ("sums-5", "safetensors")]
)
def test_parity_holds_for_4_bit_and_for_full_tuning(facade: StudioFacade, run: str, format: str) -> None:
    parity = exported(facade, f"run:{run}", format=format).facts["parity"]
    assert parity["passed"] is True, parity


def test_merging_into_the_stored_weights_is_another_model(facade: StudioFacade) -> None:
    exact = exported(facade, "run:sums-3").facts["parity"]
    stored = exported(facade, "run:sums-3", set={"exact": False}).facts["parity"]
    assert stored["max_difference"] > 3 * exact["max_difference"]
    assert stored["passed"] is False


def test_a_merge_is_exported(facade: StudioFacade, model: Path, tmp_path: Path) -> None:
    """Asked what the runs in it were asked, with their names on the card, whichever way it is made."""
    combined = facade.merge(MergeRequest(["run:sums-1"], how="linear", weights=[0.5]))
    kept = tmp_path / "secret-place" / "m-half"
    whole = facade.merge(MergeRequest([f"merge:{combined}"], weights=[0.5], out=str(kept)))
    for made in (
        exported(facade, f"merge:{combined}", format="adapter"),
        exported(facade, f"merge:{whole}"),
        exported(facade, f"path:{kept}"),
    ):
        parity = made.facts["parity"]
        assert (parity["passed"], parity["prompts"], made.facts["rows_of"]) == (True, 8, ["run:sums-1"])
        card = (Path(str(made.path)) / "README.md").read_text(encoding="utf-8")
        assert facade._runs.job("sums-1").hashes["dataset"] in card
        assert f"| base | {model.name}, content {facade._runs.job('sums-1').hashes['base']} |" in card
        assert f"| {combined} | linear" in card.replace("merge:", "")
        assert "run:sums-1 at weight 0.5" in card
        assert "rank 8" in card
        assert "secret-place" not in card
        assert str(model.parent) not in card
    assert (Path(str(made.path)) / "recipe.sh").is_file()
    assert "# m-half (Whole model" in card


def test_a_merge_of_several_is_asked_rows_of_each(facade: StudioFacade, model: Path, tmp_path: Path) -> None:
    """Also the one of a mix, and where a run is deleted: its recipe is known longer than its rows."""
    other = tmp_path / "other.jsonl"
    rows = ({"prompt": f"What is {i}?", "completion": f"it is {i}"} for i in range(60))
    other.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = facade.start(str(model), str(other), "lora", set={**SETTINGS, "seed": 4})
    mix = {"base": f"path:{model}", "adapters": [["run:sums-1", 0.5], [f"run:{run}", 1.0]]}
    merge = facade.product(facade.merge(MergeRequest([f"mix:{json.dumps(mix)}"])))
    assert (merge.facts["rows_of"], merge.facts["prompts"]) == (["run:sums-1", f"run:{run}"], 8)
    asked = rows_of_each(descent_of(Home(facade.home), facade._store, f"merge:{merge.run}").learned)
    assert [len(streams) for streams in asked.values()] == [4, 4]
    assert exported(facade, f"merge:{merge.run}").facts["rows_of"] == ["run:sums-1", f"run:{run}"]
    facade.delete(run, knowing=(merge.run,))
    made = exported(facade, f"merge:{merge.run}")
    assert made.facts["rows_of"] == ["run:sums-1"]
    card = (Path(str(made.path)) / "README.md").read_text(encoding="utf-8")
    assert f"| run:{run} | lora" in card
    assert "seed" in (Path(str(made.path)) / "recipe.sh").read_text(encoding="utf-8")


def test_the_base_of_a_run_is_known_when_it_is_gone(
    facade: StudioFacade, model: Path, tmp_path: Path
) -> None:
    away = model.rename(tmp_path / "away")
    try:
        found = descent_of(Home(facade.home), facade._store, "run:sums-1")
    finally:
        away.rename(model)
    assert (found.root, found.root_folder) == (f"path:{model}", None)
    assert found.root_hash == facade._runs.job("sums-1").hashes["base"]


def test_a_merge_whose_runs_are_gone_is_asked_a_greeting_and_says_so(
    facade: StudioFacade, tmp_path: Path
) -> None:
    adapter = shutil.copytree(own_adapter(facade, "sums-1"), tmp_path / "taken-along")
    merge = facade.merge(MergeRequest([str(adapter)], how="linear"))
    made = exported(facade, f"merge:{merge}", format="adapter")
    assert (made.facts["rows_of"], made.facts["parity"]["prompts"]) == ([], 1)
    card = (Path(str(made.path)) / "README.md").read_text(encoding="utf-8")
    assert "a greeting alone" in card
    assert "| taken-along | an adapter from elsewhere" in card


@pytest.mark.worker
def test_the_recipe_of_a_merge_makes_it_again(facade: StudioFacade, model: Path, tmp_path: Path) -> None:
    """Its commands, followed in an empty home, end in the same weights."""
    mix = {"base": f"path:{model}", "adapters": [["run:sums-1", 0.5], ["run:sums-1", -0.25]]}
    merge = facade.merge(MergeRequest([f"mix:{json.dumps(mix)}"]))
    made = exported(facade, f"merge:{merge}")
    data = write_sums(tmp_path / "sums.jsonl", 60)
    home = tmp_path / "fresh"
    ran = subprocess.run(
        ["sh", str(Path(str(made.path)) / "recipe.sh")],
        cwd=Path(__file__).resolve().parents[2],
        env={
            **os.environ,
            "STUDIO": f"{sys.executable} -m ui.cli --home {home}",
            "BASE": str(model),
            "DATA_1": str(data),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    last = ran.stdout.splitlines()[-1].removeprefix("merge:")
    torch.testing.assert_close(
        logits(home / "runs" / last / "merged"), logits(Path(str(made.path))), rtol=0, atol=1e-5
    )


# Takes every folder with a package of the studio's name off the path.
_HIDE = """
import sys
from pathlib import Path
sys.path[:] = [p for p in sys.path if not (Path(p or ".") / "studio").is_dir()]
"""
_AS_MAIN = """
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
assert "studio" not in sys.modules
"""
_ALONE = """
import torch
sys.path.insert(0, sys.argv[1])
import side_network
assert not any(name.split(".")[0] in ("studio", "backend") for name in sys.modules)
model = side_network.load(sys.argv[2])
ids = torch.arange(4, 44)[None]
with torch.no_grad():
    logits = model(ids).logits
    greedy = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    cached, slow = model.generate(ids, **greedy), model.generate(ids, use_cache=False, **greedy)
from safetensors.torch import save_file
save_file({"logits": logits.float(), "cached": cached, "slow": slow}, sys.argv[3])
"""


@pytest.mark.parametrize("run", ["sums-2", "sums-4"])
def test_a_side_network_runs_without_the_studio(
    facade: StudioFacade, model: Path, tmp_path: Path, run: str
) -> None:
    """In a fresh interpreter whose path has no `studio`; logits equal those of the studio's own loading."""
    folder, shelf = tmp_path / "out", tmp_path / "shelf"
    made = exported(facade, f"run:{run}", format="adapter", out=str(folder))
    assert made.facts["parity"]["passed"] is True, made.facts
    assert "side_network.py" in made.files
    shelf.mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", _HIDE + _ALONE, str(folder), str(model), str(shelf / "found.safetensors")],
        cwd=shelf,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found = load_file(shelf / "found.safetensors")
    with torch.no_grad():
        ours = _by_the_studio(facade, model, run)
        base = logits(model)
    tolerance = 1e-5 if run == "sums-2" else 2e-2
    torch.testing.assert_close(found["logits"], ours, rtol=0, atol=tolerance * float(ours.abs().max()))
    assert (found["logits"] - base).abs().max() > 0.01
    assert found["cached"].tolist() == found["slow"].tolist()


def test_a_side_network_knows_its_base_by_content(facade: StudioFacade, tmp_path: Path) -> None:
    """A base of the same shape with other weights is refused by the file's name, unless that is not asked."""
    made = exported(facade, "run:sums-2", format="adapter")
    other = write_model(tmp_path / "other", seed=9)
    for more, code in ([], 1), (["--no-check"], 0):
        ran = subprocess.run(
            [sys.executable, str(Path(str(made.path)) / "side_network.py"), *more, str(other), "Hi"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == code, ran.stderr
        assert ("model.safetensors has other content" in ran.stderr) == (code == 1)


def _by_the_studio(facade: StudioFacade, model: Path, run: str) -> torch.Tensor:
    from studio.export.subject import Subject
    from studio.manifests import manifest_of

    adapter = own_adapter(facade, run)
    subject = Subject(model, str(manifest_of(adapter)["base"]), adapter)
    tuned, _ = subject.load()
    return tuned(IDS).logits.float()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (ExportRequest("run:nobody-1"), "run_missing"),
        (ExportRequest("run:sums-1", "onnx"), "unknown_extension"),
        (ExportRequest("run:sums-2", "safetensors"), "method_not_mergeable"),
        (ExportRequest("run:sums-5", "adapter"), "export_no_adapter"),
        (ExportRequest("starter", "adapter"), "export_no_adapter"),
        (ExportRequest("run:sums-1", "gguf", set={"type": "q3"}), "plan_invalid"),
        (ExportRequest("run:sums-1", out="."), "merge_out_taken"),
        (ExportRequest("run:sums-1", upload="nobody"), "export_repo_bad"),
    ],
)
def test_refused_before_anything_is_queued(facade: StudioFacade, request_: ExportRequest, code: str) -> None:
    before = facade.runs("export")
    with pytest.raises(StudioError) as refused:
        facade.export(request_)
    assert refused.value.code == code
    assert facade.runs("export") == before
    if code != "export_repo_bad":
        with pytest.raises(StudioError, match=code):
            facade.export_room(request_)


def test_what_has_no_adapter_is_named_as_elsewhere(facade: StudioFacade) -> None:
    whole = facade.merge(MergeRequest(["run:sums-1"]))
    for name in ("run:sums-5", f"merge:{whole}"):
        with pytest.raises(StudioError) as refused:
            facade.export_room(ExportRequest(name, "adapter"))
        assert refused.value.facts["model"] == name.partition(":")[2]


@pytest.mark.parametrize("format", ["adapter", "safetensors", "gguf"])
def test_what_it_will_take_is_said_beforehand(facade: StudioFacade, tmp_path: Path, format: str) -> None:
    room = facade.export_room(ExportRequest("run:sums-1", format, out=str(tmp_path / "there" / "out")))
    assert room.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    made = exported(facade, "run:sums-1", format=format)
    weights = [f for f in made.files if f.endswith((".safetensors", ".gguf"))]
    taken = sum((Path(str(made.path)) / file).stat().st_size for file in weights)
    assert room.needed_bytes is not None
    assert taken <= room.needed_bytes <= taken + 2**16  # with words and configuration
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(("type", "of"), [("f16", 1.02), ("q8_0", 1.04)])
def test_the_words_of_a_gguf_file_are_counted(tmp_path: Path, type: str, of: float) -> None:
    """The starter's, whose words and merges are a good part of the file."""
    from studio.export.export import export
    from studio.export.subject import Subject
    from studio.exports.gguf import EXTENSION, GgufParams

    params = GgufParams(type=type)
    expected = EXTENSION.size(assets.path("starter"), None, params)
    made = export(Subject(assets.path("starter"), "0"), EXTENSION, params, tmp_path / "out", [[5, 6, 7]])
    (file,) = made.folder.glob("*.gguf")
    assert 1 <= expected / file.stat().st_size < of


def test_a_base_that_is_not_on_this_disk_has_no_size_yet(facade: StudioFacade) -> None:
    room = facade.export_room(ExportRequest("hub:nobody/nothing"))
    assert (room.needed_bytes, room.idle) == (None, ("exact",))


def test_exact_says_something_over_a_base_in_4_bit_alone(facade: StudioFacade) -> None:
    idle = {
        run: facade.export_room(ExportRequest(f"run:{run}")).idle for run in ("sums-1", "sums-3", "sums-5")
    }
    assert idle == {"sums-1": ("exact",), "sums-3": (), "sums-5": ("exact",)}


def test_the_card_says_where_it_comes_from(facade: StudioFacade, model: Path, tmp_path: Path) -> None:
    (model / "README.md").write_text(
        "---\nlanguage: en\nlicense: apache-2.0\n---\n# Tiny\n", encoding="utf-8"
    )
    made = exported(facade, "run:sums-1", format="adapter", out=str(tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    manifest = json.loads((own_adapter(facade, "sums-1") / "manifest.json").read_text(encoding="utf-8"))
    summary = facade.run("sums-1").summary
    assert manifest["rows"] in card
    assert manifest["base"] in card
    assert "\nlicense: apache-2.0\n" in card
    assert f"{summary.loss:.4g} at the last step" in card
    assert "parity | passed" in card
    assert "python launch.py train" in card
    assert str(model.parent) not in card
    assert {"README.md", "recipe.py"} <= set(made.files)
    side = exported(facade, "run:sums-2", format="adapter")
    assert "recipe.py" not in side.files
    assert "README.md" in side.files


@pytest.mark.parametrize("run", ["sums-1", "sums-3", "sums-5"])
def test_the_recipe_runs_by_itself(facade: StudioFacade, model: Path, tmp_path: Path, run: str) -> None:
    format = "adapter" if run != "sums-5" else "safetensors"
    made = exported(facade, f"run:{run}", format=format)
    data = write_sums(tmp_path / "sums.jsonl", 60)
    script = Path(str(made.path)) / "recipe.py"
    assert "'model': None" in script.read_text(encoding="utf-8")  # a folder of this machine
    ran = subprocess.run(
        [sys.executable, "-c", _HIDE + _AS_MAIN, str(script), "--data", str(data), "--model", str(model)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    losses = [json.loads(line)["loss"] for line in ran.stdout.splitlines() if line.startswith("{")]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert list((tmp_path / "trained").glob("*.safetensors"))


def test_a_stopped_export_leaves_no_folder(
    facade: StudioFacade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backend.jobs.kinds import export

    go_on, phases = export.go_on, []

    def stop(work: kinds.Work, phase: str, share: float | None) -> None:
        phases.append(phase)
        if share is not None and share > 0.5:
            work.control.set("stop")  # type: ignore[attr-defined]
        go_on(work, phase, share)

    monkeypatch.setattr(export, "go_on", stop)
    made = facade.product(facade.export(ExportRequest("run:sums-1", out=str(tmp_path / "out"))))
    assert made.state in ("interrupted", "stopped")
    assert (made.path, made.artifact) == (None, None)
    assert list(tmp_path.iterdir()) == []
    assert set(phases) == {"exporting"}


def test_a_full_disk_is_said_beforehand(
    facade: StudioFacade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studio.train import checkpoint

    usage = checkpoint.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    made = facade.product(facade.export(ExportRequest("run:sums-1", out=str(tmp_path / "out"))))
    assert (made.state, made.error and made.error["code"]) == ("failed", "disk_full")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.worker
@pytest.mark.parametrize("moment", [["exporting", 3], ["verifying", 1]])
def test_a_killed_export_leaves_no_half_file_and_goes_on(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: list[Any]
) -> None:
    """SIGKILL while it writes, and when all is written but not yet compared."""
    monkeypatch.setenv(DOOM, json.dumps({"1": moment}))
    out = tmp_path / "there" / "out"
    facade = StudioFacade(home, launcher=LocalLauncher("tests.backend.doomed_worker"))
    job = facade.export(ExportRequest("starter", "gguf", set={"type": "q8_0"}, out=str(out)))
    assert list(facade.wait(job))[-1].state == "interrupted"
    assert facade.product(job).path is None
    (left,) = out.parent.iterdir()
    assert left.name == ".out.partial"
    assert not (left / "manifest.json").exists()
    facade.resume(job)
    assert list(facade.wait(job))[-1].state == "done", facade.log_tail(job)
    assert list(out.parent.iterdir()) == [out]
    assert facade.product(job).facts["parity"]["passed"] is True
    facade.close()


@pytest.mark.usefixtures("hub")
def test_an_export_without_a_login_is_there_and_says_that_it_was_not_uploaded(facade: StudioFacade) -> None:
    made = exported(facade, "run:sums-1", format="adapter", upload="ada/mine")
    assert made.path is not None
    assert made.facts["uploaded"] is None
    assert made.facts["upload_error"]["code"] == "hub_login_missing"
