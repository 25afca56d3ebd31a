"""Real training in real processes: killed and resumed to the same bits, queued, spared."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from backend.facade import StudioFacade
from backend.jobs.spare import Spares
from tests.backend.launchers import HereAndNow
from tests.toys.folders import write_model

pytestmark = pytest.mark.worker

# Three epochs of 44 steps, an evaluation every 11, dropout on, fp32: what a resumed run must repeat exactly.
SETTINGS = {
    "epochs": 3,
    "batch": 2,
    "eval_every": 11,
    "lr": 0.01,
    "dropout": 0.2,
    "rank": 4,
    "precision": "fp32",
    "adapter_dtype": "fp32",
    "device": "cpu",
}
PER_EPOCH, TOTAL = 44, 132


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A tiny model and 96 rows of different lengths: 88 to train on, 8 held out."""
    folder = tmp_path_factory.mktemp("inputs")
    rows = (
        {
            "prompt": f"{i} and {i % 7}?" + " please" * (i % 9),
            "completion": f"it is {i + i % 7}" + "!" * (i % 4),
        }
        for i in range(96)
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
    for summary in facade.runs("all"):
        if summary.state in ("running", "paused", "stopping"):
            kill(facade, summary.run)
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


def step(facade: StudioFacade, run: str) -> int:
    return facade.run(run).summary.steps


def kill(facade: StudioFacade, run: str) -> None:
    pid = facade._runs.job(run).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def interrupted(facade: StudioFacade, run: str) -> bool:
    return facade.run(run).summary.state == "interrupted"


# When the worker is killed. `step` is what the store shows: the worker itself is a little further.
MOMENTS: dict[str, Callable[[StudioFacade, str], bool]] = {
    "in the first epoch": lambda facade, run: step(facade, run) >= PER_EPOCH // 2,
    "in the second epoch": lambda facade, run: step(facade, run) >= PER_EPOCH + PER_EPOCH // 2,
    "right after an evaluation": lambda facade, run: len(facade.series([run], ["eval_loss"])[0].steps) >= 5,
    "while starting": lambda facade, run: facade.run(run).summary.phase in ("loading", "encoding"),
}


def killed_and_resumed(
    facade: StudioFacade, inputs: tuple[str, str], moments: list[str]
) -> tuple[str, list[float]]:
    """The run's id, and how many seconds each death took to be noticed by the watch, nobody asking."""
    run = facade.start(*inputs, set=SETTINGS)
    noticed = []
    for moment in moments:
        until(lambda moment=moment: MOMENTS[moment](facade, run))  # type: ignore[misc]
        kill(facade, run)
        began = time.monotonic()
        until(lambda: state_in_store(facade, run) == "interrupted")
        noticed.append(time.monotonic() - began)
        assert facade.resume(run).state in ("running", "queued")
    assert list(facade.wait(run))[-1].state == "done"
    return run, noticed


def state_in_store(facade: StudioFacade, run: str) -> str:
    """As stored, without the look that asking the facade is."""
    state: str = facade._store.value("SELECT state FROM job WHERE id = ?", run)
    return state


def test_killed_in_the_second_epoch_the_adapter_is_the_same_bit_for_bit(
    facade: StudioFacade, inputs: tuple[str, str], undisturbed: dict[str, Any]
) -> None:
    run, noticed = killed_and_resumed(facade, inputs, ["in the second epoch"])
    assert noticed[0] < 5
    assert outcome(facade, run) == undisturbed
    assert facade.run(run).summary.attempt == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "moments",
    [
        ["in the first epoch"],
        ["right after an evaluation"],
        ["while starting"],
        ["in the first epoch", "in the second epoch"],
    ],
    ids=" then ".join,
)
def test_the_kill_matrix(
    facade: StudioFacade, inputs: tuple[str, str], undisturbed: dict[str, Any], moments: list[str]
) -> None:
    run, noticed = killed_and_resumed(facade, inputs, moments)
    assert max(noticed) < 5
    assert outcome(facade, run) == undisturbed
    assert facade.run(run).summary.attempt == len(moments) + 1


def test_stopped_and_paused_and_resumed_it_is_the_same_run(
    facade: StudioFacade, inputs: tuple[str, str], undisturbed: dict[str, Any]
) -> None:
    run = facade.start(*inputs, set=SETTINGS)
    until(lambda: step(facade, run) >= 10)
    facade.pause(run)
    assert list(facade.wait(run))[-1].state == "paused"
    held = step(facade, run)
    facade.resume(run)
    until(lambda: step(facade, run) > held)
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
    assert facade.draft(*inputs, set=SETTINGS).problems == ()
    (spare,) = Spares(facade._home).waiting()
    assert facade.spare_bytes() > 2**20
    facade.draft(*inputs, set=SETTINGS)
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
    facade.draft(*inputs, set=SETTINGS)
    (spare,) = Spares(facade._home).waiting()
    facade.close()
    from backend.jobs.processes import alive

    until(lambda: alive(spare.process) is False, seconds=30)
    assert Spares(facade._home).waiting() == []
