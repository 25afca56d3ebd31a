"""Every command: its document, its text, its exit code."""

import json
from dataclasses import replace

import pytest

from backend.api import Dependent, HardwareReport, Product
from backend.api.chat import ChatDelta
from studio.errors import StudioError
from tests import fake_content
from tests.fake_facade import FakeFacade
from tests.fake_library import DOWNLOADS
from ui.cli import documents
from ui.cli.main import main
from ui.cli.methods import param_line
from ui.words import Words

RUN_FIELDS = {
    *("run", "kind", "state", "steps", "steps_planned", "loss", "eval_loss", "adapter", "peak_memory_bytes"),
}


def test_gpu_without_a_gpu_says_why_and_exits_0(command):
    ran = command("gpu", "--json")
    assert ran.code == 0
    assert ran.document["devices"] == []
    assert "driver" in ran.document["reason"].lower() or "gpu" in ran.document["reason"].lower()
    assert command("gpu").out.splitlines()[-1].startswith("AMD Ryzen 7 7840U: 2 cores")


def test_gpu_lists_devices_and_names_one_that_cannot_be_used(tmp_path, capsys):
    facade = FakeFacade(tmp_path, hardware=fake_content.HARDWARE_GPU)
    assert main(["gpu", "--json"], open_facade=lambda _home: facade) == 0
    document = json.loads(capsys.readouterr().out)
    first, second = document["devices"]
    assert {"name", "total_bytes", "free_bytes", "utilisation", "driver"} <= set(first)
    assert first["total_bytes"] == 24 * 2**30
    assert first["problem"] is None
    assert "GTX 1060" in second["problem"]
    assert document["reason"] is None


PARAM = {"name": "x", "type": "list", "default": None, "help": "Help.", "range": None, "off": None}


@pytest.mark.parametrize(("default", "said"), [(None, "auto"), ([], "none"), (["a", "b"], "a,b"), (0, "0")])
def test_a_default_that_is_open_is_not_one_that_is_empty(default, said):
    line = param_line({**PARAM, "default": default}, Words().text)
    assert line == f"  x (list, default {said})  Help."


@pytest.mark.parametrize(
    ("type", "range", "off", "said"),
    [
        ("str", ["adapter", "linear"], None, "str, adapter | linear, default auto"),
        ("int", [1, 4096], None, "int, 1 to 4096, default auto"),
        ("int", [2, 1000], 0, "int, 0 or 2 to 1000, default auto"),
        ("float", [0.001, None], None, "float, at least 0.001, default auto"),
        ("float", [None, 5], None, "float, at most 5, default auto"),
        ("bool", None, None, "bool, default auto"),
    ],
)
def test_what_a_setting_can_be_stands_beside_it(type, range, off, said):
    line = param_line({**PARAM, "type": type, "range": range, "off": off}, Words().text)
    assert line == f"  x ({said})  Help."


def test_methods(command):
    (lora,) = command("methods", "--json").document
    assert lora["id"] == "lora"
    assert lora["unable"] is None
    by_name = {p["name"]: p for p in lora["params"]}
    assert {"name", "type", "default", "help", "range", "off"} <= set(by_name["rank"])
    assert by_name["rank"]["range"] == [1, 1024]
    assert "rank (int, 1 to 1024, default 8)" in command("methods").out


def test_methods_say_what_this_machine_cannot_run(tmp_path, capsys, monkeypatch):
    facade = FakeFacade(tmp_path)
    unable = {"code": "bitsandbytes_missing", "facts": {"method": "LoRA"}}
    (listed,) = facade.methods()
    monkeypatch.setattr(facade, "methods", lambda: [listed | {"unable": unable}])
    message, remedy = Words().error(StudioError.from_dict(unable))
    assert main(["methods", "--json"], open_facade=lambda _home: facade) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert document["unable"] == {**unable, "message": message, "remedy": remedy}
    assert main(["methods"], open_facade=lambda _home: facade) == 0
    assert f"  Not on this machine: {message} {remedy}" in capsys.readouterr().out.splitlines()


def test_check(command):
    ran = command("check", "pirate", "--model", "starter", "--json")
    document = ran.document
    assert (document["format"], document["rows"], document["problems"]) == ("messages", 400, [])
    assert document["tokens"]["max"] == 121
    assert command("check", "pirate", "--json").document["tokens"] is None


def test_check_names_row_and_fix_and_exits_0(command):
    ran = command("check", "broken.jsonl", "--json")
    assert ran.code == 0
    first = ran.document["problems"][0]
    assert first["row"] == 2
    assert first["code"] == "answer_empty"
    assert first["message"]
    assert first["fix"]
    assert ran.document["problem_counts"] == {"answer_empty": 1, "column_missing": 1}
    assert "row 2:" in command("check", "broken.jsonl").out


def test_check_of_a_missing_dataset_is_refused(command):
    ran = command("check", "nothing.jsonl", "--json")
    assert ran.code == 1
    error = ran.document["error"]
    assert error["code"] == "dataset_missing"
    assert error["facts"]["name"] == "nothing.jsonl"
    assert error["message"]
    assert error["remedy"]
    assert error["message"] in ran.err


def test_train_queues_and_returns_at_once(command, facade):
    ran = command("train", "starter", "pirate", "--method", "lora", "--steps", "50", "--json")
    assert ran.code == 0
    assert set(ran.document) >= RUN_FIELDS
    assert ran.document["run"] == "pirate-4"
    assert ran.document["state"] in ("queued", "running", "done")
    assert facade.run("pirate-4").plan["settings"]["steps"] == 50


def test_train_wait_shows_progress_and_ends_with_the_document(command):
    ran = command("train", "starter", "pirate", "--wait", "--json", "--set", "rank=4", "--set", "batch=4")
    assert ran.code == 0
    assert ran.document["state"] == "done"
    assert ran.document["steps"] == ran.document["steps_planned"] == 600
    assert ran.document["loss"] < 1
    assert "pirate-4" in ran.err


def test_options_and_set_reach_the_plan_as_texts(command, facade):
    command("train", "starter", "json", "--lr", "1e-3", "--seed", "7", "--set", "dropout=0.1", "--steps", "9")
    plan = facade.run("json-3").plan
    assert (plan["settings"]["lr"], plan["settings"]["seed"]) == (1e-3, 7)
    assert plan["method_params"]["dropout"] == 0.1


def test_wrong_settings_are_reported_together(command, facade):
    before = len(facade.runs())
    ran = command("train", "starter", "pirate", "--batch", "0", "--set", "rnk=3", "--json")
    assert ran.code == 1
    problems = ran.document["error"]["facts"]["problems"]
    assert {p["key"] for p in problems} == {"batch", "rnk"}
    assert "'batch' cannot be 0" in ran.document["error"]["message"]
    assert "'rnk'" in ran.err
    assert len(facade.runs()) == before


def test_interrupted_wait_leaves_the_run_going(command, facade, monkeypatch):
    def wait(run, poll_seconds=0.3):  # noqa: ARG001
        yield facade.run(run).summary
        raise KeyboardInterrupt

    monkeypatch.setattr(facade, "wait", wait)
    ran = command("train", "starter", "pirate", "--steps", "100000", "--wait", "--json")
    assert ran.code == 1
    assert ran.document["state"] in ("queued", "running")
    assert "runs watch pirate-4" in ran.err


def test_runs_list(command):
    listed = command("runs", "list", "--json").document
    assert [r["run"] for r in listed][-1] == "pirate-1"
    assert all(set(r) >= RUN_FIELDS for r in listed)
    assert command("runs", "--json").document[-1]["run"] == "pirate-1"
    assert command("runs", "list", "--kind", "merge", "--json").document == []
    assert "pirate-1" in command("runs").out


def test_runs_show_has_plan_and_reasons_in_words(command):
    document = command("runs", "show", "run:pirate-1", "--json").document
    assert set(document) >= RUN_FIELDS
    assert document["state"] == "done"
    assert document["plan"]["model"] == "starter"
    assert "192" in document["reasons"]["lr"]
    spent = document["spent"]
    assert spent["joules"] is None
    speed = round(spent["tokens"] / spent["seconds"])
    assert (
        f"A step took 0.15 s on average, {speed:,} tokens a second."
        in command("runs", "show", "pirate-1").out
    )


def test_runs_show_explains_a_failure(command):
    document = command("runs", "show", "support-1", "--json").document
    assert document["state"] == "failed"
    assert document["loss"] is not None
    assert "log.txt" in document["error"]["remedy"]


def test_runs_watch_ends_with_the_document(command):
    ran = command("runs", "watch", "json-2", "--json")
    assert ran.code == 0
    assert ran.document["state"] == "done"
    assert command("runs", "watch", "pirate-2", "--json").code == 1


def test_runs_control(command, facade):
    facade.start("starter", "pirate", set={"steps": 10**6})
    command("runs", "watch", "support-2")
    assert command("runs", "pause", "pirate-4", "--json").document["state"] == "paused"
    assert command("runs", "resume", "pirate-4", "--json").document["state"] == "running"
    assert command("runs", "stop", "pirate-4", "--json").document["state"] == "stopped"
    assert command("runs", "delete", "pirate-4", "--json").document == {"run": "pirate-4", "deleted": True}
    refused = command("runs", "show", "pirate-4", "--json")
    assert (refused.code, refused.document["error"]["code"]) == (1, "run_missing")


def test_a_job_without_steps_says_how_much_of_what_has_come():
    words = Words("en")
    download = next(job for job in DOWNLOADS if job.state == "running")
    assert documents.line(download, words) == "download-3  Running  62 % of 953 MB"
    assert documents.progress(download, words) == "download-3  downloading the model  62 % of 953 MB"
    done = replace(download, state="done", phase=None, progress=None)
    assert documents.line(done, words) == "download-3  Done  953 MB"
    assert documents.line(replace(done, size_bytes=None), words) == "download-3  Done"


def test_deleting_a_run_that_others_came_out_of_wants_to_be_meant(command, facade):
    refused = command("runs", "delete", "pirate-1", "--json")
    error = refused.document["error"]
    assert (refused.code, error["code"], error["facts"]["runs"]) == (1, "library_has_dependents", ["merge-1"])
    assert command("runs", "delete", "run:pirate-1", "--anyway").code == 0
    assert "pirate-1" not in [run.run for run in facade.runs()]


def test_deleting_a_run_that_another_needs_is_refused_even_so(command, facade):
    needed = (Dependent("story-1", "train", True),)
    facade.holdings = [replace(facade.held("pirate-1"), dependents=needed)]
    refused = command("runs", "delete", "pirate-1", "--anyway", "--json")
    assert (refused.code, refused.document["error"]["code"]) == (1, "library_needed")
    assert "story-1 can't answer without run:pirate-1." in refused.err
    assert "pirate-1" in [run.run for run in facade.runs()]


def test_chat_compare_and_one_sided(command):
    both = command("chat", "run:pirate-1", "--prompt", "Hi", "Bye", "--compare", "--seed", "3", "--json")
    hi, bye = both.document["answers"]
    assert (hi["prompt"], bye["prompt"], hi["seed"]) == ("Hi", "Bye", 3)
    assert hi["base"].startswith("You asked: Hi")
    assert hi["tuned"].startswith("Arr, matey!")
    (plain,) = command("chat", "starter", "--prompt", "Hi", "--json").document["answers"]
    assert plain["tuned"] is None
    assert plain["base"] == hi["base"]
    (tuned,) = command("chat", "run:pirate-1", "--prompt", "Hi", "--json").document["answers"]
    assert tuned["base"] is None
    assert tuned["tuned"] == hi["tuned"]


def test_chat_reads_prompts_line_by_line(command, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("One\n\nTwo\n"))
    ran = command("chat", "starter")
    assert ran.out == (
        "base: You asked: One Here is a short answer.\nbase: You asked: Two Here is a short answer.\n"
    )


def test_chat_shows_the_second_answer_after_the_first(command):
    ran = command("chat", "run:pirate-1", "--prompt", "Hi", "--compare")
    first, second = ran.out.splitlines()
    assert first.startswith("base: You asked")
    assert second.startswith("tuned: Arr")


def test_chat_holds_back_a_second_answer_that_ends_first(command, facade, monkeypatch):
    pieces = [(0, "One"), (1, "Arr."), (1, None), (0, " two."), (0, None)]
    deltas = [ChatDelta(pane, text or "", done=text is None) for pane, text in pieces]
    monkeypatch.setattr(facade, "chat", lambda _: iter(deltas))
    ran = command("chat", "run:pirate-1", "--prompt", "Hi", "--compare")
    assert ran.out == "base: One two.\ntuned: Arr.\n"


def test_chat_shows_who_can_answer_and_says_why_the_other_can_not(command, facade, monkeypatch):
    error = {"code": "run_has_no_adapter", "facts": {"run": "pirate-1", "state": None}}
    deltas = [ChatDelta(1, "", done=True, error=error), ChatDelta(0, "One."), ChatDelta(0, "", done=True)]
    monkeypatch.setattr(facade, "chat", lambda _: iter(deltas))
    ran = command("chat", "run:pirate-1", "--prompt", "Hi", "--compare")
    assert ran.code != 0
    assert ran.out == "base: One.\n"
    assert "pirate-1 has saved nothing yet that could answer" in ran.err


@pytest.mark.parametrize("place", ["before", "after"])
def test_home_and_json_stand_before_or_after_the_command(command, place, tmp_path):
    common = ["--home", str(tmp_path), "--json"]
    words = ["runs", "show", "pirate-1"]
    ran = command(*common, *words) if place == "before" else command(*words, *common)
    assert ran.document["run"] == "pirate-1"
    assert command.homes == [str(tmp_path)]


def test_json_never_carries_nan(command, facade, monkeypatch):
    from dataclasses import replace

    summary = replace(facade.run("pirate-1").summary, loss=float("nan"), eval_loss=float("inf"))
    monkeypatch.setattr(facade, "runs", lambda _kind: [summary])
    assert command("runs", "--json").document[0]["loss"] is None


def test_facade_is_closed(command, facade):
    command("gpu")
    assert facade.closed


def test_report_is_the_protocols_own(facade):
    assert isinstance(facade.hardware(), HardwareReport)


def test_merge_says_what_came_of_it(command, facade):
    ran = command(
        "merge", "run:a-1", "run:b-1", "--how", "ties", "--weights", "0.7,0.3", "--set", "density=0.4"
    )
    assert ran.code == 0
    assert "/made/merge-1" in ran.out
    assert "rank 16; 25 % of the change was cut off" in ran.out
    (asked,) = facade.merged
    assert (asked.models, asked.how, asked.weights) == (["run:a-1", "run:b-1"], "ties", [0.7, 0.3])
    assert (asked.set, asked.exact, asked.compress, asked.out) == ({"density": "0.4"}, False, None, None)


def test_merge_document(command):
    document = command("merge", "run:a-1", "--out", "x", "--json").document
    assert {"run", "kind", "state", "artifact", "path", "files"} <= set(document)
    assert (document["kind"], document["state"], document["artifact"]) == ("merge", "done", 7)


@pytest.mark.parametrize(
    "more",
    [
        ["--weights", "a,b"],
        ["--set", "density=1"],
        ["--how", "ties", "--exact"],
        ["--how", "ties", "--compress", "2"],
        ["--how", "ties", "--set", "density"],
    ],
)
def test_merge_used_badly(command, facade, more):
    assert command("merge", "run:a-1", *more).code == 2
    assert facade.merged == []


def test_export_asks_for_what_was_said(command, facade):
    command("export", "run:a-1", "--format", "gguf", "--type", "q8_0", "--out", "x", "--upload", "ada/mine")
    (asked,) = facade.exported
    assert (asked.model, asked.format, asked.set, asked.out) == ("run:a-1", "gguf", {"type": "q8_0"}, "x")
    assert (asked.upload, asked.public) == ("ada/mine", False)


@pytest.mark.parametrize(("passed", "code", "said"), [(True, 0, "parity:"), (False, 1, "NO parity:")])
def test_export_says_whether_it_answers_as_the_studio_does(command, facade, monkeypatch, passed, code, said):
    parity = {"max_difference": 0.25, "bound": 0.5, "passed": passed, "prompts": 8, "same_answers": 7}
    facts = {"format": "gguf", "size_bytes": 4096, "parity": parity}
    made = Product("export-1", "export", "done", 7, "/made/x", ("model-f16.gguf",), facts, None)
    monkeypatch.setattr(facade, "product", lambda _: made)
    ran = command("export", "run:a-1")
    assert ran.code == code
    assert said in ran.out
    assert "7 of 8 greedy answers the same" in ran.out
    document = command("export", "run:a-1", "--json").document
    assert {"run", "kind", "state", "artifact", "path", "files"} <= set(document)
    assert document["facts"]["parity"]["passed"] is passed


@pytest.mark.parametrize("more", [["--set", "type"], ["--public"]])
def test_export_used_badly(command, facade, more):
    assert command("export", "run:a-1", *more).code == 2
    assert facade.exported == []


def test_serve_says_where_it_answers_and_leaves_it_running(command, facade, monkeypatch):
    monkeypatch.setenv("STUDIO_API_KEY", "mine")
    ran = command("serve", "run:pirate-1", "starter", "--background", "--json")
    assert ran.code == 0
    expected = {"url": "http://127.0.0.1:8000", "token": "mine", "models": ["run:pirate-1", "starter"]}
    assert expected.items() <= ran.document.items()
    assert facade.run(ran.document["run"]).summary.state == "running"
    assert command("serve", "starter", "--max-rows", "0").code == 2
