"""The chat engine's process: `python -m backend.chat.engine --home H --base MODEL`.

Holds one base and the adapters of its runs and answers OpenAI's chat-completions protocol on loopback. It
announces itself in the home as soon as it listens; requests wait while the model loads. It ends when asked
(POST /shutdown, or SIGTERM), after idle time, when the process that owns it is gone, or when the base can't
be loaded: then the last line of its log is the error as JSON.

Exit status: 0 ended as asked or not needed, 1 the base can't be answered with.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from backend.chat import runs
from backend.chat.announcement import announce, withdraw
from backend.chat.answering import Answering
from backend.chat.base import load_base
from backend.chat.server import Backend, ChatServer
from backend.home import Home, open_home
from backend.hosts import listen
from backend.jobs.processes import Identity, alive, identity
from backend.sentences import kept
from studio.errors import StudioError
from studio.models.locate import locate
from studio.names import parse

log = logging.getLogger("studio.chat")
_TICK_SECONDS = 0.2
_GRACE_SECONDS = 5.0  # for answers that are being written when the engine ends


class Engine:
    """One base, answering. Everything but the model's own thread is set up here."""

    def __init__(self, home: Home, base: str, port: int = 0, device: str | None = None) -> None:
        folder = locate(base, home.runs)
        self._home = home
        self._base = base
        self._asked_to_end = threading.Event()
        self.token = secrets.token_urlsafe(32)
        self._answering = Answering(base, home.runs, lambda: load_base(folder, home, device))
        backend = Backend(self.token, self._answering.submit, self._models, self.end, sentences=kept(home))
        self.server = ChatServer(backend, listen("127.0.0.1", port, port))

    @property
    def working(self) -> bool:
        """Whether anything is being loaded, answered or written out."""
        return self._answering.working or self.server.open_requests > 0

    def end(self) -> None:
        """Ask the engine to end; returns at once."""
        self._asked_to_end.set()

    def run(self, idle_seconds: float, owner: Identity | None) -> int:
        """Answer until it is time to end; gives the exit status."""
        if announce(self._home.root, self._base, self.server.url, self.token, time.time()) is None:
            log.info("another engine answers for %s already", self._base)
            return 0
        threading.Thread(target=self.server.serve_forever, args=(0.05,), name="http", daemon=True).start()
        self._answering.start()
        try:
            while not self._time_to_end(idle_seconds, owner):
                self._asked_to_end.wait(_TICK_SECONDS)
        finally:
            withdraw(self._home.root, self._base)
            self._answering.end()
            self._let_answers_out()
            self.server.shutdown()
            self.server.server_close()
        failure = self._answering.failure
        if failure is not None:
            sys.stderr.write(json.dumps({"error": failure.as_dict()}) + "\n")
        return 0 if failure is None else 1

    def _time_to_end(self, idle_seconds: float, owner: Identity | None) -> bool:
        if self._asked_to_end.is_set() or self._answering.ended.is_set():
            return True
        if self.working:
            return False
        if owner is not None and not alive(owner):
            log.info("the process that started this engine is gone")
            return True
        return time.monotonic() - self._answering.idle_since > idle_seconds

    def _let_answers_out(self) -> None:
        deadline = time.monotonic() + _GRACE_SECONDS
        while self.server.open_requests and time.monotonic() < deadline:
            time.sleep(0.02)

    def _models(self) -> list[str]:
        return [
            "base",
            *(runs.named(self._home.runs, run) for run in runs.answering_runs(self._home.runs, self._base)),
        ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of the process."""
    parser = argparse.ArgumentParser(prog="backend.chat.engine")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--base", required=True, help="the model to hold, by its name")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--device", help="cpu, cuda:0, mps; chosen by itself if left out")
    parser.add_argument("--idle-seconds", type=float, default=600.0)
    parser.add_argument("--owner", type=int, help="end when the process with this id is gone")
    given = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    owner = None
    if given.owner is not None and (owner := identity(given.owner)) is None:
        return 0
    try:
        engine = Engine(open_home(given.home), str(parse(given.base)), given.port, given.device)
        signal.signal(signal.SIGTERM, lambda *_: engine.end())
        signal.signal(signal.SIGINT, lambda *_: engine.end())
        return engine.run(given.idle_seconds, owner)
    except StudioError as error:
        sys.stderr.write(json.dumps({"error": error.as_dict()}) + "\n")
        return 1


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    # Nothing is left to write, and taking torch apart takes seconds in which memory stays taken.
    os._exit(status)
