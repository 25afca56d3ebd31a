"""The screen process: which port, which host, what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from backend.hosts import listen
from studio.errors import StudioError
from ui import serve

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def taken():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield held.getsockname()[1]


def test_a_port_that_was_asked_for_and_is_taken_is_refused(taken):
    with pytest.raises(StudioError, match="port_taken"):
        listen("127.0.0.1", taken, serve.FIRST_PORT)


@pytest.mark.parametrize("port", [70000, -1])
def test_a_port_that_does_not_exist_is_refused(port):
    with pytest.raises(StudioError, match="port_range"):
        listen("127.0.0.1", port, serve.FIRST_PORT)


def test_without_a_port_the_next_free_one_is_taken(taken, monkeypatch):
    monkeypatch.setattr(serve, "FIRST_PORT", taken)
    with listen("127.0.0.1", None, serve.FIRST_PORT) as listening:
        assert listening.getsockname()[1] > taken


def test_a_host_that_this_machine_does_not_have_is_named():
    with pytest.raises(StudioError, match="host_unknown"):
        listen("203.0.113.7", 0, serve.FIRST_PORT)


def test_another_host_needs_a_password(home, monkeypatch, capsys):
    monkeypatch.delenv("STUDIO_PASSWORD", raising=False)
    assert serve.main(["--home", str(home), "--host", "0.0.0.0"]) == 1
    told = capsys.readouterr()
    assert "STUDIO_PASSWORD" in told.err
    assert told.out == ""
    assert not home.exists()


def test_a_home_that_can_not_be_one_is_said_in_a_sentence(home, capsys):
    home.write_text("a file")
    for place in (home, Path("/proc/studio-home")):
        assert serve.main(["--home", str(place), "--no-browser"]) == 1
        told = capsys.readouterr().err
        assert str(place) in told
        assert "Traceback" not in told


@pytest.mark.worker
def test_it_records_itself_answers_and_leaves_nothing_behind(home):
    command = [sys.executable, "-m", "ui.serve", "--home", str(home), "--port", "0", "--no-browser"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = json.loads(process.stdout.readline())["url"]
    if os.name == "posix":
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
    record = home / "screen.json"
    body = json.loads(record.read_text())
    assert (body["url"], body["pid"]) == (url, process.pid)
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    jar = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    assert jar.open(url).status == 200
    loaded = Path(f"/proc/{process.pid}/maps")
    if loaded.exists():
        assert "libtorch" not in loaded.read_text()
    if os.name == "posix":
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 0, told
        assert told == ""
        assert not record.exists()
