"""Serving: a base and runs of it on an OpenAI-compatible endpoint, until somebody stops the job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from backend import serving
from backend.chat.answering import Answering
from backend.chat.base import load_base
from backend.chat.server import Backend, ChatServer
from backend.chat.ticket import Ticket
from backend.home import Home
from backend.hosts import listen
from backend.jobs.kinds import Outcome, Work
from backend.sentences import kept
from backend.serving import ServePlan
from studio.errors import StudioError
from studio.models.locate import locate

FIRST_PORT = 8000
_TICK_SECONDS = 0.1
# A stop takes ten seconds at most: these for the answers, one for the errors of those that were longer.
_GRACE_SECONDS = 7.0
_LAST_WORDS_SECONDS = 1.0


class ServeKind:
    id = "serve"

    def run(self, work: Work) -> Outcome:
        """See `Kind.run`."""
        plan = ServePlan.from_dict(work.job.plan)
        served = Served(work.home, plan, serving.key_of(work.home, work.job.id))
        work.sink.phase("loading", None)
        served.start()
        try:
            while not served.answering.ready.wait(_TICK_SECONDS):
                if work.control.wish() == "stop":
                    return Outcome("stop")
            if served.answering.failure is None:
                serving.announce(work.home, work.job.id, served.server.url, plan.models)
                work.sink.phase("serving", None)
            while work.control.wish() != "stop" and not served.answering.ended.is_set():
                time.sleep(_TICK_SECONDS)
        finally:
            serving.withdraw(work.home, work.job.id)
            served.close()
        if served.answering.failure is not None:
            raise served.answering.failure
        return Outcome("stop")


KIND = ServeKind()


class Served:
    """The endpoint of a plan: listens once it is made, answers when the model is in memory."""

    def __init__(self, home: Home, plan: ServePlan, key: str) -> None:
        folder = locate(plan.base, home.runs)
        self._models = plan.models
        self._base = plan.base
        self._closing = False
        rows = plan.limits.rows
        self.answering = Answering(
            plan.base, home.runs, lambda: load_base(folder, home, plan.device, rows=rows)
        )
        backend = Backend(
            key, self._submit, lambda: list(plan.models), limits=plan.limits, sentences=kept(home)
        )
        self.server = ChatServer(backend, listen(plan.host, plan.port, FIRST_PORT), plan.host)

    def start(self) -> None:
        """Begin to load, and to take requests."""
        self.answering.start()
        threading.Thread(target=self.server.serve_forever, args=(0.05,), name="http", daemon=True).start()

    def close(self) -> None:
        """Take no more requests, let the answers out that are being written, end."""
        self._closing = True
        if self.answering.ready.is_set():
            _wait(lambda: self.server.open_requests == 0, _GRACE_SECONDS)
        self.answering.end()
        _wait(lambda: self.server.open_requests == 0, _LAST_WORDS_SECONDS)
        self.server.shutdown()
        self.server.server_close()

    def _submit(self, ticket: Ticket) -> None:
        if self._closing:
            raise StudioError("chat_engine_ending")
        for model in (ticket.order.model, ticket.order.template_of):
            if model is not None and model not in self._models:
                raise StudioError("serve_model_unknown", model=model, models=list(self._models))
        self.answering.submit(ticket)


def _wait(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.02)
