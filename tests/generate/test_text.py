from __future__ import annotations

import pytest

from studio.generate.text import AnswerText


class Letters:
    """Ids are characters, except that the two halves of "é" come as 1 and 2, as bytes do in a real
    tokenizer.
    """

    def __init__(self) -> None:
        self._half = False

    def push(self, token: int) -> str:
        if token == 1:
            self._half = True
            return ""
        self._half = False
        return "é" if token == 2 else chr(token)

    def finish(self) -> str:
        return "\ufffd" if self._half else ""


def pieces(text: str, stop: list[str]) -> tuple[list[str], AnswerText]:
    answer = AnswerText(Letters(), stop)
    out = []
    for letter in text:
        out.append(answer.push(ord(letter)))
        if answer.stopped:
            break
    out.append(answer.finish())
    return out, answer


@pytest.mark.parametrize(
    ("text", "stop", "shown", "stopped"),
    [
        ("plain text", [], "plain text", False),
        ("one\n\ntwo", ["\n\n"], "one", True),
        ("one\ntwo", ["\n\n"], "one\ntwo", False),
        ("ends on <", ["<end>"], "ends on <", False),
        ("aab", ["ab"], "a", True),
        ("abcabd", ["abd"], "abc", True),
        ("first of two", ["two", "of"], "first ", True),
        ("stop", ["s"], "", True),
    ],
)
def test_nothing_of_a_stop_string_is_shown(text: str, stop: list[str], shown: str, stopped: bool) -> None:
    out, answer = pieces(text, stop)
    assert ("".join(out), answer.stopped) == (shown, stopped)


def test_text_that_can_be_no_stop_string_comes_at_once() -> None:
    out, _ = pieces("ab<x", ["<end>"])
    assert out == ["a", "b", "", "<x", ""]


def test_half_a_character_waits_for_its_other_half() -> None:
    answer = AnswerText(Letters())
    assert [answer.push(1), answer.push(2), answer.push(1), answer.finish()] == ["", "é", "", "\ufffd"]
