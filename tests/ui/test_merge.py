"""The adapter lab's pure parts: the mix as a value, its address, what is asked for, what is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from backend.api import MergeRequest, Product
from backend.api.chat import ChatDelta, ChatModel
from studio.names import mix_of, parse
from tests.fake_exports import MIB
from tests.fake_facade import FakeFacade
from ui import mixer
from ui.fragments import merge as draw
from ui.fragments.who import model_label
from ui.mixer import Mixer
from ui.tabs import merge as tab
from ui.words import Words

WORDS = Words("en")
MODELS = [ChatModel("run:b-2", "starter"), ChatModel("run:a-1", "starter"), ChatModel("run:c-1", "path:/m")]


def test_it_begins_with_the_two_newest_of_one_base() -> None:
    first = mixer.begin(MODELS)
    assert (first.base, first.weights) == ("starter", (("run:b-2", 0.5), ("run:a-1", 0.5)))
    other = mixer.choose_base(first, "path:/m", MODELS)
    assert (other.base, other.weights) == ("path:/m", (("run:c-1", 1.0),))
    assert mixer.begin([]).model is None


def test_sliders_and_settings_name_the_mix() -> None:
    state = mixer.weigh(mixer.begin(MODELS), "run:a-1", "-0.25")
    state = mixer.set_param(mixer.choose_rule(state, "svd"), "rank", "4")
    assert state.model is not None
    named = mix_of(parse(state.model))
    assert [(str(name), weight) for name, weight in named.adapters] == [("run:b-2", 0.5), ("run:a-1", -0.25)]
    assert (named.how, named.params) == ("svd", {"rank": "4"})
    assert mixer.set_param(state, "rank", "").settings == {}
    assert mixer.weigh(state, "run:a-1", "much") == mixer.weigh(state, "run:a-1", "inf") == state
    assert mixer.take(state, "run:b-2", False).weights == (("run:a-1", -0.25),)
    assert model_label(WORDS.text, state.model) == "0.5 × b-2 − 0.25 × a-1"  # noqa: RUF001


def test_the_address_brings_the_mix_back_as_far_as_its_adapters_are_there() -> None:
    state = replace(mixer.begin(MODELS), how="ties", settings={"density": "0.5"}, prompt="Why?")
    state = replace(state, jobs=("merge-2", "merge-1"))
    query = mixer.to_query(state, "merge")
    assert mixer.from_query(query, MODELS) == state
    assert mixer.from_query(query, MODELS[1:]).weights == (("run:a-1", 0.5),)
    broken = mixer.from_query("tab=merge&mix=mix:nonsense", MODELS)
    assert broken == mixer.begin(MODELS)


def test_rounded_weights_are_offered_where_all_learned_on_them() -> None:
    models = [ChatModel("run:b-2", "starter", True), ChatModel("run:a-1", "starter")]
    both = replace(mixer.begin(models), exact=True)
    asked = 'data-act="exact"'
    assert asked not in draw.actions(WORDS.text, both)
    assert not mixer.base_request(both).exact
    one = mixer.take(both, "run:a-1", False)
    assert asked in draw.actions(WORDS.text, one)
    assert mixer.base_request(one).exact
    assert asked not in draw.actions(WORDS.text, mixer.take(one, "run:b-2", False))


def test_a_run_of_full_tuning_goes_alone_between_its_base_and_itself() -> None:
    models = [*MODELS, ChatModel("run:f-1", "starter", copied=(2 * MIB, 4 * MIB))]
    begun = mixer.choose_rule(mixer.begin(models), "ties")
    assert (begun.between, dict(begun.weights).keys()) == (False, {"run:b-2", "run:a-1"})
    alone = mixer.weigh(mixer.take(begun, "run:f-1", True), "run:f-1", "0.4")
    assert (alone.weights, alone.how, alone.between) == ((("run:f-1", 0.4),), "linear", True)
    assert mixer.base_request(alone) == MergeRequest(["run:f-1"], weights=[0.4])
    assert mixer.from_query(mixer.to_query(alone, "merge"), models) == alone
    assert mixer.take(alone, "run:a-1", True).weights == (("run:a-1", 1.0),)
    newest = mixer.begin(models[::-1])
    assert (newest.weights, newest.between) == ((("run:f-1", 1.0),), True)
    rules = [{"id": "linear", "title": "Weighted sum", "summary": "Adds up."}]
    shown = str(draw.form(WORDS.text, alone, models, [], rules, None))
    slider = next(part for part in shown.split("<input") if 'data-act="weight" data-model="run:f-1"' in part)
    assert 'min="0.0" max="1.0"' in slider
    assert "second copy of the model in memory, 2.0 MB as stored (4.0 MB where" in shown
    assert "Weighted sum" not in shown
    assert "Weighted sum" in draw.form(WORDS.text, begun, models, [], rules, None)
    actions = draw.actions(WORDS.text, alone)
    assert 'data-act="save"' not in actions
    assert 'data-act="into"' in actions


def test_what_was_made_before_stays_in_sight() -> None:
    state = mixer.begin(MODELS)
    for job in ("merge-1", "merge-2", "measured-1", "merge-2"):
        state = mixer.started(state, job)
    assert state.jobs == ("merge-2", "measured-1", "merge-1")
    for job in "abc":
        state = mixer.started(state, job)
    assert state.jobs == ("c", "b", "a", "merge-2")


def test_what_was_made_is_called_as_it_is_in_the_playground() -> None:
    facts = {"rank": 4, "error": 0.0, "size_bytes": 10, "input_bytes": 20}
    shown = draw._found(WORDS.text, Product("merge-2", "merge", "done", 1, "/made", (), facts, None))
    assert "It answers as merge-2, here and in the playground." in shown
    assert model_label(WORDS.text, "merge:merge-2") == "merge-2"


def test_one_run_alone_goes_into_the_base_with_its_weight_and_a_mix_by_its_name() -> None:
    alone = Mixer("starter", (("run:a-1", 0.5),))
    assert mixer.base_request(alone) == MergeRequest(["run:a-1"], weights=[0.5])
    small = [replace(model, in_4_bit=True) for model in MODELS]
    both = replace(mixer.begin(small), how="ties", exact=True)
    assert mixer.base_request(both) == MergeRequest([both.model], exact=True)
    saved = mixer.save_request(replace(both, density=0.2))
    assert saved == MergeRequest(("run:b-2", "run:a-1"), "ties", (0.5, 0.5), {}, compress=0.2)


def test_a_merge_that_is_not_the_same_as_the_original_says_so() -> None:
    figures = {"max_difference": 0.5, "mean_difference": 0.01, "largest": 10.0, "bound": 0.001}
    facts = {"prompts": 8, "verified": {**figures, "passed": False}, "ways": None}
    product = Product("merge-1", "merge", "done", 1, "/made", (), facts, None)
    shown = draw._found(WORDS.text, product)
    assert "Not the same as the original" in shown
    assert "0.5 at most" in shown
    same = replace(product, facts={**facts, "verified": {**figures, "passed": True}})
    assert "Same as the original" in draw._found(WORDS.text, same)


def test_the_lowest_loss_of_a_line_is_bold() -> None:
    measured = [{"of": "run:a-1", "rows": 9, "losses": {"base": 2.0, "run:a-1": 1.0, "mix": 1.5}}]
    shown = draw.losses(WORDS.text, measured)
    assert "<strong>1.00</strong>" in shown
    assert "a-1 (9 rows)" in shown
    assert shown.count("<strong>") == 1


def test_the_answer_streams_and_a_refusal_stands_in_its_place(tmp_path: Path) -> None:
    facade = FakeFacade(tmp_path)
    page = type("Page", (), {"facade": facade, "text": WORDS.text, "words": WORDS})()
    state = replace(mixer.begin(facade.mixable()), prompt="What now?")
    drawn = list(tab.answered(page, state))
    assert "answer-text" in drawn[-1]
    assert "Tick a run" in next(iter(tab.answered(page, replace(state, weights=()))))
    error = {"code": "run_missing", "facts": {"run": "lost-1"}}
    facade.chat = lambda _: iter([ChatDelta(0, "", done=True, error=error)])
    assert "lost-1" in list(tab.answered(page, state))[-1]
    facade.close()
