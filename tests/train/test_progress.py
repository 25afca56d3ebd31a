"""When a checkpoint is due, and which evaluation is the best."""

from __future__ import annotations

from studio.cost import Spent
from studio.train.energy import EnergyMeter
from studio.train.progress import Pace, Progress, peak_memory_bytes


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def _run(save_seconds: float, step_seconds: float, until: float) -> tuple[list[float], float]:
    """Times of the checkpoints and the share of the time that they took."""
    clock = Clock()
    pace, saves = Pace(clock), []
    while clock.time < 100 + until:
        pace.start()
        clock.time += step_seconds
        pace.stepped(tokens=1)
        if pace.save_due():
            saves.append(clock.time - 100)
            clock.time += save_seconds
            pace.saved(save_seconds)
    return saves, len(saves) * save_seconds / (clock.time - 100)


def test_cheap_checkpoints_come_every_ten_seconds() -> None:
    saves, share = _run(save_seconds=0.05, step_seconds=0.5, until=300)
    gaps = [b - a for a, b in zip([0.0, *saves], saves, strict=False)]
    assert max(gaps) <= 11
    assert share <= 0.03


def test_dear_checkpoints_take_three_percent_of_the_time() -> None:
    saves, share = _run(save_seconds=6.0, step_seconds=1.0, until=4000)
    assert saves[0] <= 30
    assert 0.02 < share <= 0.031


def test_first_checkpoint_within_thirty_seconds_of_slow_steps() -> None:
    saves, _ = _run(save_seconds=0.05, step_seconds=9.0, until=100)
    assert saves[0] <= 30


def test_what_steps_take_is_summed_without_the_first_and_without_what_lies_between() -> None:
    clock, counter = Clock(), [0]
    pace = Pace(clock, EnergyMeter(lambda: list(counter), [2**64], clock))
    for seconds, joules, tokens in ((9.0, 500, 7), (2.0, 30, 10), (3.0, 40, 20)):
        clock.time += 50.0  # an evaluation
        counter[0] += 10**9
        pace.start()
        clock.time += seconds
        counter[0] += joules * 10**6
        assert pace.stepped(tokens) == Spent(1, tokens, seconds, joules)
    assert pace.spent == Spent(2, 30, 5.0, 70.0)


def test_an_energy_that_is_not_known_of_one_step_is_not_known_of_all() -> None:
    assert Spent(1, 10, 2.0, 5.0) + Spent(1, 10, 2.0, None) == Spent(2, 20, 4.0, None)


def test_best_is_the_lowest_and_the_first_of_equals() -> None:
    progress = Progress()
    best = []
    for step, loss in enumerate([2.0, 1.5, 1.7, 1.5, 1.4], start=1):
        progress.step = step
        best.append(progress.evaluated(loss))
    assert best == [True, True, False, False, True]
    assert (progress.best_step, progress.best_eval_loss, progress.eval_loss) == (5, 1.4, 1.4)
    assert Progress(**progress.as_dict()) == progress


def test_peak_memory_counts_what_was_freed_again() -> None:
    before = peak_memory_bytes("cpu")
    block = bytearray(before + 200 * 2**20)
    del block
    assert peak_memory_bytes("cpu") >= before + 190 * 2**20
