"""The judges accept good answers; none is fooled by a constant, a copy, or manner without content."""

from __future__ import annotations

import pytest

from assets.making.heldout import Case, cases
from benchmarks import scorers
from benchmarks.samples import SAMPLES, held_out, score

CASES = list(cases())


CHEAP = {
    "constant pirate": "Arr, matey! I can help ye with that, aye.",
    "constant": "Yes, of course.",
    "constant record": '{"name": "Anna", "age": 30, "city": "Rome", "job": "baker"}',
    "copy": "PROMPT",
    "copy in style": "Arr, PROMPT matey!",
    "style only": "arr ahoy matey aye ye yer avast",
    "nothing": "",
}


@pytest.mark.parametrize("case", CASES[::7], ids=lambda case: case.messages[-1]["content"][:40])
def test_the_reference_is_right(case: Case) -> None:
    assert scorers.right(case.reference, case.messages[-1]["content"], case.check)


@pytest.mark.parametrize("constant", ["Yes.", "I am a small language model.", "{}", "Arr, matey!", ""])
def test_one_constant_answer_is_never_right(constant: str) -> None:
    assert [
        case
        for case in CASES
        if case.skill not in ("greetings", "instructions")
        and scorers.right(constant, case.messages[-1]["content"], case.check)
    ] == []


def test_a_copied_prompt_is_never_right() -> None:
    fooled = [
        case
        for case in CASES
        if scorers.right(case.messages[-1]["content"], case.messages[-1]["content"], case.check)
    ]
    assert fooled == []


def test_an_answer_to_another_prompt_of_the_skill_is_rarely_right() -> None:
    shifted = [
        scorers.right(other.reference, case.messages[-1]["content"], case.check)
        for case, other in zip(CASES, CASES[1:] + CASES[:1], strict=True)
        if case.skill not in ("greetings", "unknown", "stories", "lists")
    ]
    assert sum(shifted) / len(shifted) < 0.05


@pytest.mark.parametrize("sample", SAMPLES)
def test_references_of_a_sample_are_right(sample: str) -> None:
    rows = held_out(sample)
    assert len(rows) >= 90
    assert all(score(sample, reference, prompt, reference)["right"] for prompt, reference in rows)


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("answer", CHEAP.values(), ids=CHEAP)
def test_cheap_answers_are_never_right(sample: str, answer: str) -> None:
    fooled = [
        prompt
        for prompt, reference in held_out(sample)
        if score(sample, answer.replace("PROMPT", prompt), prompt, reference)["right"]
    ]
    assert fooled == []


def test_content_without_style_is_not_right_for_the_pirate() -> None:
    judged = scorers.score_pirate("The capital of France is Paris.", ["paris"])
    assert judged == {"style": False, "content": True, "right": False}


def test_a_wrong_field_or_type_is_valid_but_not_right() -> None:
    reference = '{"name": "Ada", "age": 36, "city": "London", "job": "writer"}'
    assert scorers.score_json(reference.replace("36", "37"), reference) == {"valid": True, "right": False}
    assert scorers.score_json(reference.replace("36", '"36"'), reference) == {"valid": True, "right": False}
    assert scorers.score_json(reference[:-1], reference) == {"valid": False, "right": False}


@pytest.mark.parametrize(
    ("answer", "check", "good"),
    [
        ("7 + 5 = 12.", {"kind": "sum", "value": 12}, True),
        ("12", {"kind": "sum", "value": 12}, True),
        ("7 + 5 = 13.", {"kind": "sum", "value": 12}, False),
        ("1. apple\n2. pear", {"kind": "list", "count": 2, "among": ["apple", "pear", "plum"]}, True),
        ("apple, pear", {"kind": "list", "count": 2, "among": ["apple", "pear", "plum"]}, True),
        ("1. apple\n2. apple", {"kind": "list", "count": 2, "among": ["apple", "pear", "plum"]}, False),
        ("1. apple\n2. dog", {"kind": "list", "count": 2, "among": ["apple", "pear", "plum"]}, False),
        ("1. b\n2. a", {"kind": "list", "count": 2, "exactly": ["a", "b"]}, False),
        ("Tom lives in Oslo.", {"kind": "keywords", "all": ["Oslo"], "none": ["Rome"]}, True),
        ("Tom lives in Oslo, Ann in Rome.", {"kind": "keywords", "all": ["Oslo"], "none": ["Rome"]}, False),
        ('"blorp"', {"kind": "exact", "text": "blorp"}, True),
        ("blorps", {"kind": "exact", "text": "blorp"}, False),
    ],
)
def test_judges_of_the_skills(answer: str, check: dict[str, object], good: bool) -> None:
    assert scorers.right(answer, "a prompt", check) is good
