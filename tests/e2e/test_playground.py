"""Compare and vote: two panes over the real engine, in a real browser, and what a reload must not lose."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Download, Page, expect

from backend.api.chat import CANCELLED
from backend.facade import StudioFacade
from benchmarks.screens import TOKEN, served
from tests.e2e.conftest import screen
from tests.fake_facade import FakeFacade

STEPS = 8


@pytest.fixture(scope="module")
def address(studio_home: Path) -> Iterator[str]:
    """A screen on a home with one run that is done."""
    facade = StudioFacade(studio_home)
    run = facade.start("starter", "pirate", set={"steps": STEPS})
    states = [summary.state for summary in facade.wait(run)]
    facade.close()
    assert states[-1] == "done"
    with screen(studio_home) as (_, url):
        yield url


@pytest.fixture
def playground(page: Page) -> Page:
    page.locator('.rail [data-go="playground"]').click()
    expect(page.locator("#playground-picker select")).to_have_count(2)
    return page


def ask(page: Page, question: str) -> None:
    """Ask, and wait until all have answered."""
    before = page.locator("#playground-talk .turn").count()
    box = page.locator("#playground-box textarea")
    box.fill(question)
    box.press("Enter")
    expect(page.locator("#playground-talk .turn")).to_have_count(before + 1)
    expect(page.locator("#playground-box [data-event=send]")).to_be_visible()


def texts(page: Page) -> list[str]:
    return page.locator("#playground-talk .answer-text").all_inner_texts()


def test_compare_and_vote_outlive_a_reload(playground: Page):
    page = playground
    ask(page, "What is the opposite of hot?")
    answers = page.locator("#playground-talk .answer")
    expect(answers).to_have_count(2)
    expect(answers.first).to_contain_text("Base: starter")
    expect(answers.last).to_contain_text("Tuned: pirate-")
    hashes = [page.locator(".proof summary").nth(i).get_attribute("title") or "" for i in range(2)]
    assert "Adapter" not in hashes[0]
    assert "Adapter" in hashes[1]
    base, template = hashes[0].splitlines()
    assert base in hashes[1]
    assert template in hashes[1]
    page.get_by_role("button", name="Right is better").click()
    expect(page.locator("#playground-talk .answer.best")).to_contain_text("Tuned: pirate-")
    ask(page, "And of big?")
    said = texts(page)
    assert len(said) == 4
    page.reload()
    expect(page.locator("#playground-talk .answer-text")).to_have_count(4)
    assert texts(page) == said
    expect(page.locator("#playground-talk .answer.best")).to_contain_text("Tuned: pirate-")
    page.locator(".drawer summary", has_text="Votes").click()
    expect(page.locator(".pair").first).to_contain_text("won 1 of 1: 100 %, likely 21 % to 100 %")


def test_a_number_outside_its_range_is_shown_as_what_holds(playground: Page):
    playground.locator("#playground-sampling summary").click()
    for typed, holds in (("-99", "0"), ("99", "2"), ("0.3", "0.3")):
        field = playground.get_by_label("Temperature")
        field.fill(typed)
        field.press("Tab")
        expect(field).to_have_value(holds)


def test_a_blind_pair_is_known_after_the_vote(playground: Page):
    page = playground
    page.get_by_role("button", name="New", exact=True).click()
    expect(page.locator("#playground-talk .suggestion").first).to_be_visible()
    page.get_by_label("Blind").check()
    expect(page.get_by_text("hidden until you vote")).to_be_visible()
    ask(page, "What is the opposite of hot?")
    turn = page.locator("#playground-talk .turn")
    expect(turn.get_by_text("Answer A")).to_be_visible()
    assert "pirate" not in turn.locator(".answer-head").all_inner_texts()
    expect(turn.locator(".proof")).to_have_count(0)
    turn.get_by_role("button", name="Left is better").click()
    expect(turn.locator(".chip.base")).to_be_visible()
    expect(turn.locator(".chip.tuned")).to_be_visible()
    expect(turn.get_by_role("button", name="Right is better")).to_be_disabled()


def test_a_question_asked_again_or_changed_makes_a_branch(playground: Page):
    page = playground
    page.get_by_role("button", name="New", exact=True).click()
    expect(page.locator("#playground-talk .suggestion").first).to_be_visible()
    ask(page, "Tell me a short story.")
    page.get_by_role("button", name="Ask again with the next seed").click()
    expect(page.locator("#playground-talk .said-tools")).to_contain_text("2 of 2")
    expect(page.locator("#playground-talk .answer-facts").first).to_contain_text("seed 1")
    page.get_by_role("button", name="The version before").click()
    expect(page.locator("#playground-talk .answer-facts").first).to_contain_text("seed 0")
    page.get_by_role("button", name="Change the question").click()
    edit = page.locator("#playground-talk textarea")
    edit.fill("What is the opposite of big?")
    edit.press("Enter")
    expect(page.locator("#playground-talk .said-tools")).to_contain_text("3 of 3")


def test_stop_and_a_reload_in_mid_answer_keep_what_came(context: BrowserContext, tmp_path: Path):
    facade = FakeFacade(tmp_path, chat_seconds=0.5)  # words slow enough to be cut off between them
    with served(facade) as root:
        page = context.new_page()
        page.goto(f"{root}/?token={TOKEN}")
        page.locator('.rail [data-go="playground"]').click()
        page.locator("#playground-talk .suggestion").first.click()
        stop = page.locator("#playground-box [data-act=halt]")
        expect(page.locator("#playground-talk .answer-text")).to_contain_text(["You asked"])
        stop.click()
        expect(page.locator("#playground-talk .badge.wait").first).to_have_text("stopped")
        expect(page.locator("#playground-box [data-event=send]")).to_be_visible()
        page.locator("#playground-box textarea").fill("And then?")
        page.locator("#playground-box textarea").press("Enter")
        expect(page.locator("#playground-talk .answer-text").nth(2)).to_contain_text("You asked")
        page.reload()
        expect(page.locator("#playground-talk .turn")).to_have_count(2)
        expect(stop).to_have_count(0)
        while not all(turn.answers[0].done for turn in facade.conversation(1).turns):
            page.wait_for_timeout(200)
        first, second = facade.conversation(1).turns
        assert second.parent == first.id
        for turn in (first, second):
            assert turn.answers[0].text.startswith("You asked")
            assert turn.answers[0].finish_reason == CANCELLED
    facade.close()


def test_a_file_of_prompts_is_put_to_both_and_taken_out_as_a_table(playground: Page, tmp_path: Path):
    page = playground
    file = tmp_path / "ask.txt"
    file.write_text("What is the opposite of hot?\nWhat is the opposite of big?\n")
    page.locator("#playground-prompts summary").click()
    upload = page.locator("#playground-prompts input[type=file]")
    upload.set_input_files({"name": "bad.txt", "mimeType": "text/plain", "buffer": b"\x00\x01\xff" * 99})
    expect(page.locator(".notice")).to_contain_text("bad.txt")
    upload.set_input_files(file)
    expect(page.locator(".notice")).to_have_count(0)
    page.get_by_role("button", name="Ask 2").click()
    expect(page.get_by_role("button", name="All asked")).to_be_visible()
    expect(page.locator("#playground-talk .set-table .answer")).to_have_count(4)
    page.locator(".drawer summary", has_text="Export").click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Table (CSV)").click()
    download: Download = waiting.value
    head, *rows = Path(download.path()).read_text().splitlines()
    assert head.startswith("prompt,starter,run:pirate-")
    assert [row.split("?")[0] for row in rows] == [
        "What is the opposite of hot",
        "What is the opposite of big",
    ]


def test_four_models_stand_in_one_line_above_the_answers(browser: Browser, tmp_path: Path):
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    with served(FakeFacade(tmp_path)) as root:
        page = context.new_page()
        page.goto(f"{root}/?token={TOKEN}&tab=playground")
        panes = page.locator("#playground-picker .pane-pick")
        for count in (3, 4):
            page.locator('[data-act="add-pane"]').click()
            expect(panes).to_have_count(count)
        boxes = [pane.bounding_box() for pane in panes.all()]
        assert len({box["y"] for box in boxes}) == 1
        assert min(box["width"] for box in boxes) > 160
    context.close()
