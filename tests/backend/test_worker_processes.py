"""Real workers in processes of their own: detached, killed, stopped, queued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from backend.jobs.processes import identity
from tests.backend.conftest import Bench

pytestmark = pytest.mark.worker


def curve(bench: Bench, id: str) -> list[int]:
    rows = bench.store.rows(
        "SELECT DISTINCT step FROM metric WHERE job = ? AND name = 'loss' ORDER BY step", id
    )
    return [row["step"] for row in rows]


def test_a_job_runs_in_a_session_of_its_own_and_ends_done(bench: Bench) -> None:
    id = bench.add(steps=30, step_seconds=0.05)
    bench.until(lambda: len(curve(bench, id)) > 0)
    pid = bench.job(id).pid
    assert pid is not None
    assert os.getsid(pid) == pid != os.getsid(0)
    bench.until(lambda: bench.job(id).state == "done")
    job = bench.job(id)
    assert job.result == {"steps": 30}
    assert job.steps_planned == 30
    assert curve(bench, id) == list(range(1, 31))
    made = bench.store.rows("SELECT kind, path FROM artifact WHERE made_by = ?", id)
    assert [tuple(row) for row in made] == [("adapter", str(bench.home.run(id) / "adapter"))]


def test_a_killed_worker_is_settled_and_its_job_goes_on_from_the_checkpoint(bench: Bench) -> None:
    id = bench.add(steps=40, step_seconds=0.05, checkpoint_every=5)
    bench.until(lambda: len(curve(bench, id)) >= 12)
    pid = bench.job(id).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    bench.until(lambda: bench.job(id).state == "interrupted", seconds=5)
    with bench.store.writing() as connection:
        from backend.jobs import record

        record.requeue(connection, bench.job(id))
    bench.until(lambda: bench.job(id).state == "done")
    started = [json.loads(body)["from_step"] for body in bench.events(id, "started")]
    assert started[0] == 0
    assert started[1] >= 10
    assert started[1] % 5 == 0
    assert curve(bench, id) == list(range(1, 41))
    assert bench.job(id).attempt == 2


def queue_elsewhere(bench: Bench) -> subprocess.Popen[bytes]:
    """Another process that starts the first job of the queue and stays; it leads a session of its own."""
    code = (
        "import sys, time, pathlib\n"
        "from backend.home import open_home\n"
        "from backend.jobs.launchers.local import LocalLauncher\n"
        "from backend.jobs.queue import Queue, any_worker_lives\n"
        "from backend.store.database import open_store\n"
        "home = open_home(pathlib.Path(sys.argv[1]))\n"
        "store = open_store(home.store, any_worker_lives)\n"
        "Queue(home, store, LocalLauncher('tests.backend.counting_worker')).advance()\n"
        "time.sleep(600)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code, str(bench.home.root)], start_new_session=True)


def test_the_second_of_two_jobs_starts_although_whoever_queued_it_was_killed(bench: Bench) -> None:
    first, second = bench.add(steps=30, step_seconds=0.05), bench.add(steps=3)
    screen = queue_elsewhere(bench)
    bench.until(lambda: len(curve(bench, first)) > 0, look=False)
    assert bench.job(second).state == "queued"
    os.killpg(screen.pid, signal.SIGKILL)
    screen.wait()
    bench.until(lambda: bench.job(second).state == "done", look=False)
    assert bench.job(first).state == "done"
    assert bench.job(first).ended <= bench.job(second).started


def test_stop_leaves_a_checkpoint_and_pause_waits(bench: Bench) -> None:
    id = bench.add(steps=400, step_seconds=0.02)
    bench.until(lambda: len(curve(bench, id)) > 0)
    bench.wish(id, "pause")
    bench.until(lambda: bench.job(id).state == "paused")
    held = len(curve(bench, id))
    bench.wish(id, "continue")
    bench.until(lambda: bench.job(id).state == "running" and len(curve(bench, id)) > held)
    bench.wish(id, "stop")
    assert bench.job(id).state == "stopping"
    bench.until(lambda: bench.job(id).state == "stopped")
    counted = json.loads((bench.home.run(id) / "counted.json").read_text())["step"]
    assert bench.job(id).result == {"steps": counted}
    assert curve(bench, id) == list(range(1, counted + 1))
    assert bench.events(id, "stop_stage") == []


def test_a_stuck_worker_is_asked_by_signal_and_ends(bench: Bench) -> None:
    id = bench.add(steps=10, at={"4": "stuck"})
    bench.until(lambda: curve(bench, id) == [1, 2, 3])
    bench.wish(id, "stop")
    bench.until(lambda: bench.job(id).state == "stopped")
    assert [json.loads(b)["stage"] for b in bench.events(id, "stop_stage")] == ["terminate"]


def test_a_frozen_worker_is_ended_by_force(bench: Bench) -> None:
    id = bench.add(steps=1000, step_seconds=0.02)
    bench.until(lambda: len(curve(bench, id)) > 0)
    pid = bench.job(id).pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    bench.wish(id, "stop")
    bench.until(lambda: bench.job(id).state == "stopped")
    assert [json.loads(b)["stage"] for b in bench.events(id, "stop_stage")] == ["terminate", "kill"]
    assert identity(pid) is None


def test_a_signal_from_outside_leaves_the_job_interrupted_with_a_checkpoint(bench: Bench) -> None:
    id = bench.add(steps=1000, step_seconds=0.02)
    bench.until(lambda: len(curve(bench, id)) > 3)
    pid = bench.job(id).pid
    assert pid is not None
    psutil.Process(pid).terminate()
    bench.until(lambda: bench.job(id).state == "interrupted", look=False)
    assert json.loads((bench.home.run(id) / "counted.json").read_text())["step"] == len(curve(bench, id))


def test_a_worker_survives_the_hangup_of_its_terminal(bench: Bench) -> None:
    """The whole foreground group gets SIGHUP and SIGINT, as when a terminal window is closed."""
    id = bench.add(steps=40, step_seconds=0.05)
    shell = queue_elsewhere(bench)
    bench.until(lambda: len(curve(bench, id)) > 0, look=False)
    os.killpg(shell.pid, signal.SIGINT)
    os.killpg(shell.pid, signal.SIGHUP)
    shell.wait()
    bench.until(lambda: bench.job(id).state == "done", look=False)
    assert curve(bench, id) == list(range(1, 41))


@pytest.mark.parametrize(("how", "state", "code"), [("exit", "interrupted", None)])
def test_a_worker_that_vanishes_is_interrupted(bench: Bench, how: str, state: str, code: str | None) -> None:
    id = bench.add(steps=10, at={"4": how})
    bench.until(lambda: bench.job(id).state == state)
    assert bench.job(id).error is code
