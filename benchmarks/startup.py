"""How long a person waits: fresh clone to page, warm start to page, and to the first click that does
something.

    python -m benchmarks.startup [--rounds 7] [--fresh]

The studio and a bare Gradio app with 200 components are started in turn, each on a new home or port, and
one Chromium that runs already opens each in a new profile. Clock zero is the start of the process. A click
counts when the page has changed by it; one that comes too early for the page is repeated, as a person
would. Results go to benchmarks/results/startup.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, TimeoutError, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "startup.json"
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
STUDIO_CLICK = ('button[data-goal="style"]', "document.querySelector('#step-model')?.innerText?.trim()")
BARE_CLICK = ("#go", "document.querySelector('#said textarea')?.value === 'changed'")


@dataclass(frozen=True)
class Start:
    """Seconds from the start of the process to each event, and to its end after SIGTERM.

    `page_cpu` is what the process computed until its page came: on a busy machine it says more than the
    clock.
    """

    page: float
    page_cpu: float
    click: float
    end: float
    torch_loaded: bool
    memory_bytes: int


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def studio(launch: Path = ROOT / "launch.py") -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """Start the studio on a new home; gives the process, the address with its token, and clock zero."""
    with tempfile.TemporaryDirectory(prefix="startup-") as home:
        words = ["--home", home, "--port", str(free_port()), "--no-browser"]
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, str(launch), *words], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"the studio ended with code {process.wait()} before it answered")
        try:
            yield process, json.loads(line)["url"], began
        finally:
            process.kill()
            process.wait()


@contextmanager
def bare() -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """Start the bare app, in the same way."""
    port = free_port()
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.bare_app", str(port)], text=True, cwd=ROOT)
    try:
        yield process, f"http://127.0.0.1:{port}/", began
    finally:
        process.kill()
        process.wait()


def wait_for_page(url: str) -> None:
    """Ask every 20 ms until the page comes with code 200."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    while True:
        try:
            if opener.open(url, timeout=30).status == 200:
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.02)


def wait_for_click(browser: Browser, url: str, target: str, changed: str) -> None:
    """Open the page in a new profile and click until it has changed."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url, wait_until="commit")
    deadline = time.monotonic() + 60
    while not page.evaluate(changed):
        if time.monotonic() > deadline:
            raise SystemExit(f"no click on {target} changed the page")
        try:
            page.locator(target).first.click(timeout=1000)
            page.wait_for_function(changed, timeout=300, polling=20)
        except TimeoutError:
            continue
    context.close()


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(app: Any, browser: Browser, click: tuple[str, str]) -> Start:
    """One start of `studio` or `bare`."""
    with app() as (process, url, began):
        wait_for_page(url)
        page, page_cpu = time.perf_counter() - began, cpu_seconds(process.pid)
        wait_for_click(browser, url, *click)
        clicked = time.perf_counter() - began
        maps = Path(f"/proc/{process.pid}/maps").read_text()
        status = Path(f"/proc/{process.pid}/status").read_text()
        memory = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        asked = time.perf_counter()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        ended = time.perf_counter() - asked
        resident = int(memory.split()[1]) * 1024
        return Start(page, page_cpu, clicked, ended, "libtorch" in maps, resident)


def warm(rounds: int) -> dict[str, Any]:
    """Both apps in turn; medians, and the ratios within each round. One round before is thrown away."""
    starts: dict[str, list[Start]] = {"studio": [], "bare": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for number in range(rounds + 1):
            pair = [("studio", studio, STUDIO_CLICK), ("bare", bare, BARE_CLICK)]
            for name, app, click in pair if number % 2 else pair[::-1]:
                start = measure(app, browser, click)
                if number:
                    starts[name].append(start)
        browser.close()
    ratios = sorted(a.click / b.click for a, b in zip(starts["studio"], starts["bare"], strict=True))
    return {
        "rounds": rounds,
        "page_s": {name: statistics.median(s.page for s in each) for name, each in starts.items()},
        "page_cpu_s": {name: statistics.median(s.page_cpu for s in each) for name, each in starts.items()},
        "click_s": {name: statistics.median(s.click for s in each) for name, each in starts.items()},
        "click_ratio": statistics.median(ratios),
        "click_ratio_range": [ratios[0], ratios[-1]],
        "slowest_end_s": max(start.end for start in starts["studio"]),
        "torch_loaded": any(start.torch_loaded for start in starts["studio"]),
        "memory_bytes": {name: max(s.memory_bytes for s in each) for name, each in starts.items()},
        "starts": {name: [asdict(start) for start in each] for name, each in starts.items()},
    }


def door_seconds(rounds: int = 15) -> dict[str, float]:
    """What launch.py adds to a command: the same call with and without it, in turn."""
    command = ["gpu", "--help"]
    through = [sys.executable, str(ROOT / "launch.py"), *command]
    beside = [str(ROOT / ".venv/bin/python"), "-P", "-m", "ui.cli", *command]
    taken: dict[str, list[float]] = {"through": [], "beside": []}
    for _ in range(rounds):
        for name, words in (("through", through), ("beside", beside)):
            began = time.perf_counter()
            subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
            taken[name].append(time.perf_counter() - began)
    added = [a - b for a, b in zip(taken["through"], taken["beside"], strict=True)]
    return {"added_s": statistics.median(added), "command_s": statistics.median(taken["beside"])}


def fresh() -> dict[str, float]:
    """Clone the committed project and start it: seconds until the page answers (installation included)."""
    with tempfile.TemporaryDirectory(prefix="fresh-") as folder:
        clone = Path(folder) / "studio"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        with studio(clone / "launch.py") as (_, url, began):
            wait_for_page(url)
            return {"page_s": time.perf_counter() - began}


def main() -> None:
    """Measure what is asked for and keep what was measured before of the rest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--fresh", action="store_true", help="only the fresh clone: minutes, 2 GB for a while"
    )
    options = parser.parse_args()
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["machine"] = {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    if options.fresh:
        results["fresh"] = {"load_average_before": os.getloadavg()[0], **fresh()}
    else:
        results["warm"] = {"load_average_before": os.getloadavg()[0], **warm(options.rounds)}
        results["door"] = door_seconds()
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    shown = {name: {k: v for k, v in part.items() if k != "starts"} for name, part in results.items()}
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
