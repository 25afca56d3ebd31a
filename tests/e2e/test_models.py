"""A model downloaded, found in the list, and deleted again, from a hub on loopback, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from benchmarks.screens import TOKEN, served
from tests.e2e.conftest import screen
from tests.fake_facade import FakeFacade
from tests.hub import server
from tests.hub.conftest import tiny_model


def test_download_and_delete(
    context: BrowserContext, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
):
    with server.running() as hub:
        hub.repos["ada/tiny"] = server.Repo(tiny_model())
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        cached = tmp_path / "hf" / "hub" / "models--ada--tiny"
        with screen(home) as (_, address):
            page = context.new_page()
            page.goto(address)
            page.locator('.rail [data-go="models"]').click()
            expect(page.get_by_role("heading", name="Nothing else here yet")).to_be_visible()
            page.get_by_label("Or any other").fill("ada/tiny")
            page.get_by_role("button", name="Add it").click()
            row = page.locator('[data-holding="hub:ada/tiny"]')
            expect(row).to_contain_text("fetched by download-1")
            weights = next(cached.glob("snapshots/*/model.safetensors"))
            assert weights.read_bytes() == hub.repos["ada/tiny"].files["model.safetensors"]
            expect(page.get_by_role("heading", name="Nothing else here yet")).to_have_count(0)

            row.get_by_role("button", name="Delete ada/tiny").click()
            box = page.get_by_role("dialog")
            expect(box).to_contain_text("Delete ada/tiny? This frees 23")
            box.get_by_role("button", name="Keep it").click()
            assert cached.is_dir()
            row.get_by_role("button", name="Delete ada/tiny").click()
            box.get_by_role("button", name="Delete it").click()
            expect(row).to_have_count(0)
            assert not cached.exists()

            page.get_by_label("Search by name, use or licence").fill("smollm2 smallest")
            page.keyboard.press("Enter")
            expect(page.locator("#models-found li")).to_have_count(1)
            expect(page.locator("#models-found li")).to_contain_text("SmolLM2 135M")
            page.get_by_label("Or any other").fill("/nowhere")
            page.get_by_role("button", name="Add it").click()
            expect(page.get_by_role("alert")).to_contain_text("There is no folder /nowhere")


def test_the_question_before_a_run_goes_names_what_came_out_of_it(context: BrowserContext, tmp_path: Path):
    facade = FakeFacade(tmp_path)
    with served(facade) as root:
        page = context.new_page()
        page.goto(f"{root}/?token={TOKEN}&tab=runs&run=pirate-1")
        page.locator('#run-head [data-act="delete"]').click()
        box = page.get_by_role("dialog")
        expect(box).to_contain_text("merge-1 was made out of it")
        box.get_by_role("button", name="Delete it").click()
        expect(page.locator("#runs-list .run-row", has_text="pirate-1")).to_have_count(0)
        assert "pirate-1" not in [run.run for run in facade.runs()]

        page.locator('.rail [data-go="models"]').click()
        page.get_by_role("button", name="Add it").click()
        expect(page.get_by_role("alert")).to_contain_text("No model was named.")
