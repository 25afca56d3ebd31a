"""Words: how facts are written, and that every code in the source has words for the facts it carries."""

import ast
import json
from collections import defaultdict
from pathlib import Path

import pytest

from studio.errors import PlanError, Problem, Reason, StudioError
from studio.sentences import fill, placeholders
from ui.words import FOLDER, Words

ROOT = Path(__file__).resolve().parent.parent
ENGLISH = json.loads((FOLDER / "en.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "facts", "said"),
    [
        ("{a} and {b}", {"a": 1, "b": "x"}, "1 and x"),
        ("{free_bytes} free", {"free_bytes": 3 * 2**30}, "3.0 GB free"),
        ("{left_seconds} left", {"left_seconds": 125}, "2 min left"),
        ("{rows} {rows|row|rows}", {"rows": 1}, "1 row"),
        ("{rows} {rows|row|rows}", {"rows": 12345}, "12,345 rows"),
        ("port {port}", {"port": 17860}, "port 17860"),
        ("{known}", {"known": ["a", "b"]}, "a, b"),
        ("{known}", {"known": []}, "?"),
        ("{x}", {"x": None}, "?"),
        ("{x}", {"x": 0.00021}, "0.00021"),
        ('{"a": {x}}', {"x": 1}, '{"a": 1}'),
        ("{x}", {"x": "{y}"}, "{y}"),
    ],
)
def test_facts_are_written_as_people_read_them(text, facts, said):
    assert fill(text, facts) == said


def test_missing_key_and_missing_fact_are_bugs():
    words = Words("en")
    with pytest.raises(KeyError):
        words.text("no.such.key")
    with pytest.raises(KeyError):
        fill("{a}", {})


def test_other_language_falls_back_to_english(tmp_path):
    (tmp_path / "en.json").write_text('{"a": "one", "b": "two"}')
    (tmp_path / "de.json").write_text('{"a": "eins"}')
    words = Words("de", tmp_path)
    assert (words.text("a"), words.text("b")) == ("eins", "two")


def test_wrong_plan_names_every_problem():
    words = Words("en")
    facts = {"value": 0, "low": 1, "high": 9}
    error = PlanError([Problem("setting_out_of_range", "batch", facts), Problem("steps_and_epochs", "steps")])
    message, _ = words.error(error)
    assert "'batch' cannot be 0." in message
    assert "from 1 to 9" in message
    assert len(message.splitlines()) == 3


def test_refusal_among_the_problems_has_its_own_words():
    cause, fix = Words("en").problem({"code": "model_missing", "key": "model", "facts": {"path": "/x"}})
    assert "/x" in cause
    assert fix


def test_reason_in_words():
    assert "192" in Words("en").reason(Reason("lr_by_width", {"hidden": 192}))


def calls():
    """(kind, code, facts or None if they are not literal, where) of every error, problem and reason made."""
    for package in ("studio", "backend", "ui"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                first = node.args[0] if node.args else None
                if name in KINDS and isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield KINDS[name], first.value, facts_of_call(name, node), f"{file.name}:{node.lineno}"


KINDS = {
    "StudioError": "error",
    "Problem": "problem",
    "RowError": "problem",
    "_Unfit": "problem",
    "Reason": "reason",
}


def facts_of_call(name, node):
    """Names of the facts a call carries; None where they cannot be read off."""
    if name in ("StudioError", "_Unfit", "RowError"):
        names = {k.arg for k in node.keywords}
        return None if None in names else names | ({"column"} if name == "RowError" else set())
    given = [*node.args[1:], *(k.value for k in node.keywords)]
    literal = [a for a in given if isinstance(a, ast.Dict)]
    if not literal:
        # A problem's key, row and column are no facts; anything more could be.
        bare = len(given) <= (1 if name == "Problem" else 0)
        return set() if bare and all(k.arg != "facts" for k in node.keywords) else None
    keys = [k.value if isinstance(k, ast.Constant) else None for k in literal[-1].keys]
    return None if None in keys else set(keys)


# What `Words.problem` adds around a problem's facts.
AROUND = {"error": set(), "reason": set(), "problem": {"key", "row", "column", "file", "skipped"}}


def keys_of(kind, code):
    if kind == "error":
        return [f"error.{code}.message", f"error.{code}.remedy"]
    # A problem that is a refusal too has a refusal's words.
    if kind == "problem" and (f"problem.{code}.fix" in ENGLISH or f"error.{code}.remedy" not in ENGLISH):
        return [f"problem.{code}.message", f"problem.{code}.fix"]
    if kind == "problem":
        return keys_of("error", code)
    if f"hardware.{code}.message" in ENGLISH:
        return [f"hardware.{code}.message", f"hardware.{code}.remedy"]
    return [f"reason.{code}"]


def test_every_code_has_words_for_the_facts_it_carries():
    wrong = defaultdict(list)
    for kind, code, facts, where in calls():
        for key in keys_of(kind, code):
            if key not in ENGLISH:
                wrong[f"no words: {key}"].append(where)
            elif facts is not None and (more := placeholders(ENGLISH[key]) - facts - AROUND[kind]):
                wrong[f"{key} wants {sorted(more)}"].append(where)
    assert not wrong, "\n".join(f"{what}  ({', '.join(where)})" for what, where in sorted(wrong.items()))


def test_file_is_sorted_and_flat():
    assert list(ENGLISH) == sorted(ENGLISH)
    assert all(isinstance(value, str) for value in ENGLISH.values())


def test_error_survives_a_process_and_reads_the_same():
    error = StudioError("hub_disk_full", repo="a/b", needed_bytes=2**31, free_bytes=2**20, path="/x")
    again = StudioError.from_dict(json.loads(json.dumps(error.as_dict())))
    assert Words("en").error(again) == Words("en").error(error)
