"""Pictures of every screen and state, to look at: three widths, light and dark.

    python -m benchmarks.screens [--out DIR] [--only NAME ...] [--width 390 768 1440] [--mode light dark]
    python -m benchmarks.screens --home HOME --run ID       the README's, from a real home with a done run

Without --home the screens stand on the tests' facade in memory, which can show what a real machine rarely
does (a failed run, two GPUs, an empty home).
"""

from __future__ import annotations

import argparse
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from backend.api import Facade
from tests import fake_content
from tests.fake_facade import FakeFacade
from ui.serve import guarded
from ui.words import Words

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "pictures"
WIDTHS = (390, 768, 1440)
MODES = ("light", "dark")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
SETTLE_MS = 700
_TOWARDS_BASE = 'mix:{"base": "starter", "adapters": [["run:full-1", 0.6]]}'


@dataclass(frozen=True)
class Shot:
    """One picture: the facade it stands on, its address, what to do there, what must be seen."""

    name: str
    facade: str
    address: str
    seen: str
    do: Callable[[Page], None] | None = None
    whole: bool = True  # the whole page, not the window alone


def _gated(page: Page) -> None:
    page.locator('[data-act="model"]:has-text("needs a login")').click()
    page.locator(".message").first.wait_for()


def _rows(page: Page) -> None:
    page.get_by_label("Question 1", exact=True).fill("What do pirates say?")
    page.get_by_label("Answer 1", exact=True).fill("Arr, matey.")


def _wrong(page: Page) -> None:
    field = page.get_by_role("textbox", name="Batch")
    field.fill("many")
    field.press("Tab")
    page.locator(".problems").first.wait_for()


def _talk(page: Page) -> None:
    page.locator(".suggestion:visible").first.click()
    page.locator(".answer.tuned:visible .answer-facts:has-text('tokens')").wait_for()


def _four(page: Page) -> None:
    """Four models, their differences marked, a vote, and a second question."""
    for _ in range(2):
        page.locator('[data-act="add-pane"]').click()
        page.wait_for_timeout(SETTLE_MS)
    page.get_by_label("Mark differences").check()
    _talk(page)
    page.locator('[data-act="vote"]').first.click()
    page.locator(".answer.best").wait_for()


def _blind(page: Page) -> None:
    page.get_by_label("Blind").check()
    page.wait_for_timeout(SETTLE_MS)
    page.locator(".suggestion:visible").first.click()
    page.locator('[data-act="vote"]').first.wait_for()


def _mix(page: Page) -> None:
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#mix-answer .proof").wait_for()


def _inside(page: Page) -> None:
    for fold in page.locator("#export summary").all():
        fold.click()


def _drawers(page: Page) -> None:
    _four(page)
    page.locator(".drawer summary").first.click()


def _refused(page: Page) -> None:
    page.get_by_label("Or your own").fill("/no/such/folder")
    page.get_by_role("button", name="Use this one").click()
    page.locator(".notice").wait_for()


def _ask_to_stop(page: Page) -> None:
    page.locator('[data-act="stop"]:visible').first.click()
    page.locator("dialog").wait_for()


def _ask_to_delete(page: Page) -> None:
    page.locator('[data-act="remove"]:visible').first.click()
    page.locator("dialog").wait_for()


def _lost(page: Page) -> None:
    page.route("**/studio/alive", lambda route: route.abort())
    page.locator(".lost-banner").wait_for(timeout=20_000)


PLAN = "tab=home&goal=style&model=starter&dataset=pirate"
CURVE = "#run-loss .main-svg"
SHOTS = (
    Shot("home-first", "empty", "", "#step-goal .goal"),
    Shot("home-later", "cpu", "", "#step-goal .meter"),
    Shot("model", "cpu", f"{PLAN}&step=model", "#step-model .list"),
    Shot("model-gated", "cpu", f"{PLAN}&step=model", "#step-model .list", _gated),
    Shot("model-refused", "cpu", f"{PLAN}&step=model", "#step-model .list", _refused),
    Shot("data", "cpu", f"{PLAN}&step=data", "#step-data .tokens"),
    Shot("data-file", "cpu", f"{PLAN}&step=data&source=file", "#step-data .drop"),
    Shot("data-rows", "cpu", f"{PLAN}&step=data&source=rows", "#step-data .rows", _rows),
    Shot("data-broken", "cpu", f"{PLAN.replace('pirate', 'broken.jsonl')}&step=data", "#step-data .table"),
    Shot("how", "cpu", f"{PLAN}&step=how", "#step-how .form-grid"),
    Shot("how-wrong", "cpu", f"{PLAN}&step=how", "#step-how .form-grid", _wrong),
    Shot("watch", "cpu", f"{PLAN}&step=watch&run=json-2", "#watch-chart .main-svg"),
    Shot("watch-queued", "cpu", f"{PLAN}&step=watch&run=support-2", "#watch-chart .main-svg"),
    Shot("watch-done", "cpu", f"{PLAN}&step=watch&run=pirate-1", "#watch-chart .main-svg"),
    Shot("compare-first", "cpu", f"{PLAN}&step=compare&run=pirate-1", "#wizard-talk .suggestion"),
    Shot("compare", "cpu", f"{PLAN}&step=compare&run=pirate-1", "#wizard-talk .suggestion", _talk),
    Shot("train", "cpu", "tab=train", "#train-side .plan-card"),
    Shot("train-wrong", "cpu", "tab=train", "#train-side .plan-card", _wrong),
    Shot("runs-empty", "empty", "tab=runs", "#runs-list .empty"),
    Shot("runs", "cpu", "tab=runs&run=pirate-1", CURVE),
    Shot("runs-over", "cpu", "tab=runs&over=pirate-1,json-1", CURVE),
    Shot("run-failed", "cpu", "tab=runs&run=support-1", "#run-head .message.bad"),
    Shot("run-interrupted", "cpu", "tab=runs&run=json-1", "#run-head .message.bad"),
    Shot("run-paused", "cpu", "tab=runs&run=pirate-3", CURVE),
    Shot("run-stop", "cpu", "tab=runs&run=pirate-3", CURVE, _ask_to_stop, whole=False),
    Shot("playground-first", "cpu", "tab=playground", "#playground-talk .suggestion"),
    Shot("playground", "cpu", "tab=playground", "#playground-talk .suggestion", _talk),
    Shot("playground-four", "cpu", "tab=playground", "#playground-talk .suggestion", _four),
    Shot("playground-blind", "cpu", "tab=playground", "#playground-talk .suggestion", _blind),
    Shot("merge", "cpu", "tab=merge", "#mix-form .mix-adapter", _mix),
    Shot("merge-full", "cpu", f"tab=merge&mix={quote(_TOWARDS_BASE)}", "#mix-form .mix-adapter", _mix),
    Shot("merge-nothing", "empty", "tab=merge", "#mix-form .empty"),
    Shot("export", "cpu", "tab=merge&export=run:pirate-1&job=export-3", "#export-jobs .badge.good", _inside),
    Shot("export-running", "cpu", "tab=merge&export=merge:gone", "#export-jobs .meter"),
    Shot("export-differs", "cpu", "tab=merge&export=starter&job=export-1", "#export-jobs .badge.bad"),
    Shot("export-failed", "cpu", "tab=merge&export=run:pirate-1&job=export-2", "#export-jobs .message.bad"),
    Shot("export-nothing", "empty", "tab=merge&export=", "#export-jobs .export-none"),
    Shot("playground-list", "cpu", "tab=playground", "#playground-talk .suggestion", _drawers, whole=False),
    Shot("models", "cpu", "tab=models", "#models-held .shelf"),
    Shot("models-ask", "cpu", "tab=models", "#models-held .shelf", _ask_to_delete, whole=False),
    Shot("models-empty", "empty", "tab=models", "#models-held .empty"),
    Shot("system", "cpu", "tab=system", "#system-cards .machine-card"),
    Shot("system-gpu", "gpu", "tab=system", "#system-cards .machine-card"),
    Shot("lost", "cpu", "tab=runs&run=pirate-1", CURVE, _lost),
    Shot("no-token", "cpu", "token=no", ".enter"),
)


def readme_shots(run: str, plan: str) -> tuple[Shot, ...]:
    """The pictures of the tour: the same screens on a real home, with a run that is done."""
    return (
        Shot("home", "real", "", "#step-goal .goal"),
        Shot("model", "real", f"{plan}&step=model", "#step-model .list"),
        Shot("data", "real", f"{plan}&step=data", "#step-data .tokens"),
        Shot("how", "real", f"{plan}&step=how", "#step-how .form-grid"),
        Shot("watch", "real", f"{plan}&step=watch&run={run}", "#watch-chart .main-svg"),
        Shot("compare", "real", f"{plan}&step=compare&run={run}", "#wizard-talk .suggestion", _talk),
        Shot("runs", "real", f"tab=runs&run={run}", CURVE, whole=False),
        Shot("system", "real", "tab=system", "#system-cards .machine-card"),
    )


def fakes(home: Path) -> dict[str, Callable[[], Facade]]:
    return {
        "cpu": lambda: FakeFacade(home, chat_seconds=0.0),
        "gpu": lambda: FakeFacade(home, hardware=fake_content.HARDWARE_GPU),
        "empty": lambda: FakeFacade(home, runs=[]),
    }


@contextmanager
def served(facade: Facade) -> Iterator[str]:
    """The screen over this facade, in a thread; gives its address."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    app = guarded(facade, TOKEN, "127.0.0.1", None, Words("en"))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


def take(browser: Browser, root: str, shot: Shot, width: int, mode: str, file: Path) -> None:
    """One picture of the whole page."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=mode)
    page = context.new_page()
    page.set_default_timeout(240_000)  # the first answer waits for the engine to start
    if shot.address != "token=no":
        page.goto(f"{root}/?token={TOKEN}&{shot.address}".rstrip("&"))
    else:
        page.goto(root)
    page.locator(shot.seen).first.wait_for()
    if shot.do is not None:
        shot.do(page)
    page.wait_for_timeout(SETTLE_MS)
    page.mouse.move(0, 0)
    if shot.whole:  # as tall as the page: what is fixed to its edges is there
        page.set_viewport_size({"width": width, "height": page.evaluate("document.body.scrollHeight")})
        page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=file)
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--width", nargs="+", type=int, default=list(WIDTHS))
    parser.add_argument("--mode", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--home", type=Path)
    parser.add_argument("--run")
    args = parser.parse_args()
    out = args.out or (ROOT / "docs" / "pictures" if args.home else Path(tempfile.gettempdir()) / "screens")
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home, sync_playwright() as driver:
        made = fakes(Path(home))
        shots = SHOTS
        if args.home:
            from backend.facade import StudioFacade

            real = StudioFacade(args.home, watch=True)
            plan = real.run(args.run).plan
            shots = readme_shots(
                args.run, f"tab=home&goal=style&model={plan['model']}&dataset={plan['dataset']}"
            )
            made = {"real": lambda: real}
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, build in made.items():
            mine = [s for s in shots if s.facade == name and (not args.only or s.name in args.only)]
            if not mine:
                continue
            facade = build()
            with served(facade) as root:
                for shot in mine:
                    for width in args.width:
                        for mode in args.mode:
                            file = out / f"{shot.name}-{width}-{mode}.png"
                            take(browser, root, shot, width, mode, file)
                            print(file)
            facade.close()
        browser.close()


if __name__ == "__main__":
    main()
