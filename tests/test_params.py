"""Params dataclasses: what is read from texts and JSON, and that every problem is reported."""

from dataclasses import dataclass

import pytest

from studio.exports import exports
from studio.merges import merges
from studio.params import describe, param, parse, to_dict
from studio.plan import Settings, methods


@dataclass(frozen=True)
class Sample:
    count: int = param(3, "How many.", low=1, high=10)
    rate: float | None = param(None, "How fast.", low=0.0)
    on: bool = param(False, "Whether.", title="Switched on", expert=True)
    kind: str = param("a", "Which.", choices=("a", "b"))
    names: tuple[str, ...] = param(("x",), "Of what.")
    parts: tuple[str, ...] = param((), "Of these.", choices=("p", "q"))


@dataclass(frozen=True)
class Bare:
    """Nothing to set."""


def test_what_has_no_settings_says_so():
    assert [problem.code for problem in parse(Bare, {"type": "f16"})[1]] == ["no_settings"]
    assert [problem.code for problem in parse(Sample, {"type": "f16"})[1]] == ["unknown_setting"]


def test_a_setting_has_one_title_wherever_it_is_set():
    """Messages find it by its name alone."""
    titles = {info.name: {info.title} for info in describe(Settings)}
    for registry in (methods, merges, exports):
        for extension in registry.all().values():
            for info in describe(extension.params):
                titles.setdefault(info.name, set()).add(info.title)
    assert {name: found for name, found in titles.items() if len(found) > 1} == {}


def read(**values):
    return parse(Sample, values)


@pytest.mark.parametrize(
    ("key", "raw", "value"),
    [
        ("count", "7", 7),
        ("count", 7.0, 7),
        ("count", "1e1", 10),
        ("rate", "1e-3", 0.001),
        ("rate", 2, 2.0),
        ("rate", "auto", None),
        ("rate", "", None),
        ("rate", None, None),
        ("on", "true", True),
        ("on", "No", False),
        ("on", True, True),
        ("kind", " b ", "b"),
        ("names", "q_proj, v_proj", ("q_proj", "v_proj")),
        ("names", ["a", "b"], ("a", "b")),
        ("parts", "p,q", ("p", "q")),
        ("parts", [], ()),
    ],
)
def test_values_and_texts_are_read(key, raw, value):
    settings, problems = read(**{key: raw})
    assert problems == []
    assert getattr(settings, key) == value
    assert type(getattr(settings, key)) is type(value)


@pytest.mark.parametrize(
    ("key", "raw", "code"),
    [
        ("count", "many", "setting_not_int"),
        ("count", 1.5, "setting_not_int"),
        ("count", True, "setting_not_int"),
        ("count", "nan", "setting_not_int"),
        ("count", "1e400", "setting_not_int"),
        ("count", [1], "setting_not_int"),
        ("count", 0, "setting_out_of_range"),
        ("count", 11, "setting_out_of_range"),
        ("count", None, "setting_missing"),
        ("rate", "fast", "setting_not_number"),
        ("rate", "inf", "setting_not_number"),
        ("rate", -0.1, "setting_out_of_range"),
        ("on", "maybe", "setting_not_bool"),
        ("on", 2, "setting_not_bool"),
        ("kind", "c", "setting_not_a_choice"),
        ("kind", 5, "setting_not_a_choice"),
        ("kind", "", "setting_not_a_choice"),
        ("names", 5, "setting_not_list"),
        ("names", None, "setting_missing"),
        ("names", "", "setting_not_list"),
        ("names", [], "setting_not_list"),
        ("parts", "p,z", "setting_not_a_choice"),
        ("cuont", 3, "unknown_setting"),
    ],
)
def test_problems_name_the_setting_and_keep_the_default(key, raw, code):
    settings, problems = parse(Sample, {key: raw}, prefix="method.")
    assert [(p.code, p.key) for p in problems] == [(code, f"method.{key}")]
    assert settings == Sample()


def test_all_problems_come_together():
    _, problems = read(count=0, rate="x", kind="c", other=1)
    assert [p.key for p in problems] == ["count", "rate", "kind", "other"]
    assert problems[0].facts == {"value": 0, "low": 1, "high": 10}
    assert problems[3].facts["known"] == ["count", "kind", "names", "on", "parts", "rate"]


def test_description_is_what_form_and_docs_need():
    infos = {i.name: i for i in describe(Sample)}
    assert list(infos) == ["count", "rate", "on", "kind", "names", "parts"]
    assert infos["count"].as_dict() == {
        "name": "count",
        "type": "int",
        "default": 3,
        "help": "How many.",
        "title": "Count",
        "range": [1, 10],
        "off": None,
        "optional": False,
        "expert": False,
    }
    assert (infos["rate"].type, infos["rate"].optional, infos["rate"].as_dict()["range"]) == (
        "float",
        True,
        [0.0, None],
    )
    assert infos["on"].title == "Switched on"
    assert infos["kind"].as_dict()["range"] == ["a", "b"]
    assert (infos["names"].type, infos["names"].as_dict()["default"]) == ("list", ["x"])


def test_saved_form_reads_back_to_the_same():
    settings, _ = read(count=5, rate=0.5, names="a,b")
    assert parse(Sample, to_dict(settings)) == (settings, [])


@dataclass(frozen=True)
class Every:
    every: int = param(0, "Every k-th.", low=2, high=9, off=0)


def test_one_value_beside_a_range_switches_off():
    for value in (0, "0", 2, 9):
        assert parse(Every, {"every": value})[1] == []
    for value in (1, -1, 10):
        (problem,) = parse(Every, {"every": value})[1]
        assert problem.code == "setting_off_or_range"
        assert problem.facts == {"value": value, "low": 2, "high": 9, "off": 0}
    (info,) = describe(Every)
    assert (info.as_dict()["range"], info.as_dict()["off"]) == ([2, 9], 0)
