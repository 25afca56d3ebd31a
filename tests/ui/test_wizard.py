from dataclasses import replace

import pytest

from ui import wizard as moves
from ui.wizard import STEPS, Wizard, from_query, to_query

CHOSEN = Wizard(
    step=3,
    goal="style",
    model="hub:Qwen/Qwen2.5-0.5B",
    dataset="/tmp/a b.jsonl",
    source="file",
    settings={"lr": 1e-3},
)


def test_another_method_keeps_the_common_settings_and_its_place_in_the_address() -> None:
    wizard = Wizard(goal="style", model="starter", dataset="pirate", settings={"batch": 4, "rank": 2}).to(3)
    other = moves.choose_method(wizard, "lst", [{"name": "batch"}, {"name": "lr"}])
    assert (other.method, dict(other.settings)) == ("lst", {"batch": 4})
    assert from_query(to_query(other)) == other
    assert "method" not in to_query(wizard)


@pytest.mark.parametrize("step", range(4))
def test_the_address_brings_every_choice_back(step):
    wizard = replace(CHOSEN, step=step)
    assert from_query(to_query(wizard)) == wizard


def test_the_address_of_a_run_comes_back_to_it():
    assert (
        from_query("?tab=home&step=watch&run=pirate-2&goal=style&model=starter&dataset=pirate").name
        == "watch"
    )


@pytest.mark.parametrize(
    "query", ["", "?step=how", "?set=%7Bbroken&step=data", "?goal=fly&step=model", "?source=x"]
)
def test_an_address_made_by_hand_lands_on_the_last_step_that_holds(query):
    assert from_query(query).step == 0


def test_a_step_needs_what_stands_before_it():
    assert Wizard(goal="style").to(5).name == "model"
    assert CHOSEN.to(5).name == "how"
    assert replace(CHOSEN, run="pirate-1").to(5).name == "compare"


def test_back_keeps_everything():
    assert replace(CHOSEN.to(0), step=3) == CHOSEN


def test_another_model_or_other_rows_make_another_run():
    ran = replace(CHOSEN, run="pirate-1")
    assert moves.choose_model(ran, "starter").run is None
    assert moves.choose_data(ran, "json", "samples").run is None
    assert moves.choose_data(ran, "json", "samples").settings == {"lr": 1e-3}


def test_a_new_goal_after_a_run_begins_a_new_plan():
    assert moves.choose_goal(replace(CHOSEN, run="pirate-1"), "facts") == Wizard(step=1, goal="facts")
    assert moves.choose_goal(CHOSEN, "facts").model == CHOSEN.model


def test_an_emptied_field_gives_the_setting_back_to_the_studio():
    assert moves.set_value(CHOSEN, "batch", "16").settings == {"lr": 1e-3, "batch": "16"}
    assert moves.set_value(CHOSEN, "lr", "").settings == {}


def test_every_step_has_its_words(words):
    for name in STEPS:
        assert words.has(f"step.{name}")
        assert words.has(f"wizard.wait.{name}")
