from dataclasses import replace

from studio.errors import Reason
from ui import forms
from ui.fragments.html import h

METHOD = "lora"


def fields_of(facade, words, given):
    draft = facade.draft("starter", "pirate", METHOD, given)
    method = next(m for m in facade.methods() if m["id"] == METHOD)
    return {f.address: f for f in forms.fields(words, facade.settings(METHOD), method, draft, given)}


def test_every_declared_setting_is_a_field(facade, words):
    declared = {p["name"] for p in facade.settings(METHOD)} | {
        p["name"] for p in facade.methods()[0]["params"]
    }
    assert {f.info["name"] for f in fields_of(facade, words, {}).values()} == declared


def test_an_automatic_value_shows_its_reason_and_a_given_one_can_be_taken_back(facade, words):
    automatic = forms.render(words.text, fields_of(facade, words, {})["batch"])
    assert "gain nothing" in automatic
    assert words.text("form.reset") not in automatic
    given = forms.render(words.text, fields_of(facade, words, {"batch": "3"})["batch"])
    assert "changed" in given
    assert 'value="3"' in given
    assert words.text("form.reset") in given


def test_a_wrong_value_stays_in_its_field_with_what_is_wrong(facade, words):
    field = fields_of(facade, words, {"batch": "many"})["batch"]
    assert field.problem
    drawn = forms.render(words.text, field)
    assert 'value="many"' in drawn
    assert 'aria-invalid="true"' in drawn
    assert str(h("p", field.problem))[3:-4] in drawn


def test_a_setting_that_was_given_and_switched_off_says_why(facade, words):
    given = fields_of(facade, words, {"gradient_checkpointing": "true"})["gradient_checkpointing"]
    assert "Computes activations twice" in forms.render(words.text, given)
    why = words.reason(Reason("checkpointing_nothing_kept", {"method": "lst"}))
    drawn = forms.render(words.text, replace(given, reason=why))
    assert "lst only reads the model" in drawn
    assert words.text("form.reset") in drawn


def test_choices_are_a_list_and_switches_too(facade, words):
    fields = fields_of(facade, words, {})
    assert "<option" in forms.render(words.text, fields["schedule"])
    assert '<option value="false" selected>' in forms.render(words.text, fields["gradient_checkpointing"])


def test_a_field_has_a_label_and_names_its_help(facade, words):
    drawn = forms.render(words.text, fields_of(facade, words, {})["lr"])
    assert '<label for="set-lr">' in drawn
    assert 'aria-describedby="set-lr-line"' in drawn
    assert 'id="set-lr-line"' in drawn


def test_a_field_names_what_the_model_offers(facade, words):
    field = replace(fields_of(facade, words, {})["targets"], offers=("q_proj", "v_proj"))
    assert "This model has: q_proj, v_proj." in forms.render(words.text, field)
    refused = forms.render(words.text, replace(field, problem="There is none."))
    assert "This model has" not in refused
