import pytest

from ui.differences import against_first, differing


def marked(pieces):
    return [text for text, differs in pieces if differs]


def test_words_that_the_other_has_not_are_marked_and_the_texts_stay_whole():
    first, second = differing("The cat sat, on the mat.", "The dog sat on a red mat!")
    assert marked(first) == ["cat", ",", "the", "."]
    assert marked(second) == ["dog", "a red", "!"]
    for text, pieces in (("The cat sat, on the mat.", first), ("The dog sat on a red mat!", second)):
        assert "".join(piece for piece, _ in pieces) == text


@pytest.mark.parametrize(
    ("a", "b"), [("", ""), ("same words", "same words"), ("Same  words\n", "same words")]
)
def test_case_and_white_space_make_no_difference(a, b):
    assert [marked(pieces) for pieces in differing(a, b)] == [[], []]


def test_an_empty_answer_differs_in_nothing_and_the_other_in_all():
    assert [marked(p) for p in differing("", "one two")] == [[], ["one two"]]


def test_in_the_first_only_what_none_of_the_others_has_is_marked():
    first, second, third = against_first(["a b c", "a c d", "a x c"])
    assert [marked(first), marked(second), marked(third)] == [["b"], ["d"], ["x"]]
    assert against_first(["alone"]) == [[("alone", False)]]
