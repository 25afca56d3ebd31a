from ui import selection
from ui.selection import Selection


def test_the_newest_run_is_open_where_none_was_chosen():
    assert selection.settle(Selection(), ["b", "a"]).run == "b"
    assert selection.settle(Selection("a"), ["b", "a"]).run == "a"


def test_runs_that_are_gone_leave_the_selection():
    settled = selection.settle(Selection("gone", ("a", "gone", "b")), ["b", "a"])
    assert settled.run == "b"
    assert settled.compared == ("a", "b")
    assert selection.settle(Selection("gone"), []).drawn == ()


def test_two_ticked_runs_are_drawn_over_each_other_one_is_not():
    one = selection.toggle(Selection("a"), "b")
    assert (one.comparing, one.drawn) == (False, ("a",))
    two = selection.toggle(one, "c")
    assert (two.comparing, two.drawn) == (True, ("b", "c"))
    assert selection.toggle(two, "b").drawn == ("a",)


def test_only_what_differs_between_plans_is_listed():
    plans = {
        "a": {"model": "starter", "settings": {"lr": 1e-3, "batch": 8}, "method_params": {"rank": 8}},
        "b": {"model": "starter", "settings": {"lr": 2e-3, "batch": 8}, "method_params": {"rank": 4}},
    }
    assert selection.differing(plans) == [("lr", [1e-3, 2e-3]), ("method.rank", [8, 4])]
    assert selection.differing({"a": plans["a"], "b": plans["a"]}) == []


def test_a_setting_that_only_one_method_has_differs():
    assert selection.differing({"a": {"method_params": {"rank": 8}}, "b": {"method_params": {}}}) == [
        ("method.rank", [8, None])
    ]


def test_the_address_brings_the_selection_back():
    chosen = Selection("a-1", ("a-1", "b-2"))
    assert selection.from_query("?" + selection.to_query(chosen)) == chosen
