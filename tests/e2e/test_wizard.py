"""A newcomer's way from the first click to the chat, and what must outlive a refresh or a killed screen."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import BrowserContext, Page, expect

from tests.e2e.conftest import screen

STEPS = 24  # enough for a curve; how good a default run gets is measured in benchmarks


def to_data(page: Page, goal: str = "style") -> None:
    """Click through steps 1 and 2 with the starter, to the data."""
    page.locator(f'[data-goal="{goal}"]').click()
    page.locator('[data-act="model"][data-name="starter"]').click()
    page.get_by_role("button", name="Next: your data").click()


def to_typed_rows(page: Page) -> None:
    """On to the data, and there to rows that one types."""
    to_data(page, goal="facts")
    page.get_by_role("tab", name="Type or paste").click()


def choose(page: Page, steps: int, dataset: str = "pirate") -> None:
    """Click through steps 1 to 4: style, the starter, a sample, the defaults but for their length."""
    to_data(page)
    page.locator(f'[data-act="dataset"][data-name="{dataset}"]').click()
    expect(page.locator(".token-row").first).to_be_visible()
    page.get_by_role("button", name="Next: how it trains").click()
    field = page.get_by_role("textbox", name="Steps")
    field.fill(str(steps))
    field.press("Tab")
    expect(page.locator(".plan")).to_contain_text(f"{steps} steps")


def start(page: Page) -> str:
    """Start it, and wait for the first point; gives the run's name from the address."""
    page.get_by_role("button", name="Start training").click()
    expect(page.locator("#step-watch .headline h2")).to_be_visible()
    expect(page.locator("#watch-chart .scatterlayer .trace").first).to_be_attached()
    page.wait_for_url(re.compile("[?&]run="))  # the address follows with the next frame
    return parse_qs(urlsplit(page.url).query)["run"][0]


def step_shown(page: Page) -> int:
    """The headline number "Step"."""
    text = page.locator("#step-watch .numbers dd").first.inner_text()
    return int(text.replace(",", "")) if text.replace(",", "").isdigit() else 0


def goes_beyond(page: Page, place: str, step: int) -> None:
    """Wait until the run shown there has done more than `step` steps."""
    page.wait_for_function(
        "([place, step]) => "
        "+document.querySelector(place + ' .numbers dd').innerText.replace(',', '') > step",
        arg=[place, step],
    )


def stop(page: Page, place: str) -> None:
    """Stop the run shown there."""
    page.get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Stop it").click()
    expect(page.locator(f"{place} .headline")).to_contain_text("Stopped")


def test_from_the_first_click_to_base_and_tuned_side_by_side(page: Page):
    choose(page, STEPS)
    learned = page.locator(".plan")
    expect(learned).to_contain_text("Starter")
    start(page)
    expect(page.locator("#step-watch .badge.good")).to_have_text("Done")
    page.get_by_role("button", name="Next: compare in chat").click()
    page.get_by_label("Your question").fill("What is the opposite of hot?")
    page.get_by_label("Your question").press("Enter")
    for side in ("base", "tuned"):
        answer = page.locator(f"#wizard-talk .answer.{side}")
        expect(answer.locator(".answer-facts")).to_contain_text("tokens")
        assert answer.locator(".answer-text").inner_text().strip()


def test_preview_marks_the_answer_and_not_the_question(page: Page):
    to_data(page)
    page.locator('[data-act="dataset"][data-name="pirate"]').click()
    row = page.locator(".token-row p").first
    expect(row).to_be_visible()
    learned = "".join(row.locator("mark").all_inner_texts())
    assert re.search(r"\b(arr|ahoy|matey|aye|ye|yer|avast)\b", learned, re.IGNORECASE)
    assert row.locator("span").count() > 0


def test_a_refusal_is_gone_once_one_goes_on(page: Page):
    page.locator('[data-goal="style"]').click()
    page.locator("#own-model").fill("/no/such/folder")
    page.get_by_role("button", name="Use this one").click()
    expect(page.locator(".notice")).to_contain_text("/no/such/folder")
    page.locator('[data-act="model"][data-name="starter"]').click()
    expect(page.locator(".notice")).to_have_count(0)
    expect(page.get_by_role("button", name="Next: your data")).to_be_enabled()


def test_five_pasted_rows_can_be_learned(page: Page):
    to_typed_rows(page)
    first = page.get_by_role("textbox", name="Question 1")
    first.focus()
    page.evaluate(
        """([cell, text]) => { const data = new DataTransfer(); data.setData("text/plain", text);
        document.querySelector(cell).dispatchEvent(
          new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })); }""",
        ["[data-cell=prompt]", "\n".join(f"Who is number {i}?\tNumber {i} is me." for i in range(5))],
    )
    page.get_by_role("button", name="Use these rows").click()
    expect(page.locator(".found .numbers dd").first).to_have_text("5")
    expect(page.get_by_role("button", name="Next: how it trains")).to_be_enabled()


def test_half_typed_rows_are_there_after_a_look_elsewhere(page: Page):
    to_typed_rows(page)
    question = page.get_by_role("textbox", name="Question 1")
    question.fill("Who are you?")
    page.get_by_role("tab", name="A sample").click()
    expect(page.locator('[data-act="dataset"]').first).to_be_visible()
    page.get_by_role("tab", name="Type or paste").click()
    expect(question).to_have_value("Who are you?")
    page.get_by_role("textbox", name="Answer 1").fill("A studio.")
    page.get_by_role("button", name="Back").click()
    page.get_by_role("button", name="Next: your data").click()
    expect(page.get_by_role("textbox", name="Answer 1")).to_have_value("A studio.")
    page.get_by_role("button", name="Use these rows").click()
    expect(page.locator(".found .numbers dd").first).to_have_text("1")
    expect(page).to_have_url(re.compile("dataset="))  # the address follows with the next frame
    page.reload()
    expect(question).to_have_value("Who are you?")


def test_a_double_click_starts_one_run(tmp_path: Path, context: BrowserContext):
    with screen(tmp_path / "home") as (_, url):
        page = context.new_page()
        page.goto(url)
        choose(page, 4)
        page.get_by_role("button", name="Start training").dblclick()
        expect(page.locator("#step-watch .badge.good")).to_have_text("Done")
        page.locator(".rail [data-go=runs]").click()
        expect(page.locator(".run-list .run-row").first).to_be_visible()
        assert page.locator(".run-list .run-row").count() == 1


def test_refresh_keeps_the_curve_and_the_run(page: Page, context: BrowserContext):
    choose(page, 600)
    run = start(page)
    seen = step_shown(page)
    page.reload()
    expect(page.locator("#step-watch .headline h2")).to_have_text(run)
    expect(page.locator("#watch-chart .scatterlayer .trace").first).to_be_attached()
    assert step_shown(page) >= seen
    other = context.new_page()  # a second page on the same run
    other.goto(page.url)
    expect(other.locator("#step-watch .headline h2")).to_have_text(run)
    other.close()

    stop(page, "#step-watch")
    stopped_at = step_shown(page)
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#step-watch .headline")).to_contain_text("Running")
    goes_beyond(page, "#step-watch", stopped_at)
    stop(page, "#step-watch")


def test_a_killed_screen_leaves_the_run_alive_and_a_new_one_shows_it(tmp_path: Path, context: BrowserContext):
    home = tmp_path / "home"
    with screen(home) as (process, url):
        page = context.new_page()
        page.goto(url)
        choose(page, 600)
        run = start(page)
        before = step_shown(page)
        process.kill()
        process.wait()
        expect(page.get_by_text("The page lost the studio.")).to_be_visible()
    with screen(home) as (_, url):
        page.goto(url + f"&tab=runs&run={run}")
        expect(page.locator("#run-head .headline")).to_contain_text("Running")
        goes_beyond(page, "#run-head", before)
        expect(page.locator("#run-loss .scatterlayer .trace").first).to_be_attached()
        stop(page, "#run-head")


def test_a_model_from_the_others_is_chosen_by_keyboard_and_stays_in_sight(page: Page):
    page.locator('[data-goal="style"]').click()
    rows = page.locator('#step-model [data-act="model"]')
    expect(rows.first).to_be_visible()
    large = page.locator('[data-act="model"][data-name="hub:meta-llama/Llama-3.3-70B-Instruct"]')
    expect(large).to_be_hidden()
    page.locator("#step-model summary").focus()
    page.keyboard.press("Enter")
    expect(large).to_be_visible()
    large.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".plan")).to_contain_text("Llama 3.3 70B Instruct")
    expect(large).to_have_attribute("aria-pressed", "true")
    expect(large).to_be_visible()
    names = rows.evaluate_all("rows => rows.map((row) => row.dataset.name)")
    assert len([name for name in names if not name.startswith("merge")]) == 40  # others merge in this home
