"""The door, the tabs, the keyboard and small windows."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from ui import running

TABS = {
    "home": "#step-goal h1",
    "train": "#train-form h1",
    "runs": "#runs-list h2, #runs-list h1",
    "playground": "#playground-picker .picker",
    "models": "#models-head h1",
    "system": "#system-cards h1",
}


def test_without_the_token_a_page_says_how_to_get_in(context: BrowserContext, address: str):
    page = context.new_page()
    plain = urlsplit(address)._replace(query="").geturl()
    answer = page.goto(plain)
    assert answer is not None
    assert answer.status == 401
    expect(page.get_by_role("heading", name="This studio is private")).to_be_visible()
    page.goto(address)
    page.wait_for_url("**/")
    assert "token" not in page.url
    expect(page.get_by_role("heading", name="Make a language model your own")).to_be_visible()


def test_the_file_that_the_browser_is_given_leads_to_the_studio(
    context: BrowserContext, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    running.open_browser(tmp_path, address)
    page = context.new_page()
    page.goto(opened[0])
    expect(page.get_by_role("heading", name="Make a language model your own")).to_be_visible()
    assert "token" not in page.url


def test_scripts_can_not_read_the_cookie(page: Page):
    assert page.evaluate("document.cookie") == ""


def test_every_tab_opens_and_comes_back_after_a_refresh(page: Page):
    for name, place in TABS.items():
        page.locator(f'.rail [data-go="{name}"]').click()
        expect(page.locator(place).first).to_be_visible()
        expect(page.locator(f'.rail [data-go="{name}"]')).to_have_attribute("aria-current", "page")
    page.reload()
    expect(page.locator(TABS["system"]).first).to_be_visible()


def test_the_tab_of_an_address_is_open_before_the_studio_answers(context: BrowserContext, address: str):
    page = context.new_page()
    page.route("**/queue/**", lambda route: route.abort())
    page.goto(f"{address}&tab=models")
    expect(page.locator("#tab-models-button")).to_have_attribute("aria-selected", "true")
    expect(page.locator('.rail [data-go="models"]')).to_have_attribute("aria-current", "page")


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_no_screen_scrolls_sideways(browser: Browser, address: str, width: int):
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = context.new_page()
    page.goto(address)
    for name, place in TABS.items():
        page.locator(f'.rail [data-go="{name}"]').click()
        expect(page.locator(place).first).to_be_visible()
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")  # once it is laid out
    context.close()


def test_the_first_steps_can_be_done_by_keyboard(page: Page):
    page.locator('[data-goal="style"]').focus()
    page.keyboard.press("Enter")
    expect(page.locator('[data-act="model"]').first).to_be_visible()
    page.locator('[data-act="model"][data-name="starter"]').focus()
    page.keyboard.press("Space")
    following = page.get_by_role("button", name="Next: your data")
    expect(following).to_be_enabled()
    following.focus()
    page.keyboard.press("Enter")
    expect(page.locator('[data-act="dataset"]').first).to_be_visible()


def test_the_persons_choice_of_dark_outlives_a_refresh(page: Page):
    before = page.evaluate("document.documentElement.dataset.theme")
    page.get_by_role("button", name="Light or dark").click()
    page.reload()
    page.locator(TABS["home"]).first.wait_for()
    assert page.evaluate("document.documentElement.dataset.theme") != before


def test_what_is_typed_is_never_markup(page: Page):
    page.locator('[data-goal="facts"]').click()
    page.get_by_label("Or your own").fill("<img src=x onerror=alert(1)>")
    page.get_by_role("button", name="Use this one").click()
    expect(page.get_by_role("alert")).to_contain_text("<img src=x")
    assert page.locator("img[src=x]").count() == 0
