"""A person who is quicker than the studio: no act is dropped, no answer lost, the last one wins."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from benchmarks.screens import TOKEN, served
from tests.fake_facade import FakeFacade
from ui import steps
from ui.fragments.format import DASH
from ui.tabs import home, merge, models, playground

# Under the page: the end of the stream of answers arrives late, as from a machine that is busy or far away.
LATE_END = """
const ask = window.fetch;
window.fetch = async (target, options) => {
  const response = await ask(target, options);
  if (!String(target.url || target).includes("/queue/data")) return response;
  const late = new TransformStream({
    async transform(part, out) {
      const ends = new TextDecoder().decode(part).includes("close_stream");
      if (ends) await new Promise((resume) => setTimeout(resume, 1500));
      out.enqueue(part);
    },
  });
  return new Response(response.body.pipeThrough(late), { headers: response.headers });
};
"""
TICK_TICK_RULE = """() => {
  for (const _ of [1, 2]) document.querySelector("#mix-form [data-act=take]").click();
  const rule = document.querySelector("#mix-form [data-act=how]");
  rule.value = "svd";
  rule.dispatchEvent(new Event("change", { bubbles: true }));
}"""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A screen over a facade in memory whose answers take a second."""
    with served(FakeFacade(tmp_path, chat_seconds=0.08)) as root:
        yield f"{root}/?token={TOKEN}"


def held_up(monkeypatch: pytest.MonkeyPatch, tab: ModuleType, name: str) -> threading.Event:
    """What the tab's function draws is not answered before the event is set."""
    draw, go = getattr(tab, name), threading.Event()

    def late(*given: Any) -> Any:
        assert go.wait(60)
        return draw(*given)

    monkeypatch.setattr(tab, name, late)
    return go


def test_an_answer_comes_though_the_stream_is_about_to_end(context: BrowserContext, address: str):
    page = context.new_page()
    page.add_init_script(LATE_END)
    page.add_init_script("window.setInterval = () => 0")  # no ticks: nothing else asks for a new stream
    page.goto(f"{address}&tab=playground")
    page.locator("#playground-picker .picker").wait_for()
    page.wait_for_timeout(300)  # the answer is drawn, the end of the stream on its way
    page.locator('.rail [data-go="models"]').click()
    expect(page.locator("#models-head h1")).to_be_visible()


def test_two_ticks_and_a_rule_at_once_all_count(context: BrowserContext, address: str):
    page = context.new_page()
    page.goto(f"{address}&tab=merge")
    first = page.locator("#mix-form [data-act=take]").first
    expect(first).to_be_checked()
    for _ in range(3):
        page.evaluate(TICK_TICK_RULE)
        expect(page.locator("#mix-form [data-act=how]")).to_have_value("svd")
        expect(page.locator("#mix-answer .chip")).to_have_attribute("title", re.compile("svd"))
        expect(first).to_be_checked()
        expect(page.locator("#mix-answer .answer-facts")).to_be_visible()
        page.locator("#mix-form [data-act=how]").select_option("linear")


def test_a_tab_opened_before_the_first_answer_still_follows(
    context: BrowserContext, address: str, monkeypatch: pytest.MonkeyPatch
):
    """The answer to the page's first question comes after that to the click, and changes nothing there."""
    drawn = held_up(monkeypatch, home, "loaded")
    page = context.new_page()
    page.goto(address)
    page.locator('.rail [data-go="system"]').click()
    first = page.locator("#system-cards .card").first
    expect(first).to_be_visible()
    drawn.set()
    page.wait_for_timeout(1500)  # the late answer is there
    first.evaluate("(card) => card.dataset.mark = 'old'")
    expect(page.locator("#system-cards [data-mark]")).to_have_count(0)


def test_an_act_in_a_tab_that_is_about_to_be_drawn_is_not_undone(
    context: BrowserContext, address: str, monkeypatch: pytest.MonkeyPatch
):
    """Back in a tab that shows what it did before: a click counts though the tab is drawn again after it."""
    page = context.new_page()
    page.goto(f"{address}&tab=merge")
    take = page.locator("#mix-form [data-act=take]").first
    expect(take).to_be_checked()
    page.locator('.rail [data-go="system"]').click()
    expect(page.locator("#system-cards .card").first).to_be_visible()
    opened = merge.opened

    def late(*given: Any) -> Any:
        time.sleep(2)
        return opened(*given)

    monkeypatch.setattr(merge, "opened", late)
    page.locator('.rail [data-go="merge"]').click()
    take.click()
    page.wait_for_timeout(4000)  # both answers are there
    expect(take).not_to_be_checked()
    expect(page.locator("#mix-form output").first).to_have_text(DASH)


def test_the_open_tab_named_again_keeps_its_address(context: BrowserContext, address: str):
    page = context.new_page()
    page.goto(f"{address}&tab=runs")
    expect(page.locator("#run-head h2")).to_be_visible()
    page.wait_for_url("**run=*")
    there = page.url
    page.locator('.rail [data-go="runs"]').click()
    page.wait_for_timeout(500)
    assert page.url == there


def test_of_tabs_clicked_in_a_row_each_is_drawn(
    context: BrowserContext, address: str, monkeypatch: pytest.MonkeyPatch
):
    """A tab that is opened while the answer to the click before is on its way is drawn as well."""
    drawn = held_up(monkeypatch, models, "opened")
    page = context.new_page()
    page.goto(address)
    page.locator('.rail [data-go="models"]').click()
    page.wait_for_timeout(300)  # its question is on the way
    page.locator('.rail [data-go="train"]').click()
    expect(page.locator("#train-form h1")).to_be_visible()
    drawn.set()


def test_back_while_an_answer_ends_leaves_the_conversation_as_it_is(
    context: BrowserContext, address: str, monkeypatch: pytest.MonkeyPatch
):
    """The playground is drawn again as the answer ends: what it knew before is not put over the end."""
    opened = playground.opened

    def late(*given: Any) -> Any:
        drawn = opened(*given)
        time.sleep(2)  # the answer is whole before this one is
        return drawn

    page = context.new_page()
    page.goto(f"{address}&tab=playground")
    page.locator("#playground-talk .suggestion").first.click()
    expect(page.locator("#playground-talk .answer-text").first).to_contain_text("You")
    page.locator('.rail [data-go="models"]').click()
    monkeypatch.setattr(playground, "opened", late)
    page.locator('.rail [data-go="playground"]').click()
    expect(page.locator("#playground-talk .answer-facts")).to_have_count(2)
    page.wait_for_timeout(2500)  # the late answer is there
    assert page.locator("#playground-talk .answer-facts").count() == 2
    expect(page.locator("#playground-box [data-event=send]")).to_be_visible()


def test_a_live_view_that_is_drawn_late_does_not_undo_a_click(
    context: BrowserContext, address: str, monkeypatch: pytest.MonkeyPatch
):
    """Home follows the store; a card clicked meanwhile leads on, and the step that comes keeps its foot."""
    moving, asked = steps.moving, threading.Event()

    def late(*given: Any) -> Any:
        asked.set()
        time.sleep(1)
        return moving(*given)

    monkeypatch.setattr(steps, "moving", late)
    page = context.new_page()
    page.goto(address)
    card = page.locator('[data-goal="style"]')
    expect(card).to_be_visible()
    assert asked.wait(60)
    card.click()
    following = page.get_by_role("button", name="Next: your data")
    expect(following).to_be_visible()
    page.wait_for_timeout(1500)  # the late answer is there
    assert following.is_visible()


def test_a_conversation_has_its_address_again_when_its_tab_is_opened_again(
    context: BrowserContext, address: str
):
    page = context.new_page()
    page.goto(f"{address}&tab=playground")
    page.locator("#playground-talk .suggestion").first.click()
    page.wait_for_url("**chat=1")
    page.locator('.rail [data-go="models"]').click()
    page.wait_for_url("**tab=models")
    page.locator('.rail [data-go="playground"]').click()
    page.wait_for_url("**chat=1")


def test_what_a_tab_draws_anew_is_what_its_fields_show(context: BrowserContext, address: str):
    """A browser no longer heeds the attributes of a ticked box and of a list that was chosen from."""
    page = context.new_page()
    page.goto(f"{address}&tab=merge")
    take = page.locator("#mix-form [data-act=take]").first
    rule = page.locator("#mix-form [data-act=how]")
    take.uncheck()
    rule.select_option("svd")
    expect(page.locator("#mix-form output").first).to_have_text(DASH)
    page.locator('.rail [data-go="models"]').click()
    expect(page.locator("#models-head h1")).to_be_visible()
    page.locator('.rail [data-go="merge"]').click()
    expect(take).to_be_checked()
    expect(rule).to_have_value("linear")
