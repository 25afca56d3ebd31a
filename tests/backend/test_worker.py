"""The worker's main in this process: what it records of every way in which a job can end."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from backend.jobs import kinds, record, worker
from backend.jobs.record import Job
from tests.backend.conftest import Bench
from tests.backend.counting import CountingKind
from tests.backend.launchers import work


@contextmanager
def claimed(bench: Bench) -> Iterator[Job]:
    job = bench.queue.claim()
    assert job is not None
    yield job


@pytest.fixture(autouse=True)
def _counting() -> None:
    kinds.add(CountingKind())


def test_one_worker_after_the_other_empties_the_queue(bench: Bench) -> None:
    ids = [bench.add(steps=n) for n in (3, 4, 5)]
    with claimed(bench) as job:
        assert work(bench.home, job) == 0
    assert [bench.job(id).state for id in ids] == ["done"] * 3
    assert [bench.job(id).result for id in ids] == [{"steps": n} for n in (3, 4, 5)]


def test_the_job_may_end_right_after_it_was_let_go_on(bench: Bench) -> None:
    id = bench.add()
    with claimed(bench) as job:
        ending = worker.Worker(bench.home, bench.store, job)
        ending._later = ["continue"]
        ending._outcome = kinds.Outcome("finish", {"steps": 20})
        with bench.store.writing() as connection:
            record.move(connection, job, "pause")
        ending._conclude()
    assert bench.job(id).state == "done"


def test_an_error_that_a_person_can_mend_is_kept_with_its_facts(bench: Bench) -> None:
    id = bench.add(at={"3": "error"})
    with claimed(bench) as job:
        assert work(bench.home, job) == 0
    assert bench.job(id).state == "failed"
    assert bench.job(id).error == {
        "code": "disk_full",
        "facts": {"path": "/", "needed_bytes": 2, "free_bytes": 1},
    }
    assert bench.store.value("SELECT max(step) FROM metric WHERE job = ?", id) == 2


def test_a_bug_fails_the_job_and_its_traceback_is_in_the_log(bench: Bench) -> None:
    id = bench.add(at={"3": "bug"})
    with claimed(bench) as job:
        assert work(bench.home, job) == 0
    assert bench.job(id).state == "failed"
    assert bench.job(id).error == {"code": "bug", "facts": {"log": str(bench.home.log(id))}}
    text = bench.home.log(id).read_text()
    assert "ZeroDivisionError: on purpose" in text
    assert "_go_wrong" in text


def test_an_unknown_kind_fails_and_names_the_known_ones(bench: Bench) -> None:
    with bench.store.writing() as connection:
        record.add(connection, "odd-1", "oddity", {})
    with claimed(bench) as job:
        work(bench.home, job)
    error = bench.job("odd-1").error
    assert error is not None
    assert error["code"] == "unknown_extension"
    assert "train" in error["facts"]["known"]


def test_a_worker_leaves_alone_what_is_not_its_own(bench: Bench) -> None:
    id = bench.add(steps=3)
    with claimed(bench) as job:
        with bench.store.writing() as connection:
            record.update(connection, id, host="h", boot="b", pid=1, pid_started=1.0)
        assert work(bench.home, job) == worker.NOT_MINE
    assert bench.job(id).pid == 1
    with bench.store.writing() as connection:
        record.move(connection, bench.job(id), "interrupt")
        record.requeue(connection, bench.job(id))
    assert work(bench.home, job) == worker.NOT_MINE  # attempt 1 is over
    assert bench.job(id).state == "queued"
    assert not bench.store.rows("SELECT 1 FROM metric")


def test_a_resumed_job_has_one_attempt_more_and_forgets_its_error(bench: Bench) -> None:
    id = bench.add(steps=12, checkpoint_every=2, at={"7": "error"})
    with claimed(bench) as job:
        work(bench.home, job)
    with bench.store.writing() as connection:
        record.requeue(connection, bench.job(id))
    with claimed(bench) as job:
        assert job.attempt == 2
        work(bench.home, job)
    done = bench.job(id)
    assert (done.state, done.error, done.result) == ("done", None, {"steps": 12})
    rows = bench.store.rows("SELECT step, attempt FROM metric WHERE job = ? ORDER BY seq", id)
    assert [tuple(r) for r in rows] == [(s, 1) for s in range(1, 7)] + [(s, 2) for s in range(7, 13)]


def test_the_end_is_recorded_although_the_store_was_locked_for_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = partial(worker.open_store, busy_seconds=0.05)
    monkeypatch.setattr(worker, "open_store", impatient)
    id = bench.add(steps=5, step_seconds=0.02)
    released: list[float] = []
    other = sqlite3.connect(bench.home.store, isolation_level=None, check_same_thread=False)

    def release() -> None:
        released.append(time.time())
        other.execute("ROLLBACK")

    with claimed(bench) as job:
        timers = [threading.Timer(0.1, other.execute, ["BEGIN IMMEDIATE"]), threading.Timer(1.0, release)]
        for timer in timers:
            timer.start()
        assert work(bench.home, job) == 0
        for timer in timers:
            timer.join()
    other.close()
    done = bench.job(id)
    assert done.state == "done"
    assert done.ended is not None
    assert done.ended >= released[0]
    assert bench.store.value("SELECT count(*) FROM metric WHERE job = ?", id) == 5
