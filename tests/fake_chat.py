"""The chat part of the fake facade: canned answers, kept as the real ones are.

Conversations stand in a real store of their own in a temporary folder, so that what the screen shows of them
went through the same code.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Generator
from functools import cached_property
from pathlib import Path

from backend.api.chat import ChatDelta, ChatModel, ChatRequest, Proof
from backend.conversations.facade import KeptConversations
from backend.conversations.service import Conversations
from backend.datasets import Datasets
from backend.home import open_home
from backend.store.database import open_store
from studio.errors import StudioError
from tests import fake_content as content
from tests.fake_runs import FakeRun


class FakeChat(KeptConversations):
    """`backend.api.chat.ChatFacade`; the runs it answers with are those of the fake facade it is part of."""

    warmed: list[str]
    _chat_seconds: float
    _runs: dict[str, FakeRun]

    def _learned(self) -> list[str]:
        """Ids of the runs with an adapter."""
        raise NotImplementedError

    @cached_property
    def _conversations(self) -> Conversations:
        folder = tempfile.TemporaryDirectory(prefix="fake-chat-")
        self._folder = folder  # lives as long as this facade
        home = open_home(Path(folder.name))
        return Conversations(open_store(home.store, lambda _: False), Datasets(home), self._said)

    def chat_models(self) -> list[ChatModel]:
        tuned = [
            ChatModel(f"run:{run}{mark}", self._runs[run].model)
            for run in self._learned()
            for mark in ("", "@best", "@40")
        ]
        return tuned + [ChatModel(m.name, m.name) for m in content.MODELS if m.on_disk]

    def base_of(self, model: str) -> str | None:
        if not model.startswith("run:"):
            return None
        run = model[4:].partition("@")[0]
        if run not in self._runs:
            raise StudioError("run_missing", run=run)
        return self._runs[run].model

    def warm_chat(self, model: str) -> None:
        self.warmed.append(model)

    def chat(self, request: ChatRequest) -> Generator[ChatDelta, None, None]:
        return self._said(request, threading.Event())

    def _said(self, request: ChatRequest, stopped: threading.Event) -> Generator[ChatDelta, None, None]:
        for number, pane in enumerate(request.panes):
            base = self.base_of(pane.model)
            prompt = pane.messages[-1]["content"]
            words = content.answer(prompt, "tuned" if base else "base").split(" ")
            limit = request.sampling.max_tokens
            for i, word in enumerate(words[:limit]):
                if stopped.wait(self._chat_seconds):
                    return
                yield ChatDelta(number, word if i == 0 else f" {word}")
            yield ChatDelta(
                number,
                "",
                done=True,
                finish_reason="length" if len(words) > limit else "stop",
                tokens=min(len(words), limit),
                tokens_per_second=48.0,
                seconds_to_first=0.21,
                proof=Proof("9f2c" * 16, _hash_of(pane.model) if base else None, "77" * 32),
            )


def _hash_of(model: str) -> str:
    return model.encode().hex().ljust(64, "0")[:64]
