"""The adapter lab over the real engine and the real worker, in a real browser."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from playwright.sync_api import Page, expect
from transformers import AutoModelForCausalLM

import assets
from backend.facade import StudioFacade
from tests.e2e.conftest import screen

STEPS = 30


@pytest.fixture(scope="module")
def address(studio_home: Path) -> Iterator[str]:
    """A screen on a home with two runs of one base."""
    facade = StudioFacade(studio_home)
    for dataset in ("pirate", "json"):
        run = facade.start("starter", dataset, set={"steps": STEPS})
        states = [summary.state for summary in facade.wait(run)]
        assert states[-1] == "done", facade.log_tail(run)
    facade.close()
    with screen(studio_home) as (_, url):
        yield url


@pytest.fixture
def lab(page: Page) -> Page:
    page.locator('.rail [data-go="merge"]').click()
    for run in ("pirate-1", "json-1"):  # another test of this file may have saved a third adapter
        expect(page.locator("#mix-form .mix-adapter", has_text=run)).to_have_count(1)
    return page


def slide(page: Page, place: int, weight: float) -> None:
    """Move a slider and let it go, as a hand does."""
    page.locator("#mix-form input[type=range]").nth(place).evaluate(
        """(slider, weight) => {
            slider.value = weight;
            slider.dispatchEvent(new Event("input", { bubbles: true }));
            slider.dispatchEvent(new Event("change", { bubbles: true }));
        }""",
        weight,
    )


def answered(page: Page) -> tuple[str, str]:
    """The whole answer and its adapter's hash, once it is complete."""
    expect(page.locator("#mix-answer .proof summary")).to_be_visible()
    title = page.locator("#mix-answer .proof summary").get_attribute("title") or ""
    return page.locator("#mix-answer .answer-text").inner_text(), title


def test_move_a_slider_and_see_the_answer_change(lab: Page):
    page = lab
    question = page.locator("#mix-ask input")
    question.fill("What is the opposite of hot?")
    question.press("Enter")
    _, half_proof = answered(page)
    slide(page, 0, 0)
    slide(page, 1, 0)
    expect(page.locator("#mix-form output")).to_have_text(["0", "0"])
    expect(page.locator("#mix-answer .chip")).to_contain_text("0 × json-1 + 0 × pirate-1")  # noqa: RUF001
    base, proof = answered(page)
    assert base == "The opposite of hot is cold."
    assert proof != half_proof
    slide(page, 1, 1)
    expect(page.locator("#mix-answer .chip")).to_contain_text("1 × pirate-1")  # noqa: RUF001
    expect(page.locator("#mix-answer .answer-text")).to_contain_text("matey")
    pirate, _ = answered(page)
    page.reload()
    expect(page.locator("#mix-form output")).to_have_text(["0", "1"])
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#mix-answer .answer-text")).to_have_text(pirate)


def test_a_mix_is_measured_saved_and_merged_into_the_base(lab: Page):
    page = lab
    page.get_by_role("button", name="Measure losses").click()
    table = page.locator("#mix-jobs table")
    expect(table.locator("tbody tr")).to_have_count(2)
    expect(table.locator("th")).to_have_text(["Held-out rows of", "Base", "json-1", "pirate-1", "This mix"])
    page.get_by_role("button", name="Save as adapter").click()
    expect(page.locator("#mix-jobs")).to_contain_text("It answers as merge-1,")
    page.get_by_role("button", name="Merge into the base").click()
    expect(page.locator("#mix-jobs")).to_contain_text("Same as the original")
    expect(page.locator("#mix-jobs")).to_contain_text("It answers as merge-2,")
    page.locator('.rail [data-go="playground"]').click()
    options = page.locator("#playground-picker option")
    expect(options.filter(has_text="merge-1").first).to_be_attached()
    expect(options.filter(has_text="merge-2").first).to_be_attached()


def exported(page: Page, run: str, format: str, to: Path) -> Path:
    """Export a run from its own page, see that it passed, and unpack what the browser got."""
    page.goto(f"{page.url.partition('?')[0]}?tab=runs&run={run}")
    expect(page.locator("#run-head h2")).to_have_text(run)
    page.locator("#run-head").get_by_role("button", name="Export").click()
    expect(page.locator("#export-form select").first).to_have_value(f"run:{run}")
    page.locator(f'#export-form [data-format="{format}"]').click()
    expect(page.locator(f'#export-form [data-format="{format}"]')).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Export", exact=True).click()
    page.wait_for_url("**job=*")  # until then the card is that of the export before
    card = page.locator("#export-jobs .mix-job")
    expect(card.locator(".badge")).to_have_text("Parity: answers as the studio does")
    with page.expect_download() as coming:
        card.get_by_role("link", name="Download").click()
    archive = to / coming.value.suggested_filename
    coming.value.save_as(archive)
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        opened.extractall(to)
    return to / archive.stem


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    found: torch.Tensor = model.eval()(torch.arange(4, 44)[None]).logits
    return found


def test_a_run_is_exported_and_what_the_browser_gets_answers_like_it(
    lab: Page, tmp_path: Path, studio_home: Path
):
    """As an adapter by PEFT and as a whole model by transformers alone: the same scores, not the base's."""
    adapter = exported(lab, "pirate-1", "adapter", tmp_path)
    assert adapter.name == "pirate-1-adapter"
    base = AutoModelForCausalLM.from_pretrained(assets.path("starter"), dtype=torch.float32)
    plain = logits(base)
    tuned = logits(PeftModel.from_pretrained(base, str(adapter)))
    whole = exported(lab, "pirate-1", "safetensors", tmp_path)
    assert {file.name for file in whole.iterdir()} >= {"README.md", "recipe.py", "config.json"}
    merged = logits(AutoModelForCausalLM.from_pretrained(whole, dtype=torch.float32))
    largest = float(tuned.abs().max())
    assert float((merged - tuned).abs().max()) <= 0.05 * largest
    assert float((plain - tuned).abs().max()) > 0.1 * largest
    there = studio_home / "runs" / "export-2" / "export"
    written = sorted(file for file in there.rglob("*") if file.is_file())
    assert [(whole / file.relative_to(there)).read_bytes() for file in written] == [
        file.read_bytes() for file in written
    ]
    lab.reload()
    rows = lab.locator("#export-jobs .shelf li")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("pirate-1 as adapter")
    lab.locator("#export-jobs summary").click()
    with lab.expect_download() as coming:
        lab.get_by_role("link", name="recipe.py").click()
    assert Path(coming.value.path()).read_bytes() == (there / "recipe.py").read_bytes()
