"""The record of the open studio: who finds it, who may write it, and what a second start does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from ui import running, serve


class _Page(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(403)  # a page that asks for the token is an answer too
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    """Address of a small page on loopback."""
    server = HTTPServer(("127.0.0.1", 0), _Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/?token=abc"
    server.shutdown()
    server.server_close()


def test_a_screen_is_found_by_its_record_and_forgotten(home: Path) -> None:
    home.mkdir()
    assert running.find(home) is None
    screen = running.record(home, "http://127.0.0.1:1/?token=t")
    assert running.find(home) == screen
    assert json.loads((home / "screen.json").read_text()) == {
        "url": screen.url,
        "pid": os.getpid(),
        "started": screen.started,
    }
    assert (home / "screen.json").stat().st_mode & 0o777 == 0o600
    running.forget(home)
    assert running.find(home) is None
    assert list(home.iterdir()) == []


def test_a_record_left_by_a_killed_screen_does_not_count(home: Path) -> None:
    home.mkdir()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    body = {"url": "http://127.0.0.1:1", "pid": child.pid, "started": time.time()}
    (home / "screen.json").write_text(json.dumps(body))
    assert running.find(home) is not None
    # The same number, but a process that began after the record was written.
    (home / "screen.json").write_text(json.dumps({**body, "started": time.time() - 3600}))
    assert running.find(home) is None
    child.kill()
    child.wait()
    (home / "screen.json").write_text(json.dumps(body))
    assert running.find(home) is None
    (home / "screen.json").write_text('{"url": ')
    assert running.find(home) is None


def test_another_process_s_record_is_left_alone(home: Path) -> None:
    home.mkdir()
    body = {"url": "u", "pid": os.getppid(), "started": time.time()}
    (home / "screen.json").write_text(json.dumps(body))
    running.forget(home)
    assert (home / "screen.json").exists()


def test_only_one_screen_can_claim_a_home(home: Path) -> None:
    home.mkdir()
    first = running.claim(home)
    assert first is not None
    assert running.claim(home) is None
    first.close()
    again = running.claim(home)
    assert again is not None
    again.close()


def test_the_browser_is_told_the_token_by_a_private_file_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
    monkeypatch.setenv("DISPLAY", ":0")
    home.mkdir()
    running.record(home, "http://127.0.0.1:1/?token=t")
    assert running.open_browser(home, "http://127.0.0.1:1/?token=t")
    assert opened == [(home / "open.html").as_uri()]
    assert "url=http://127.0.0.1:1/?token=t" in (home / "open.html").read_text()
    assert (home / "open.html").stat().st_mode & 0o777 == 0o600
    running.forget(home)
    assert list(home.iterdir()) == []


def test_open_already_is_shown_again_and_is_no_error(
    home: Path, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    claimed = running.claim(home)
    assert claimed is not None
    # The first screen writes its record a moment after the second one has asked for it.
    starting = threading.Timer(0.5, running.record, (home, page))
    starting.start()
    assert serve.main(["--home", str(home), "--no-browser"]) == 0
    assert json.loads(capsys.readouterr().out) == {"url": page}
    claimed.close()


def test_a_screen_that_hangs_is_said_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir()
    claimed = running.claim(home)
    assert claimed is not None
    running.record(home, "http://127.0.0.1:9/")
    other = running.other
    monkeypatch.setattr(running, "other", lambda home: other(home, seconds=0.5))
    assert serve.main(["--home", str(home), "--no-browser"]) == 1
    assert "does not answer" in capsys.readouterr().err
    claimed.close()
