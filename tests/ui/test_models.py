"""The Models tab: what it shows of the disk, what it asks before something goes, what a click does."""

import re
from dataclasses import replace

import pytest

from backend.api import Dependent
from studio.errors import StudioError
from studio.models.config import load_config
from tests import fake_content
from tests.fake_library import HOLDINGS, MIB
from ui import catalogue
from ui.fragments import library, run
from ui.selection import Selection
from ui.tabs import models, runs

HUB = HOLDINGS[1]


def drawn(page, query=""):
    tab = models.build()
    updates = models.shown(tab, page, query)
    return {name: str(updates[getattr(tab, name)]) for name in ("head", "downloads", "held", "found")}


def test_every_holding_stands_there_once_with_its_size_and_checkpoints_inside_their_run(page):
    html = drawn(page)["held"]
    assert re.findall(r'data-holding="([^"]+)"', html) == [item.name for item in HOLDINGS]
    assert html.count("<li") == len(HOLDINGS)
    fold = html[html.index('id="checkpoints-pirate-1"') :]
    inside = fold[: fold.index("</details>")]
    assert re.findall(r'data-holding="([^"]+)"', inside) == ["run:pirate-1@300", "run:pirate-1@200"]
    assert "2 checkpoints" in inside
    assert html.count("272 MB</span>") == 2
    assert "Not there any more" in html


def test_the_question_names_what_goes_what_stays_and_who_loses_something(words):
    asked = library.sure(words.text, HUB, "SmolLM2")
    assert "frees 272 MB" in asked
    assert "pirate-1 needs it to answer" in asked
    assert "merge-1 was made out of it" in asked
    assert "/elsewhere/merged stay" in library.sure(words.text, HOLDINGS[-1], "merge-1")
    assert "frees" not in library.sure(words.text, HOLDINGS[2], "own")


def test_a_click_deletes_with_the_knowledge_that_the_page_had(page, facade):
    with pytest.raises(StudioError):
        models.apply(page, {"act": "remove", "name": HUB.name, "knowing": "pirate-1"})
    models.apply(page, {"act": "remove", "name": HUB.name, "knowing": "pirate-1 merge-1"})
    assert HUB.name not in [item.name for item in facade.holdings]


def test_what_came_with_the_studio_or_is_in_use_has_no_button_to_press(page):
    html = drawn(page)["held"]
    assert 'data-name="starter"' not in html
    button = next(b for b in re.findall(r"<button[^>]+>", html) if 'data-name="merge:merge-1"' in b)
    assert " disabled" in button


def test_a_merge_says_what_it_was_made_of(page):
    html = drawn(page)["held"]
    row = html[html.index('data-holding="merge:merge-1"') :]
    assert "made of pirate-1 · over SmolLM2 135M Instruct" in row[: row.index("</li>")]


def test_what_another_would_never_answer_without_has_no_button_to_press(words):
    run = replace(HOLDINGS[3], dependents=(Dependent("story-1", "train", True),))
    assert "story-1 needs it to answer" in library.held(words.text, [*HOLDINGS[:2], run], {})
    pressed = str(library.remove(words.text, run, "pirate-1"))
    assert " disabled" in pressed
    assert " disabled" not in str(library.remove(words.text, HUB, "SmolLM2"))


def test_the_question_of_a_run_names_what_came_out_of_it(page, facade):
    asked = re.search(r'data-confirm="([^"]+)"', str(run.watch(page.text, facade.run("pirate-1"), None)))[1]
    assert asked.startswith("Delete pirate-1")
    assert "merge-1 was made out of it" in asked
    with pytest.raises(StudioError):
        runs.apply(page, Selection(), {"act": "delete", "run": "pirate-1", "knowing": ""})
    runs.apply(page, Selection(), {"act": "delete", "run": "pirate-1", "knowing": "merge-1"})
    assert "pirate-1" not in [r.run for r in facade.runs()]


def test_a_run_that_another_needs_asks_nothing_and_says_why_at_once(page, facade):
    needed = (Dependent("story-1", "train", True),)
    detail = facade.run("pirate-1")
    detail = replace(detail, holding=replace(detail.holding, dependents=needed))
    html = str(run.watch(page.text, detail, None))
    button = next(b for b in re.findall(r"<button[^>]+>", html) if 'data-act="delete"' in b)
    assert "data-confirm" not in button
    assert 'data-knowing="story-1"' in button


def test_a_hub_id_is_downloaded_and_a_folder_listed(page, facade):
    assert library.add(page.text) != library.add(page.text)  # an equal one would not be drawn anew
    models.add(page, "ada/some-model")
    assert facade.asked == ["hub:ada/some-model"]
    models.add(page, "/models/x")
    assert facade.holdings[-1].name == "path:/models/x"
    assert len(facade.asked) == 1


def test_an_empty_field_is_asked_for_a_name(page, facade):
    with pytest.raises(StudioError) as caught:
        models.apply(page, {"act": "model-own", "value": "  "})
    assert caught.value.code == "model_name_empty"
    assert facade.asked == []


@pytest.mark.parametrize("typed", ["0.000001", "1", "1.5", "250", "0.1"])
def test_the_limit_stands_there_as_it_was_typed(page, typed):
    models.apply(page, {"act": "quota", "value": typed})
    assert f'value="{typed}"' in drawn(page)["head"]


def test_the_limit_warns_and_goes_again(page, facade):
    assert "more than you wished" not in drawn(page)["head"]
    models.apply(page, {"act": "quota", "value": "0.25"})
    assert facade.quota == 256 * MIB
    assert "more than you wished" in drawn(page)["head"]
    models.apply(page, {"act": "quota", "value": ""})
    assert facade.quota is None


def test_a_download_can_be_stopped_and_one_that_failed_says_why_and_goes_on(page):
    html = drawn(page)["downloads"]
    assert 'aria-valuenow="62"' in html
    assert re.findall(r'data-act="(\w+)" type="button" data-run="([^"]+)"', html) == [
        ("stop", "download-3"),
        ("resume", "download-2"),
        ("drop", "download-2"),
    ]
    assert "there is room for 90 GB" in html


def test_only_the_starter_leads_to_the_wizard(page, facade):
    facade.empty_the_disk()
    assert 'data-go="home"' in drawn(page)["held"]


@pytest.mark.parametrize(("query", "some"), [("", True), ("smollm2 apache", True), ("zebra", False)])
def test_search_wants_every_word(query, some):
    found = catalogue.search(fake_content.MODELS, query)
    assert bool(found) is some
    for model in found:
        about = f"{model.name} {model.title} {model.summary} {model.licence} {model.architecture}".lower()
        assert all(word in about for word in query.split())


def test_nothing_found_says_what_to_do(page):
    assert "added by its id" in drawn(page, "zebra")["found"]


def test_a_broken_config_of_the_persons_own_folder_is_to_be_copied_again(words, tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(StudioError) as caught:
        load_config(tmp_path / "config.json")
    assert "copy the folder again" in words.error(caught.value)[1]
