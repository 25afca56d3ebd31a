from markupsafe import Markup

from ui.fragments.html import classes, h, join


def test_text_and_attributes_are_escaped_but_markup_is_not():
    got = h("p", "<b>", Markup("<i>yes</i>"), title='a "quote"', data_row="1 < 2")
    assert got == '<p title="a &#34;quote&#34;" data-row="1 &lt; 2">&lt;b&gt;<i>yes</i></p>'


def test_none_and_false_leave_out_and_true_stands_alone():
    assert h("input", disabled=True, checked=False, value=None, class_="x") == '<input disabled class="x">'


def test_children_may_be_nested_lists_numbers_and_nothing():
    assert h("ul", [h("li", i) for i in (1, 2)], None, False) == "<ul><li>1</li><li>2</li></ul>"
    assert join("a", [Markup("<br>")], 3) == "a<br>3"


def test_classes_drop_what_is_off():
    assert classes("a", False, None, "b", "") == "a b"
