"""A real screen on a home of its own, and a real browser with an empty profile in front of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from playwright.sync_api import Error as PlaywrightError

ROOT = Path(__file__).resolve().parents[2]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
PATIENCE_MS = 120_000  # a worker starts, imports torch and trains on one of two busy cores
expect.set_options(timeout=PATIENCE_MS)


def chromium() -> str | None:
    """The browser of the system."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def screen(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m ui.serve` on this home; gives the process and the address with its token."""
    command = [sys.executable, "-m", "ui.serve", "--home", str(home), "--port", "0", "--no-browser"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line, f"the screen ended with code {process.wait()} before it answered"
        yield process, json.loads(line)["url"]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=PATIENCE_MS / 1000)
        process.stdout.close()


@pytest.fixture(scope="session")
def studio_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studio")


@pytest.fixture(scope="module")
def address(studio_home: Path) -> Iterator[str]:
    """The address of a screen that the tests of one file share."""
    with screen(studio_home) as (_, url):
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = chromium()
    if found is None:
        pytest.skip("no Chromium is installed on this system")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A profile that nobody has used. Whatever the page asks of another host fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(PATIENCE_MS)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    yield context
    context.close()
    hosts = {urlsplit(url).hostname for url in asked if url.startswith(("http", "ws"))}
    assert hosts <= {"127.0.0.1"}, f"the page asked other hosts: {hosts}"


@pytest.fixture
def page(context: BrowserContext, address: str) -> Page:
    """Home, as the launcher opens it."""
    page = context.new_page()
    page.goto(address)
    page.get_by_role("heading", name="Make a language model your own").wait_for()
    return page


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With a failure goes what the pages showed and what the screen and the workers wrote last."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    given = getattr(item, "funcargs", {})
    if not report.failed:
        return
    context, home = given.get("context"), given.get("studio_home")
    for page in context.pages if context is not None else []:
        with suppress(PlaywrightError):
            report.sections.append((f"page {page.url}", page.inner_text("body", timeout=2000)[:4000]))
    logs = [*home.glob("*.log"), *home.glob("logs/*.log"), *home.glob("runs/*/log.txt")] if home else []
    for log in sorted(logs):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        report.sections.append((str(log.relative_to(home)), "\n".join(lines[-20:])))
