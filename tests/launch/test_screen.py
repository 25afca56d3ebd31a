"""The screen as a person starts it: one real process behind launch.py, found again, told to end, killed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backend.hosts import listen
from ui import running, serve

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Studio:
    process: subprocess.Popen[str]
    home: Path
    url: str


def start(home: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "launch.py"), "--home", str(home), "--no-browser", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def open_studio(home: Path) -> Studio:
    process = start(home)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return Studio(process, home, json.loads(line)["url"])


def page_code(url: str) -> int:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    with opener.open(url, timeout=60) as answer:
        code: int = answer.status
        return code


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A screen that was opened by launch.py and answers."""
    opened = open_studio(tmp_path_factory.mktemp("screen") / "home")
    yield opened
    opened.process.kill()
    opened.process.wait()


@pytest.mark.worker
def test_the_page_answers_in_the_process_that_was_started_without_torch(studio: Studio) -> None:
    assert page_code(studio.url) == 200
    screen = running.find(studio.home)
    assert screen is not None
    assert (screen.url, screen.pid) == (studio.url, studio.process.pid)
    assert "libtorch" not in Path(f"/proc/{screen.pid}/maps").read_text()


@pytest.mark.worker
def test_a_second_start_finds_the_first(studio: Studio) -> None:
    second = start(studio.home)
    output, errors = second.communicate(timeout=120)
    assert second.returncode == 0
    assert json.loads(output) == {"url": studio.url}
    assert "open already" in errors
    assert studio.process.poll() is None


@pytest.mark.worker
def test_a_port_that_was_asked_for_and_is_taken_is_refused(studio: Studio, tmp_path: Path) -> None:
    port = urlsplit(studio.url).port
    second = start(tmp_path / "other", "--port", str(port))
    output, errors = second.communicate(timeout=120)
    assert (second.returncode, output) == (1, "")
    assert f"Port {port} is in use" in errors


def test_without_a_wish_the_next_free_port_is_taken() -> None:
    with (
        listen("127.0.0.1", None, serve.FIRST_PORT) as first,
        listen("127.0.0.1", None, serve.FIRST_PORT) as second,
    ):
        assert first.getsockname()[1] < second.getsockname()[1]


@pytest.mark.worker
@pytest.mark.parametrize("ending", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_told_to_end_it_ends_with_a_page_open_and_takes_its_record_along(tmp_path: Path, ending: int) -> None:
    studio = open_studio(tmp_path / "home")
    address = urlsplit(studio.url)
    with socket.create_connection((address.hostname, address.port)) as page:
        page.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")  # never finishes its request
        studio.process.send_signal(ending)
        studio.process.communicate(timeout=60)
    assert studio.process.returncode == 0
    assert not (studio.home / "screen.json").exists()


@pytest.mark.worker
@pytest.mark.slow
def test_after_a_kill_the_next_start_opens_a_new_screen(tmp_path: Path) -> None:
    killed = open_studio(tmp_path / "home")
    killed.process.kill()
    killed.process.wait()
    assert (killed.home / "screen.json").exists()
    again = open_studio(killed.home)
    assert again.process.pid != killed.process.pid
    assert page_code(again.url) == 200
    again.process.kill()
    again.process.wait()
