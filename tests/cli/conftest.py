"""Commands run in this process against the facade in memory."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fake_facade import FakeFacade
from ui.cli.main import main


@dataclass
class Ran:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output; fails on anything beside it."""
        return json.loads(self.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.fixture
def facade(tmp_path):
    return FakeFacade(tmp_path, speed=2000, chat_seconds=0)


@pytest.fixture
def command(facade, capsys):
    """Run a command line; `homes` collects the homes that were asked for."""

    def run(*arguments: str) -> Ran:
        code = main(arguments, open_facade=lambda home: run.homes.append(home) or facade)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    run.homes = []
    return run
