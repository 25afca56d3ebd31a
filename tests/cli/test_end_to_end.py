"""The command line over the real facade: refusals in this process, then whole runs with a real worker."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hub import server
from tests.toys.folders import write_model
from ui.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    pairs = ({"prompt": f"{i} and {i * 7 % 11}?", "completion": f"it is {i + i * 7 % 11}"} for i in range(80))
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return file


@pytest.fixture
def command(tmp_path, capsys):
    """Run a command on a home of its own; gives exit code and document."""

    def run(*arguments):
        code = main([*map(str, arguments), "--home", str(tmp_path / "home"), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


def refused(command, *arguments):
    code, document = command(*arguments)
    assert code == 1
    error = document["error"]
    assert error["message"]
    assert error["remedy"]
    return error


def test_model_that_is_none(command, rows, tmp_path):
    assert refused(command, "train", tmp_path / "no", rows)["code"] == "model_missing"
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("x")
    assert refused(command, "train", tmp_path / "foreign", rows)["code"] == "model_foreign"
    assert refused(command, "train", "gpt2", rows)["code"] == "model_name_bad"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (None, "dataset_missing"),
        ("", "data_empty"),
        ('{"colour": 1, "size": 3}\n', "data_format_unknown"),
        ('{"prompt": "a", "completion": ""}\n', "data_no_usable_rows"),
        (b"PK\x03\x04zip", "data_kind_refused"),
    ],
)
def test_dataset_that_cannot_be_used(command, model, tmp_path, body, code):
    file = tmp_path / "data.jsonl"
    if body is not None:
        file.write_bytes(body if isinstance(body, bytes) else body.encode())
    assert refused(command, "train", model, file)["code"] == code


def test_row_and_column_of_a_problem_are_named(command, tmp_path):
    file = tmp_path / "data.jsonl"
    file.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n{nonsense\n')
    code, report = command("check", file)
    assert code == 0
    assert [(p["row"], p["column"], p["code"]) for p in report["problems"]] == [
        (2, "completion", "column_missing"),
        (3, None, "row_not_json"),
    ]
    assert all(p["message"] and p["fix"] for p in report["problems"])


def test_nothing_to_learn_is_refused(command, model, tmp_path):
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps({"prompt": "x" * 60, "completion": "y"}) + "\n")
    assert refused(command, "train", model, file, "--seq", "16")["code"] == "nothing_learned"


def test_wrong_settings_together_and_nothing_is_left_behind(command, model, rows):
    error = refused(command, "train", model, rows, "--batch", "0", "--set", "rank=a", "--device", "cuda:7")
    assert error["code"] in ("plan_invalid", "device_unknown")
    assert refused(command, "train", model, rows, "--batch", "0", "--set", "rnk=1")["code"] == "plan_invalid"
    assert refused(command, "train", model, rows, "--method", "lroa")["code"] in (
        "plan_invalid",
        "unknown_extension",
    )
    assert command("runs") == (0, [])


@pytest.mark.worker
def test_train_show_delete(command, model, rows):
    code, run = command("train", model, rows, "--steps", "12", "--set", "eval_every=6", "--wait")
    assert (code, run["state"], run["steps"], run["steps_planned"]) == (0, "done", 12, 12)
    assert 0 < run["eval_loss"] < 8
    assert (Path(run["adapter"]) / "adapter_model.safetensors").is_file()
    assert run["peak_memory_bytes"] > 10**8
    _, shown = command("runs", "show", run["run"])
    assert shown["loss"] == run["loss"]
    assert shown["plan"]["settings"]["steps"] == 12
    assert set(shown["hashes"]) >= {"base", "dataset", "tokenizer", "template"}
    assert [r["run"] for r in command("runs")[1]] == [run["run"]]
    assert command("runs", "delete", run["run"])[0] == 0
    assert command("runs") == (0, [])


@pytest.mark.worker
def test_hub_model_is_downloaded_by_the_worker(command, model, rows, tmp_path, monkeypatch):
    with server.running() as hub:
        hub.repos["ada/tiny"] = server.Repo({f.name: f.read_bytes() for f in model.iterdir()})
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        code, run = command("train", "hub:ada/tiny", rows, "--steps", "4", "--wait")
        assert (code, run["state"], run["steps"], run["error"]) == (0, "done", 4, None)
        assert hub.ranges("model.safetensors") == [None]
        hub.repos["ada/gated"] = server.Repo(hub.repos["ada/tiny"].files, gated=True)
        code, run = command("train", "hub:ada/gated", rows, "--steps", "4", "--wait")
        assert (code, run["state"], run["error"]["code"]) == (1, "failed", "hub_gated")
        assert "accept" in run["error"]["remedy"]


@pytest.mark.worker
@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_interrupting_the_wait_leaves_the_run_going(command, model, rows, tmp_path):
    arguments = ["train", str(model), str(rows), "--steps", "100000", "--wait", "--json"]
    waiting = subprocess.Popen(
        [sys.executable, "-m", "ui.cli", *arguments, "--home", str(tmp_path / "home")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        run = wait_for(command, lambda runs: runs and runs[0]["steps"] > 0)[0]
        waiting.send_signal(signal.SIGINT)
        out, err = waiting.communicate(timeout=60)
        assert waiting.returncode == 1
        assert json.loads(out)["state"] == "running"
        assert f"runs watch {run['run']}" in err
        before = json.loads(out)["steps"]
        wait_for(command, lambda runs: runs[0]["steps"] > before)
        assert command("runs", "stop", run["run"])[0] == 0
        code, document = command("runs", "watch", run["run"])
        assert (code, document["state"]) == (1, "stopped")
        assert document["adapter"] is not None
    finally:
        waiting.kill()
        for run in command("runs")[1]:
            command("runs", "stop", run["run"])


def wait_for(command, condition, seconds=180):
    """The list of runs once it fulfils the condition; fails when a run has failed or the time is over."""
    deadline = time.monotonic() + seconds
    while not condition(runs := command("runs")[1]):
        assert not [r["error"] for r in runs if r["error"]]
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return runs


def test_home_that_cannot_be_one_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main(["runs", "--home", str(tmp_path / "file"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "home_not_a_folder"
