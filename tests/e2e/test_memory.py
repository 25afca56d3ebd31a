"""The memory panel in a real browser: a plan that doesn't fit, and one click that makes it fit."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

SIZES = "hub:Qwen/Qwen2.5-0.5B-Instruct"  # known without a download


def open_too_large(page: Page, address: str) -> None:
    """The expert's form with more rows at a time than any machine that runs this test has memory for."""
    page.goto(f"{address}&tab=train&model={SIZES}&dataset=pirate")
    field = page.get_by_role("textbox", name="Batch", exact=True)
    field.fill("256")
    field.press("Tab")
    expect(page.locator(".make-fit")).to_be_visible()


def test_one_click_makes_a_plan_fit(page: Page, address: str):
    open_too_large(page, address)
    chosen = page.locator(".method-bar.chosen")
    expect(chosen).to_contain_text("Too big")
    assert page.locator(".method-bar").count() == 5
    page.locator(".fits .row", has_text="rows at a time").or_(
        page.locator(".fits .row", has_text="row at a time")
    ).first.get_by_role("button").click()
    expect(chosen).to_contain_text("Fits")
    expect(page.locator(".make-fit")).to_have_count(0)
    rows = int(page.get_by_role("textbox", name="Batch", exact=True).input_value())
    assert rows < 256
    expect(page.locator("#plan-command")).to_contain_text(f"--batch {rows}")
    expect(page.locator("#plan-command")).to_contain_text(f"accumulation={256 // rows}")
    expect(page).to_have_url(re.compile("accumulation"))


def test_parts_are_explained_and_the_most_that_fits_follows(page: Page, address: str):
    page.goto(f"{address}&tab=train&model={SIZES}&dataset=pirate")
    bar = page.locator(".method-bar.chosen .stack")
    expect(bar.locator(".part.weights")).to_have_attribute("title", re.compile("The model itself"))
    page.locator(".memory-card summary").click()
    expect(page.locator(".memory-card table").first).to_contain_text("Activations")
    expect(page.locator(".limits-card")).to_contain_text("Largest model, one row at a time")
