"""Bad usage exits with 2, says how it should read, and never opens a home."""

import pytest

from bootstrap import door
from ui.cli.main import COMMANDS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian", "starter", "pirate"], "Did you mean 'train'?"),
        (["run", "list"], "Did you mean 'runs'?"),
        (["runs", "resum", "x"], "Did you mean 'runs resume'?"),
        (["--home", "x", "chatt"], "Did you mean 'chat'?"),
        (["frobnicate"], "Commands: gpu, methods, estimate, check, train, runs, chat"),
        (["train", "starter"], "DATASET"),
        (["runs", "show"], "RUN"),
        (["runs", "list", "--kind", "nonsense"], "invalid choice: 'nonsense'"),
        (["train", "starter", "pirate", "--step", "5"], "--step"),
        (["train", "starter", "pirate", "--set", "rank"], "--set takes KEY=VALUE"),
        (["train", "starter", "pirate", "--batch", "4", "--set", "batch=8"], "given twice"),
        (["chat", "starter", "--prompt", "x", "--max-tokens", "0"], "--max-tokens"),
        (["chat", "starter", "--prompt", "x", "--temperature", "hot"], "temperature"),
    ],
)
def test_bad_usage(command, arguments, said):
    ran = command(*arguments)
    assert ran.code == 2
    assert said in ran.err
    assert ran.out == ""
    with_json = command(*arguments, "--json")
    assert with_json.code == 2
    assert with_json.document["error"]["code"] == "usage"
    assert said in with_json.err


def test_help_lists_the_commands(command, capsys):
    with pytest.raises(SystemExit) as ended:
        command("--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("gpu", "methods", "check", "train", "runs", "chat"))


def test_no_command_opens_the_screen_on_the_home_that_was_asked_for(command, monkeypatch, tmp_path):
    passed = []
    monkeypatch.setattr("ui.serve.main", lambda arguments: passed.append(arguments) or 0)
    assert command("--port", "8000", "--home", str(tmp_path), "--no-browser").code == 0
    monkeypatch.setenv("STUDIO_HOME", str(tmp_path / "other"))
    assert command().code == 0
    assert passed == [
        [f"--home={tmp_path}", "--port", "8000", "--no-browser"],
        [f"--home={tmp_path / 'other'}"],
    ]


def test_the_door_names_every_command():
    assert tuple(COMMANDS) == door.COMMANDS
