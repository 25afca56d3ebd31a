"""A fresh home with an open store for each test, and jobs of the counting kind in it; a facade, a tiny model
and rows for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.facade import StudioFacade
from backend.home import Home, open_home
from backend.jobs import record
from backend.jobs.launchers.local import LocalLauncher
from backend.jobs.processes import end_by_force, own_identity
from backend.jobs.queue import Queue, StopDeadlines, any_worker_lives
from backend.jobs.record import Job
from backend.store.database import Store, open_store
from tests.backend.launchers import HereAndNow, Notes
from tests.toys.folders import write_model


@dataclass
class Bench:
    """Home, store and queue of one test."""

    home: Home
    store: Store
    queue: Queue

    def add(self, steps: int = 20, devices: tuple[str, ...] = ("cpu",), **plan: Any) -> str:
        with self.store.writing() as connection:
            id = record.new_id(connection, "count")
            body = {"steps": steps, **plan}
            record.add(connection, id, "counting", body, devices=devices, steps_planned=steps)
        return id

    def job(self, id: str) -> Job:
        return record.find(self.store.connection, id)

    def events(self, id: str, kind: str) -> list[str]:
        rows = self.store.rows("SELECT body FROM event WHERE job = ? AND kind = ? ORDER BY seq", id, kind)
        return [row["body"] for row in rows]

    def wish(self, id: str, what: str) -> None:
        with self.store.writing() as connection:
            job = record.find(connection, id)
            if what == "stop":
                record.move(connection, job, "ask_stop")
            record.wish(connection, job, what)

    def until(self, holds: Callable[[], bool], seconds: float = 30.0, look: bool = True) -> None:
        """Wait until something holds, moving the queue on meanwhile if `look`; fails after `seconds`."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, [(j.id, j.state, j.phase, j.error) for j in self.jobs()]
            if look:
                self.queue.advance()
            time.sleep(0.05)

    def jobs(self) -> list[Job]:
        return record.every(self.store)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    home = open_home(tmp_path / "home")
    store = open_store(home.store, any_worker_lives)
    launcher = LocalLauncher("tests.backend.counting_worker")
    queue = Queue(home, store, launcher, lambda _: StopDeadlines(1.0, 2.0))
    yield Bench(home, store, queue)
    for job in record.live(store.connection):
        if job.process is not None and job.process != own_identity():
            end_by_force(job.process)
    store.close()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    return write_sums(tmp_path / "sums.jsonl", 60)


def write_sums(file: Path, count: int) -> Path:
    rows = (
        {"prompt": f"{i} and {i * 7 % 11}?", "completion": f"it is {i + i * 7 % 11}"} for i in range(count)
    )
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def facade(home: Path) -> Iterator[StudioFacade]:
    """A studio whose jobs are claimed by this process and never worked at."""
    facade = StudioFacade(home, launcher=Notes())
    yield facade
    facade.close()


@pytest.fixture
def working(home: Path) -> Iterator[StudioFacade]:
    """A studio whose jobs are done in this thread."""
    facade = StudioFacade(home, launcher=HereAndNow())
    yield facade
    facade.close()
