from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import openai
import pytest

from backend.chat.engine import Engine
from backend.home import open_home
from tests.chat.homes import ChatHome, write_home


@pytest.fixture(scope="session")
def chat_home(tmp_path_factory: pytest.TempPathFactory) -> ChatHome:
    """The home that all chat tests share; they only read it."""
    return write_home(tmp_path_factory.mktemp("chat"))


@dataclass(frozen=True)
class RunningEngine:
    engine: Engine
    home: ChatHome
    client: openai.OpenAI

    @property
    def url(self) -> str:
        return self.engine.server.url

    @property
    def token(self) -> str:
        return self.engine.token


@pytest.fixture(scope="session")
def engine(chat_home: ChatHome) -> Iterator[RunningEngine]:
    """An engine in threads of this process; `test_engine_process` has one in a process of its own."""
    environment = dict(os.environ)
    made = Engine(open_home(chat_home.root), chat_home.base)
    thread = threading.Thread(target=made.run, args=(600.0, None))
    thread.start()
    # transformers ties no weights anywhere in a process while it loads a model in it: no other may load now.
    assert made._answering.ready.wait(60)
    client = openai.OpenAI(base_url=f"{made.server.url}/v1", api_key=made.token, max_retries=0)
    yield RunningEngine(made, chat_home, client)
    client.close()
    made.end()
    thread.join(20)
    assert not thread.is_alive()
    os.environ.clear()
    os.environ.update(environment)
