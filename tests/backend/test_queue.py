"""Claiming, settling and pressing, without worker processes: a launcher that only notes what it was asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from backend.jobs import processes, record
from backend.jobs.processes import Identity, alive, identity, own_identity
from backend.jobs.queue import Queue, any_worker_lives, stop_deadlines
from backend.jobs.states import START_SECONDS
from studio.errors import StudioError
from tests.backend.conftest import Bench
from tests.backend.launchers import Notes


def queue_of(bench: Bench, launcher: Notes) -> Queue:
    return Queue(bench.home, bench.store, launcher)


def a_dead_process() -> Identity:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = identity(child.pid)
    child.communicate(b"\n")
    assert who is not None
    return who


def test_one_job_per_device_oldest_first_and_other_devices_beside_it(bench: Bench) -> None:
    first, second = bench.add(), bench.add()
    gpu, both = bench.add(devices=("cuda:0",)), bench.add(devices=("cuda:0", "cuda:1"))
    download = bench.add(devices=())
    notes = Notes()
    queue_of(bench, notes).advance()
    assert notes.launched == [(first, 1), (gpu, 1), (download, 1)]
    assert bench.job(second).state == "queued"
    assert bench.job(both).state == "queued"
    assert bench.job(first).process == own_identity()
    with bench.store.writing() as connection:
        record.move(connection, bench.job(first), "finish")
        record.move(connection, bench.job(gpu), "finish")
    queue_of(bench, notes).advance()
    assert notes.launched[3:] == [(second, 1), (both, 1)]


def test_a_paused_job_keeps_its_device(bench: Bench) -> None:
    first, second = bench.add(), bench.add()
    notes = Notes()
    queue_of(bench, notes).advance()
    with bench.store.writing() as connection:
        record.move(connection, bench.job(first), "pause")
    queue_of(bench, notes).advance()
    assert notes.launched == [(first, 1)]
    assert bench.job(second).state == "queued"


@pytest.mark.worker
def test_two_claimers_never_get_the_same_job(bench: Bench) -> None:
    ids = [bench.add(devices=()) for _ in range(20)]
    code = (
        "import sys, pathlib\n"
        "from backend.home import open_home\n"
        "from backend.jobs.launchers.local import LocalLauncher\n"
        "from backend.jobs.queue import Queue, any_worker_lives\n"
        "from backend.store.database import open_store\n"
        "home = open_home(pathlib.Path(sys.argv[1]))\n"
        "queue = Queue(home, open_store(home.store, any_worker_lives), LocalLauncher())\n"
        "while (job := queue.claim()) is not None:\n"
        "    print(job.id)\n"
    )
    command = [sys.executable, "-c", code, str(bench.home.root)]
    claimers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    claimed = [c.communicate()[0].split() for c in claimers]
    assert sorted(id for ids in claimed for id in ids) == sorted(ids)


def test_the_dead_are_settled_and_the_next_is_claimed(bench: Bench) -> None:
    first, second = bench.add(), bench.add()
    queue_of(bench, Notes(a_dead_process())).advance()
    assert bench.job(first).state == "running"
    notes = Notes()
    queue_of(bench, notes).advance()
    assert bench.job(first).state == "interrupted"
    assert bench.job(first).ended is not None
    assert notes.launched == [(second, 1)]
    assert json.loads(bench.events(first, "process_ended")[0])["attempt"] == 1


def test_a_pid_that_came_back_another_boot_and_another_host(bench: Bench) -> None:
    own = own_identity()
    assert alive(own) is True
    assert alive(replace(own, started=own.started + 1)) is False
    assert alive(replace(own, boot="another")) is False
    assert alive(replace(own, host="elsewhere")) is None
    assert alive(a_dead_process()) is False
    here, there = bench.add(devices=()), bench.add(devices=())
    queue = queue_of(bench, Notes(replace(own, host="elsewhere")))
    queue.advance()
    with bench.store.writing() as connection:
        values = dict(zip(("host", "boot", "pid", "pid_started"), astuple(own), strict=True))
        record.update(connection, here, **{**values, "boot": "another"})
    queue.advance()
    assert bench.job(here).state == "interrupted"
    assert bench.job(there).state == "running"
    assert any_worker_lives(bench.store.connection)


def test_a_machine_keeps_its_name_when_its_host_name_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def identity_with(id: str, host: str) -> Identity:
        (tmp_path / "machine-id").write_text(id)
        monkeypatch.setattr("backend.jobs.processes._MACHINE_ID", tmp_path / "machine-id")
        monkeypatch.setattr("platform.node", lambda: host)
        processes.machine_id.cache_clear()
        return own_identity()

    try:
        assert identity_with("4f3a\n", "laptop") == identity_with("4f3a\n", "laptop.cafe")
        assert alive(identity_with("", "container-1")) is True
        before = own_identity()
        identity_with("", "container-2")
        assert alive(before) is None
    finally:
        processes.machine_id.cache_clear()


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert identity(child.pid) is None
    child.wait()


def test_an_old_heartbeat_alone_changes_no_state(bench: Bench) -> None:
    id = bench.add()
    queue_of(bench, Notes()).advance()
    with bench.store.writing() as connection:
        record.update(connection, id, heartbeat=time.time() - 3600)
    queue_of(bench, Notes()).advance()
    assert bench.job(id).state == "running"


def test_a_worker_that_cannot_be_started_fails_its_job_and_the_queue_goes_on(bench: Bench) -> None:
    first, second = bench.add(), bench.add()
    queue_of(bench, Notes(error=OSError("no more processes"))).advance()
    for id in (first, second):
        assert bench.job(id).state == "failed"
        assert bench.job(id).error == {
            "code": "worker_not_started",
            "facts": {"detail": "no more processes"},
        }


def test_a_job_whose_gpu_is_not_shown_any_more_fails(bench: Bench) -> None:
    id, refusal = bench.add(), StudioError("device_unknown", device="cuda:1", known="cpu")
    queue_of(bench, Notes(error=refusal)).advance()
    assert (bench.job(id).state, bench.job(id).error) == ("failed", refusal.as_dict())


def test_a_job_claimed_by_somebody_who_died_before_starting_it(bench: Bench) -> None:
    id = bench.add()
    assert queue_of(bench, Notes()).claim() is not None
    queue_of(bench, Notes()).advance()
    assert bench.job(id).state == "running"
    with bench.store.writing() as connection:
        record.update(connection, id, started=time.time() - START_SECONDS - 1)
    queue_of(bench, Notes()).advance()
    assert bench.job(id).state == "interrupted"


def test_ids_count_on_and_do_not_come_back(bench: Bench) -> None:
    assert [bench.add(), bench.add()] == ["count-1", "count-2"]
    with bench.store.writing() as connection:
        record.update(connection, "count-2", deleted=time.time())
        assert record.new_id(connection, "count") == "count-3"
        assert record.new_id(connection, "count-2") == "count-2-1"
        assert record.new_id(connection, "coun") == "coun-1"
        folders = ["count-5", "count-x", "count-7-9", "other-8", "9", ".new-1"]
        assert record.new_id(connection, "count", folders) == "count-6"


@pytest.mark.parametrize(
    ("step_seconds", "terminate", "kill"), [(None, 30, 45), (0.1, 30, 45), (20.0, 200, 240)]
)
def test_the_deadlines_of_a_stop_grow_with_the_step(
    step_seconds: float | None, terminate: float, kill: float
) -> None:
    assert astuple(stop_deadlines(step_seconds)) == (terminate, kill)
