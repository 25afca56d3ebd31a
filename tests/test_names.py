"""Names for models: every form, what may be left out, and what has no or more than one reading."""

import re

import pytest

from studio.errors import StudioError
from studio.names import Mix, ModelName, mix, mix_of, parse
from ui.words import Words


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("starter", ModelName("starter")),
        ("hub:Qwen/Qwen3-0.6B", ModelName("hub", "Qwen/Qwen3-0.6B")),
        ("Qwen/Qwen3-0.6B", ModelName("hub", "Qwen/Qwen3-0.6B")),
        ("hub:a/b@refs/pr/1", ModelName("hub", "a/b", revision="refs/pr/1")),
        ("a/b@v1.0", ModelName("hub", "a/b", revision="v1.0")),
        ("https://huggingface.co/Qwen/Qwen3-0.6B", ModelName("hub", "Qwen/Qwen3-0.6B")),
        ("https://huggingface.co/a/b/tree/main", ModelName("hub", "a/b", revision="main")),
        ("run:pirate-1", ModelName("run", "pirate-1")),
        ("pirate-1", ModelName("run", "pirate-1")),
        ("run:pirate-1@120", ModelName("run", "pirate-1", step=120)),
        ("pirate-1@best", ModelName("run", "pirate-1", step="best")),
        ("run:custom.name", ModelName("run", "custom.name")),
        ("path:/models/x", ModelName("path", "/models/x")),
        ("/models/x/", ModelName("path", "/models/x")),
        ("path:C:\\models\\x", ModelName("path", "C:\\models\\x")),
        ("C:\\models\\x", ModelName("path", "C:\\models\\x")),
        ("D:/models/x", ModelName("path", "D:/models/x")),
        ("  starter ", ModelName("starter")),
        ("merge:merge-3", ModelName("merge", "merge-3")),
        ("merge-3", ModelName("merge", "merge-3")),
    ],
)
def test_every_form_is_read(text, name):
    assert parse(text) == name
    assert parse(str(name)) == name


def test_paths_become_absolute_so_that_another_process_finds_them(empty_folder, monkeypatch):
    assert parse("./m") == ModelName("path", str(empty_folder / "m"))
    assert parse("path:m") == ModelName("path", str(empty_folder / "m"))
    assert parse("a/b/c") == ModelName("path", str(empty_folder / "a/b/c"))
    monkeypatch.setenv("HOME", "/home/ada")
    assert parse("~/m") == ModelName("path", "/home/ada/m")


def test_an_existing_folder_needs_no_prefix(empty_folder):
    (empty_folder / "mymodel").mkdir()
    assert parse("mymodel") == ModelName("path", str(empty_folder / "mymodel"))


@pytest.mark.parametrize(("folder", "other"), [("org/name", "hub:org/name"), ("pirate-1", "run:pirate-1")])
def test_two_readings_are_refused_and_named(empty_folder, folder, other):
    (empty_folder / folder).mkdir(parents=True)
    with pytest.raises(StudioError) as caught:
        parse(folder)
    assert caught.value.code == "model_name_ambiguous"
    assert caught.value.facts["choices"] == [f"path:{folder}", other]
    assert parse(other).value == folder


@pytest.mark.parametrize(
    "text",
    [
        *("", "gpt2", "path:", "path:  ", "hub:gpt2", "hub:a--b/c", "hub:a/b@", "hub:a/b@x y", "run:"),
        *("run:x@last", "run:a/b", "starter:1", "merge:x/1", "foo:bar/baz/qux", "two words", "a/b@c d"),
    ],
)
def test_what_has_no_reading_is_refused(text):
    with pytest.raises(StudioError) as caught:
        parse(text)
    assert caught.value.code == "model_name_bad"
    assert caught.value.facts["name"] == text.strip()


def test_a_mix_names_its_rule_where_it_does_not_simply_add_up():
    plain = parse('mix:{"base": "starter", "adapters": [["run:a-1", 1]]}')
    assert parse('mix:{"base":"starter", "adapters":[["a-1", 1.0]], "how": "linear", "params": {}}') == plain
    rule = '"how": "ties", "params": {"sign": "total", "density": 0.3}'
    name = parse('mix:{"base": "starter", "adapters": [["a-1", 1]], ' + rule + "}")
    assert mix_of(name) == Mix(
        ModelName("starter"), ((ModelName("run", "a-1"), 1.0),), "ties", {"density": 0.3, "sign": "total"}
    )
    assert parse(str(name)) == name
    assert name == mix("starter", [("run:a-1", 1.0)], "ties", {"density": 0.3, "sign": "total"})


def test_a_mix_has_one_canonical_form():
    name = parse('mix: {"adapters": [["pirate-1", 1], ["run:json-1@4", -0.5]], "base": "Qwen/Qwen3-0.6B"}')
    adapters = ((ModelName("run", "pirate-1"), 1.0), (ModelName("run", "json-1", step=4), -0.5))
    assert mix_of(name) == Mix(ModelName("hub", "Qwen/Qwen3-0.6B"), adapters)
    assert parse(str(name)) == name
    assert str(name).startswith('mix:{"base": "hub:Qwen/Qwen3-0.6B", "adapters": [["run:pirate-1", 1.0]')


@pytest.mark.parametrize(
    "text",
    [
        "mix:",
        "mix:{}",
        "mix:[]",
        'mix:{"base": "starter", "adapters": []}',
        'mix:{"base": "starter", "adapters": [["run:a-1", "much"]]}',
        'mix:{"base": "starter", "adapters": [["run:a-1", NaN]]}',
        'mix:{"base": "starter", "adapters": [["run:a-1", 1]], "how": 3}',
        'mix:{"base": "starter", "adapters": [["run:a-1", 1]], "params": 3}',
        'mix:{"base": "starter", "adapters": [["run:a-1", 1]], "method": "ties"}',
        "merge:",
        "merge:../x",
    ],
)
def test_a_broken_mix_or_merge_is_refused(text):
    with pytest.raises(StudioError) as caught:
        parse(text)
    assert caught.value.code == ("mix_name_bad" if text.startswith("mix:") else "model_name_bad")
    assert caught.value.facts["name"] == text


def test_the_example_that_a_broken_mix_is_answered_with_can_be_read():
    remedy = Words("en").error(StudioError("mix_name_bad", name="mix:a+b"))[1]
    example = mix_of(parse(re.search(r"mix:\{.*\}", remedy)[0]))
    assert [str(name) for name, _ in example.adapters] == ["run:pirate-1", "run:json-1"]
