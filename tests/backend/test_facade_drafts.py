"""The facade before a start: drafts, rows that are kept, previews. No process is started."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backend import memory
from backend.facade import StudioFacade
from studio.errors import StudioError
from studio.plan import Plan
from tests.backend.conftest import write_sums
from ui.words import Words


def test_the_screen_process_never_imports_torch(home: Path, model: Path, sums: Path) -> None:
    code = (
        "import sys\n"
        "from backend.facade import StudioFacade\n"
        "facade = StudioFacade(sys.argv[1])\n"
        "facade.hardware(); facade.samples(); facade.methods(); facade.check(sys.argv[3], sys.argv[2])\n"
        "facade.preview(sys.argv[3], sys.argv[2]); facade.draft(sys.argv[2], sys.argv[3]); facade.runs()\n"
        "print([m for m in ('torch', 'transformers', 'peft', 'gradio') if m in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(home), str(model), str(sums)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_draft_fills_every_setting_and_gives_a_reason_for_each_choice(
    facade: StudioFacade, model: Path, sums: Path
) -> None:
    draft = facade.draft(str(model), str(sums), set={"rank": "4", "epochs": 2, "lr": "1e-3"})
    assert draft.problems == ()
    settings = draft.plan["settings"]
    assert None not in settings.values()
    assert (settings["lr"], settings["epochs"], draft.plan["method_params"]["rank"]) == (0.001, 2.0, 4)
    assert not {"lr", "epochs", "rank"} & draft.reasons.keys()
    assert {"seq", "batch", "steps", "device", "precision"} <= draft.reasons.keys()
    # 60 rows, 10% held out but at least 8.
    assert (draft.rows, draft.heldout_rows) == (52, 8)
    assert draft.steps == settings["steps"] == 2 * -(-52 // settings["batch"])
    assert draft.plan["model"] == f"path:{model}"
    assert draft.plan["dataset"] == str(sums)
    assert Plan.from_dict(draft.plan).as_dict() == draft.plan
    assert draft.command == (
        f"python launch.py train {model} {sums} --method lora --set rank=4 --epochs 2 --lr 1e-3"
    )


def test_a_draft_never_raises_and_reports_everything_at_once(facade: StudioFacade, tmp_path: Path) -> None:
    settings = {"rank": "many", "batch": 0, "speed": 9, "device": "cuda:7", "optimizer": "sdg", "steps": 5}
    draft = facade.draft(str(tmp_path / "nowhere"), "no-such-data", "lora", settings)
    assert {(p["key"], p["code"]) for p in draft.problems} == {
        ("model", "model_missing"),
        ("dataset", "dataset_missing"),
        ("device", "device_unknown"),
        ("optimizer", "unknown_extension"),
        ("method.rank", "setting_not_int"),
        ("batch", "setting_out_of_range"),
        ("speed", "unknown_setting"),
    }
    assert draft.plan["settings"]["steps"] == 5
    assert None not in draft.plan["settings"].values()
    assert (draft.rows, draft.steps) == (None, None)
    unknown = facade.draft(str(tmp_path), "no-such-data", "lroa", {}, "stf").problems
    assert {p["key"] for p in unknown if p["code"] == "unknown_extension"} == {"method", "objective"}


def test_a_draft_says_what_every_method_would_need(facade: StudioFacade, model: Path, sums: Path) -> None:
    draft = facade.draft(str(model), str(sums))
    needs = draft.method_needs
    assert set(needs) == {method["id"] for method in facade.methods()}
    assert needs["full"].parts["optimizer"] == 2 * 4 * needs["full"].trainable_params
    assert needs["qlora"].parts["weights"] < needs["lora"].parts["weights"]
    assert {need.fits for need in needs.values()} == {"yes"}
    assert draft.memory == needs["lora"]
    assert [room.device for room in draft.rooms][-1] == "cpu"
    tokens = facade.check(str(sums), str(model)).tokens
    assert tokens is not None
    assert draft.tokens_per_step == draft.plan["settings"]["batch"] * tokens["max"]


def test_a_step_has_no_more_rows_than_the_data(facade: StudioFacade, model: Path, sums: Path) -> None:
    draft = facade.draft(str(model), str(sums), set={"batch": 4096})
    tokens = facade.check(str(sums), str(model)).tokens
    assert draft.rows is not None
    assert tokens is not None
    assert draft.tokens_per_step == draft.rows * tokens["max"]
    assert draft.memory == facade.draft(str(model), str(sums), set={"batch": draft.rows}).memory


def test_a_row_that_was_not_looked_at_may_be_as_long_as_the_plan_lets_it_be(
    facade: StudioFacade, model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studio.data.check.MEASURED_ROWS", 10)
    given = {"batch": 4, "seq": 64, "device": "cpu"}
    tokens = facade.check(str(sums), str(model)).tokens
    assert tokens is not None
    assert (tokens["measured"], tokens["max"] < 64) == (10, True)
    assert facade.draft(str(model), str(sums), set=given).tokens_per_step == 4 * 64
    probe = facade.probe(str(model), str(sums), set=given)
    assert facade._runs.job(probe).plan["settings"]["seq"] == 64


def test_the_estimate_is_that_of_the_plan_and_follows_what_is_free(
    facade: StudioFacade, model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = facade.draft(str(model), str(sums), set={"batch": 8})
    assert draft.memory is not None
    assert draft.proposals == ()
    for share, fits in ((0.5, "no"), (1.05, "tight"), (1.5, "yes")):
        free = int(share * draft.memory.needed_bytes)
        report = replace(facade.hardware(), devices=(), ram_available_bytes=free)
        monkeypatch.setattr("backend.facade.report", lambda *_, report=report, **__: report)
        now = facade.draft(str(model), str(sums), set={"batch": 8})
        assert now.memory is not None
        assert (now.memory.fits, now.free_bytes) == (fits, free)
        for found in now.proposals:
            given = {k: v for k, v in {"batch": 8, **found.settings}.items() if v is not None}
            after = facade.draft(str(model), str(sums), found.method or "lora", given)
            assert after.memory is not None
            assert after.memory.needed_bytes == found.needed_bytes
            assert after.memory.fits == found.fits
        # So small a model's run is little but the process itself: nothing makes that fit half its room.
        assert fits == "tight" or now.proposals == ()


def test_an_estimate_needs_no_dataset_and_no_weights(
    facade: StudioFacade, model: Path, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_bytes((model / "config.json").read_bytes())
    alone = facade.estimate(str(config), set={"batch": 2, "seq": 64})
    whole = facade.estimate(str(model), set={"batch": 2, "seq": 64})
    assert alone.memory == whole.memory
    assert alone.tokens_per_step == 128
    (limits, *_) = facade.limits(str(config), set={"batch": 2, "seq": 64})
    assert limits.method == "lora"
    assert limits.batch > 2
    unknown = tmp_path / "other"
    unknown.mkdir()
    body = json.loads(config.read_text()) | {"model_type": "of-nobody"}
    (unknown / "config.json").write_text(json.dumps(body))
    with pytest.raises(StudioError) as caught:
        facade.estimate(str(unknown))
    assert caught.value.code == "model_not_counted"
    with pytest.raises(StudioError) as caught:
        facade.estimate(str(config), set={"batch": "many"})
    assert caught.value.code == "plan_invalid"


def test_a_method_that_cannot_run_here_says_so_before_it_starts(
    facade: StudioFacade, model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not facade.draft(str(model), str(sums), "qst").problems
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    (problem,) = facade.draft(str(model), str(sums), "qst").problems
    assert (problem["key"], problem["code"]) == ("method", "bitsandbytes_missing")
    assert {"qlora", "qst", "adamw_8bit", "paged_adamw_8bit"} == memory.barred("cuda:0")
    draft = facade.draft(str(model), str(sums), "lst")
    assert not draft.problems
    assert {id: error.code for id, error in draft.unable.items()} == dict.fromkeys(
        ("qlora", "qst"), "bitsandbytes_missing"
    )
    listed = {method["id"]: method["unable"] for method in facade.methods()}
    assert listed == {
        **dict.fromkeys(("lora", "lst", "full")),
        "qlora": {"code": "bitsandbytes_missing", "facts": {"method": "QLoRA"}},
        "qst": {"code": "bitsandbytes_missing", "facts": {"method": "Quantised side-tuning (QST)"}},
    }


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"plan.batch": "abc"}, ("batch", "setting_not_int")),
        ({"plan.steps": 5, "epochs": 2}, ("steps", "steps_and_epochs")),
        ({"plan.optimizer": "sdg"}, ("optimizer", "unknown_extension")),
        ({"targets": ""}, ("method.targets", "setting_not_list")),
    ],
)
def test_a_draft_finds_the_wrong_setting_under_its_long_name(
    facade: StudioFacade, model: Path, sums: Path, settings: dict[str, Any], problem: tuple[str, str]
) -> None:
    draft = facade.draft(str(model), str(sums), set=settings)
    assert [(p["key"], p["code"]) for p in draft.problems] == [problem]


def test_words_with_spaces_and_lists_survive_in_the_command(facade: StudioFacade) -> None:
    draft = facade.draft(
        "my model", "my data", set={"targets": ("q_proj", "v_proj"), "gradient_checkpointing": True}
    )
    assert draft.command == (
        "python launch.py train 'my model' 'my data' --method lora "
        "--set targets=q_proj,v_proj --set gradient_checkpointing=true"
    )


def test_typed_rows_are_kept_once_and_incomplete_ones_named(facade: StudioFacade, model: Path) -> None:
    rows = [{"prompt": f"q{i}", "answer": f"a{i}"} for i in range(5)] + [{"prompt": " ", "answer": ""}]
    name = facade.save_rows("My rows!", rows)
    assert Path(name).name == "my-rows.jsonl"
    assert facade.save_rows("My rows!", rows) == name
    other = facade.save_rows("My rows!", rows[:3])
    assert Path(other).name == "my-rows-2.jsonl"
    assert facade.check(name, str(model)).rows == 5
    assert facade.typed_rows(name) == rows[:5]
    assert facade.draft(str(model), name).problems == ()
    with pytest.raises(StudioError) as caught:
        facade.save_rows("My rows!", [*rows, {"prompt": "q", "answer": " "}])
    assert caught.value.as_dict() == {"code": "row_incomplete", "facts": {"row": 7, "column": "answer"}}
    with pytest.raises(StudioError) as caught:
        facade.save_rows("My rows!", [{"prompt": "", "answer": ""}])
    assert caught.value.code == "rows_none"
    assert sorted(p.name for p in (facade.home / "data").iterdir()) == ["my-rows-2.jsonl", "my-rows.jsonl"]


def test_a_picked_file_is_copied_and_nothing_is_overwritten(facade: StudioFacade, tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "Rows.JSONL", tmp_path / "b" / "Rows.JSONL"
    for file, count in ((first, 40), (second, 41)):
        file.parent.mkdir()
        write_sums(file, count)
    names = [facade.save_upload(str(file)) for file in (first, second, first)]
    assert [Path(n).name for n in names] == ["rows.jsonl", "rows-2.jsonl", "rows.jsonl"]
    assert Path(names[0]).read_bytes() == first.read_bytes()
    with pytest.raises(StudioError) as caught:
        facade.save_upload(str(tmp_path / "gone.jsonl"))
    assert caught.value.code == "data_missing"


def test_looking_again_costs_no_second_reading(
    facade: StudioFacade, model: Path, sums: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = facade.draft(str(model), str(sums))
    monkeypatch.setattr("backend.datasets.prepare", None)
    assert facade.draft(str(model), str(sums)).rows == first.rows
    write_sums(sums, 70)
    monkeypatch.undo()
    assert facade.draft(str(model), str(sums)).rows == 62


def test_a_preview_shows_what_is_learned(facade: StudioFacade, model: Path, sums: Path) -> None:
    rows = facade.preview(str(sums), str(model), rows=3)
    assert [row.row for row in rows] == [1, 2, 3]
    learned = "".join(text for text, is_learned in rows[1].pieces if is_learned)
    assert learned == "it is 8<|end|>"
    assert "".join(text for text, _ in rows[1].pieces).startswith("<|user|>1 and 7?<|assistant|>")
    assert rows[1].learned == len(learned) - len("<|end|>") + 1


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_targets_are_held_against_the_model(
    facade: StudioFacade, model: Path, sums: Path, method: str
) -> None:
    for targets, unknown in (
        ("c_attn", ["c_attn"]),
        ("q_proj,foo", ["foo"]),
        ("model.layers.7.self_attn.q_proj", ["model.layers.7.self_attn.q_proj"]),
    ):
        draft = facade.draft(str(model), str(sums), method, {"targets": targets})
        (problem,) = draft.problems
        assert (problem["key"], problem["code"]) == ("method.targets", "targets_unknown")
        assert problem["facts"]["unknown"] == unknown
        assert problem["facts"]["known"] == list(draft.offers["targets"])
        assert draft.memory is not None
        assert draft.plan["method_params"]["targets"] == ["auto"]
        with pytest.raises(StudioError) as caught:
            facade.start(str(model), str(sums), method, {"targets": targets})
        assert caught.value.code == "plan_invalid"
    (problem,) = facade.draft(str(model), str(sums), method, {"targets": "k_proj,auto"}).problems
    assert problem["code"] == "targets_all_and_some"
    assert not facade.draft(str(model), str(sums), method, {"targets": "1.self_attn.q_proj,v_proj"}).problems


def test_a_draft_offers_the_names_of_its_model(facade: StudioFacade, model: Path, sums: Path) -> None:
    offers = facade.draft(str(model), str(sums)).offers
    assert {"q_proj", "down_proj"} <= set(offers["targets"])
    assert "targets" not in facade.draft(str(model), str(sums), "lst").offers


def test_tokens_yield_to_a_table_that_trains_whole(facade: StudioFacade, sums: Path) -> None:
    for module in ("lm_head", "embed_tokens", "model.embed_tokens"):
        given = {"trainable_tokens": "7", "modules_to_save": module}
        draft = facade.draft("starter", str(sums), set=given)
        assert not draft.problems
        assert draft.plan["method_params"]["trainable_tokens"] == []
        assert draft.reasons["trainable_tokens"].facts["modules"] == [module]
    given = {"trainable_tokens": "7", "modules_to_save": "norm"}
    draft = facade.draft("starter", str(sums), set=given)
    assert draft.plan["method_params"]["trainable_tokens"] == ["7"]
    assert "trainable_tokens" not in draft.reasons


@pytest.mark.parametrize(
    ("method", "given", "key", "code"),
    [
        ("lora", {"targets": "q_proj", "modules_to_save": "q_proj"}, "modules_to_save", "targets_all_whole"),
        ("lora", {"trainable_tokens": "99999999"}, "trainable_tokens", "token_unknown"),
        ("lora", {"modules_to_save": "norm,nose"}, "modules_to_save", "modules_unknown"),
        ("qlora", {"modules_to_save": "q_proj"}, "modules_to_save", "modules_in_4_bit"),
        ("qlora", {"modules_to_save": "nose"}, "modules_to_save", "modules_unknown"),
        ("lora", {"init": "pissa", "rank": 4096}, "rank", "init_rank_too_high"),
        ("lst", {"skip_every": "1"}, "skip_every", "setting_off_or_range"),
        ("qst", {"skip_every": "1"}, "skip_every", "setting_off_or_range"),
        ("full", {"freeze_layers": "1000"}, "freeze_layers", "freezes_everything"),
        ("full", {"freeze_layers": "6"}, "freeze_layers", "freezes_everything"),
    ],
)
def test_what_cannot_be_on_the_model_is_said_before_it_starts(
    facade: StudioFacade, sums: Path, method: str, given: dict[str, Any], key: str, code: str
) -> None:
    draft = facade.draft("starter", str(sums), method, given)
    (problem,) = draft.problems
    assert (problem["key"], problem["code"]) == (f"method.{key}", code)
    assert draft.memory is not None
    assert all(Words().problem(problem))
    with pytest.raises(StudioError) as caught:
        facade.start("starter", str(sums), method, given)
    assert [p["code"] for p in caught.value.facts["problems"]] == [code]


def test_the_last_values_that_leave_something_to_train_are_taken(facade: StudioFacade, sums: Path) -> None:
    for method, given in (
        ("full", {"freeze_layers": "5"}),
        ("lst", {"skip_every": "2"}),
        ("lst", {"skip_every": "0"}),
        ("lora", {"init": "pissa", "rank": 64}),
    ):
        assert not facade.draft("starter", str(sums), method, given).problems


@pytest.mark.parametrize(
    ("method", "init", "code", "why"),
    [
        *(
            ("qlora", init, "init_rewrites_4_bit", "rounded anew")
            for init in ("pissa", "olora", "corda", "lora_ga")
        ),
        ("lora", "loftq", "init_needs_4_bit", "4 bit"),
        ("lora", "nose", "setting_not_a_choice", "eva"),
    ],
)
def test_a_beginning_that_a_method_lacks_is_refused_with_the_reason(
    facade: StudioFacade, model: Path, sums: Path, method: str, init: str, code: str, why: str
) -> None:
    (problem,) = facade.draft(str(model), str(sums), method, {"init": init}).problems
    assert (problem["key"], problem["code"]) == ("method.init", code)
    cause, fix = Words().problem(problem)
    assert init in cause
    assert why in cause + fix
    assert ("eva" in fix) == (init != "eva")
