"""Real training in real processes: killed and resumed to the same bits, queued, spared."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from backend.facade import StudioFacade
from backend.jobs import record
from backend.jobs.launchers.local import LocalLauncher
from backend.jobs.processes import alive, end_by_force
from backend.jobs.spare import Spares
from tests.backend.launchers import HereAndNow
from tests.toys.folders import write_model

pytestmark = pytest.mark.worker

# Three epochs of 20 steps, an evaluation every 7, dropout on, fp32: what a resumed run must repeat exactly.
SETTINGS = {
    "epochs": 3,
    "batch": 2,
    "eval_every": 7,
    "lr": 0.01,
    "dropout": 0.2,
    "rank": 4,
    "precision": "fp32",
    "adapter_dtype": "fp32",
    "device": "cpu",
}
TOTAL = 60
# When a worker is killed. Steps 1 to 20 are the first epoch; 28 and 42 are looked at the held-out rows.
MOMENTS: dict[str, tuple[str, int]] = {
    "before the first checkpoint": ("loss", 5),
    "in the first epoch": ("loss", 17),
    "in the second epoch": ("loss", 31),
    "right after an evaluation": ("eval_loss", 28),
    "while a checkpoint is written": ("saving", 3),
    "while loading": ("loading", 1),
    "at the last step": ("loss", 60),
}


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A tiny model and 48 rows of different lengths: 40 to train on, 8 held out."""
    folder = tmp_path_factory.mktemp("inputs")
    rows = (
        {
            "prompt": f"{i} and {i % 7}?" + " please" * (i % 9),
            "completion": f"it is {i + i % 7}" + "!" * (i % 4),
        }
        for i in range(48)
    )
    data = folder / "sums.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(write_model(folder / "tiny")), str(data)


@pytest.fixture(scope="session")
def undisturbed(inputs: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The run that nothing happened to: its adapter and its curve."""
    facade = StudioFacade(tmp_path_factory.mktemp("undisturbed"), launcher=HereAndNow())
    run = facade.start(*inputs, set=SETTINGS)
    found = outcome(facade, run)
    facade.close()
    assert found["steps"] == TOTAL
    return found


@pytest.fixture
def facade(home: Path) -> Iterator[StudioFacade]:
    facade = StudioFacade(home, watch=True)
    yield facade
    close(facade)


def close(facade: StudioFacade) -> None:
    for job in record.live(facade._store.connection):
        if job.process is not None:
            end_by_force(job.process)
    facade.close()


def outcome(facade: StudioFacade, run: str) -> dict[str, Any]:
    """Adapter (bytes of every tensor) and curves of a finished run."""
    summary = facade.run(run).summary
    assert summary.state == "done", (summary, facade.log_tail(run))
    assert summary.adapter is not None
    with safe_open(Path(summary.adapter) / "adapter_model.safetensors", "np") as file:
        tensors = {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118 - not a dict
    curves = {
        s.name: (s.steps, s.values) for s in facade.series([run], ["loss", "eval_loss", "lr", "grad_norm"])
    }
    return {"steps": summary.steps, "tensors": tensors, "curves": curves}


def until(holds: Callable[[], bool], seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.03)


def state_in_store(facade: StudioFacade, run: str) -> str:
    """As stored, without the look that asking the facade is."""
    state: str = facade._store.value("SELECT state FROM job WHERE id = ?", run)
    return state


def resume_after_kills(home: Path, inputs: tuple[str, str], moments: tuple[str, ...]) -> dict[str, Any]:
    """Outcome of a run that is killed at each of the moments in turn, and resumed each time."""
    facade = StudioFacade(home, watch=True, launcher=LocalLauncher("tests.backend.doomed_worker"))
    try:
        run = facade.start(*inputs, set=SETTINGS)
        for attempt in range(1, len(moments) + 1):
            job = facade._runs.job(run)
            assert (job.attempt, job.state) == (attempt, "running")
            assert job.process is not None
            until(lambda process=job.process: alive(process) is False)  # type: ignore[misc]
            # Nobody asks the facade: it is the watch that notices.
            until(lambda: state_in_store(facade, run) == "interrupted", seconds=5)
            assert facade.run(run).summary.error is None
            facade.resume(run)
        assert list(facade.wait(run))[-1].state == "done"
        assert facade.run(run).summary.attempt == len(moments) + 1
        return outcome(facade, run)
    finally:
        close(facade)


def killed(*moments: str, slow: bool = True) -> Any:
    """One case: a run killed at these moments."""
    return pytest.param(moments, id=" then ".join(moments), marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(
    "moments",
    [
        killed("in the second epoch", slow=False),
        *(killed(moment) for moment in MOMENTS if moment != "in the second epoch"),
        killed("in the first epoch", "right after an evaluation", "in the second epoch"),
    ],
)
def test_a_killed_and_resumed_run_ends_with_the_same_bits(
    home: Path,
    inputs: tuple[str, str],
    undisturbed: dict[str, Any],
    moments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    doom = {attempt: MOMENTS[moment] for attempt, moment in enumerate(moments, 1)}
    monkeypatch.setenv("STUDIO_TEST_DOOM", json.dumps(doom))
    assert resume_after_kills(home, inputs, moments) == undisturbed


def test_paused_and_stopped_and_resumed_it_is_the_same_run(
    facade: StudioFacade, inputs: tuple[str, str], undisturbed: dict[str, Any]
) -> None:
    run = facade.start(*inputs, set=SETTINGS)
    facade.pause(run)  # before there is a step: it holds at the first boundary
    paused = list(facade.wait(run))[-1]
    assert (paused.state, paused.steps) == ("paused", 1)
    facade.resume(run)
    facade.stop(run)
    stopped = list(facade.wait(run))[-1]
    assert (stopped.state, stopped.error) == ("stopped", None)
    assert facade.run(run).checkpoints[-1] == stopped.steps < TOTAL
    facade.resume(run)
    assert list(facade.wait(run))[-1].state == "done"
    assert outcome(facade, run) == undisturbed


def test_a_spare_worker_does_the_next_run(
    facade: StudioFacade, inputs: tuple[str, str], undisturbed: dict[str, Any]
) -> None:
    draft = facade.draft(*inputs, set=SETTINGS)
    assert draft.problems == ()
    assert Spares(facade._home).waiting() == []  # a look at the plan alone starts nothing
    facade.warm_worker(draft)
    (spare,) = Spares(facade._home).waiting()
    until(lambda: facade.spare_bytes() > 2**20)  # it imports
    facade.warm_worker(draft)
    assert [s.process for s in Spares(facade._home).waiting()] == [spare.process]
    run = facade.start(*inputs, set=SETTINGS)
    assert facade._runs.job(run).process == spare.process
    assert Spares(facade._home).waiting() == []
    assert list(facade.wait(run))[-1].state == "done"
    assert outcome(facade, run) == undisturbed
    assert "phase training" in facade.log_tail(run)
    assert list((facade.home / "cache" / "spare").iterdir()) == []


def test_a_spare_ends_with_the_screen(home: Path, inputs: tuple[str, str]) -> None:
    facade = StudioFacade(home, watch=True)
    facade.warm_worker(facade.draft(*inputs, set=SETTINGS))
    (spare,) = Spares(facade._home).waiting()
    facade.close()
    until(lambda: alive(spare.process) is False, seconds=30)
    assert Spares(facade._home).waiting() == []
