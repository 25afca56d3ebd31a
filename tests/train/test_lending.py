"""A model lent while it trains: training stays the same bit for bit, answers are those of its weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from studio.generate.decode import Decoder
from studio.generate.request import Request, Sampling
from studio.plan import Plan
from studio.train import lending
from studio.train.lending import Allowance
from studio.train.run import train
from studio.train.undisturbed import random_state
from tests.toys.folders import sums, tiny_plan, write_model, write_run
from tests.toys.guests import Asked, Asker
from tests.toys.runs import assert_same_bits
from tests.toys.watch import Boundary, Recorder

PROMPT = tuple(range(10, 34))
GREEDY = Request(PROMPT, max_tokens=9)
SAMPLED = Request(PROMPT[:7], Sampling(temperature=1.0, seed=3), max_tokens=14)


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a tiny model are too short to earn a slice at every boundary: give one."""
    monkeypatch.setattr(Allowance, "earned", lambda _self, asked: 0.05 if asked else 0.0)


def run(
    plan: Plan, model: Path, folder: Path, guest: Asker | None = None, control: Boundary | None = None
) -> Recorder:
    recorder = Recorder()
    write_run(folder, sums(24), sums(9, 100))
    control = control or Boundary()
    train(plan, model_folder=model, folder=folder, sink=recorder, control=control, guest=guest)
    return recorder


def curves(recorder: Recorder) -> dict[str, list[float]]:
    return {name: recorder.curve(name) for name in ("loss", "eval_loss", "grad_norm", "lr")}


PLANS: dict[str, dict[str, Any]] = {
    "lora": {"dropout": 0.1},
    "lora in 16 bit autocast": {"dropout": 0.1, "precision": "mixed"},
    "lora with checkpointing": {"dropout": 0.1, "gradient_checkpointing": True},
    "dora on a head of its own": {"dropout": 0.1, "dora": True, "modules_to_save": ("lm_head",)},
    "pissa": {"dropout": 0.1, "init": "pissa"},
    "qlora": {"dropout": 0.1},
    "lst": {},
    "qst": {"precision": "mixed"},
    "full": {},
}


@pytest.mark.parametrize("name", PLANS)
def test_a_run_that_is_asked_trains_the_same_bit_for_bit(
    name: str, model_folder: Path, tmp_path: Path
) -> None:
    method = {"dora": "lora", "pissa": "lora"}.get(name.split()[0], name.split()[0])
    plan = tiny_plan(method, eval_every=5, **PLANS[name])
    guest = Asker([GREEDY, SAMPLED])
    asked = run(plan, model_folder, tmp_path / "asked", guest)
    alone = run(plan, model_folder, tmp_path / "alone")
    assert curves(asked) == curves(alone)
    assert_same_bits(tmp_path / "asked" / "adapter", tmp_path / "alone" / "adapter")
    assert guest.left
    switchable = name not in ("full", "pissa")
    assert {answer.side for answer in guest.answers} == ({"tuned", "base"} if switchable else {"tuned"})
    # At every boundary, those of the evaluations included, a side got a token at least.
    assert {step for answer in guest.answers for step in answer.steps} == set(range(1, 13))


class _Frozen(Asker):
    """Keeps a copy of the model as it is at `step`, and asks only then."""

    def __init__(self, requests: list[Request], step: int) -> None:
        super().__init__(requests)
        self.at = step

    def bring(self) -> None:
        if self.lending.step() != self.at:
            return
        computation = self.lending._computation
        self.copy = copy.deepcopy(computation)
        self.modes = [module.training for module in computation.modules()]
        super().bring()


def expected(frozen: _Frozen, answer: Asked) -> list[int]:
    """The answer by a decoder of its own over the frozen copy."""
    computation = frozen.copy
    off = computation.tuner.disabled(computation.model) if answer.side == "base" else None
    decoder = Decoder(computation.models.policy.anatomy.model)
    decoder.add(answer.request)
    tokens: list[int] = []
    with torch.no_grad(), off or torch.no_grad():
        while decoder.busy:
            tokens += [token.id for token in decoder.step() if token.id is not None]
    return tokens


@pytest.mark.parametrize("method", ["lora", "lst"])
def test_an_answer_within_one_boundary_is_that_of_the_frozen_model(
    method: str, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Allowance, "earned", lambda _self, asked: 1.0 if asked else 0.0)
    more = {"dropout": 0.1} if method == "lora" else {}
    frozen = _Frozen([SAMPLED], step=7)
    run(tiny_plan(method, **more), model_folder, tmp_path / "run", frozen)
    answers = {answer.side: answer for answer in frozen.answers}
    frozen.copy.eval()
    for answer in answers.values():
        assert answer.steps == [7] * len(answer.tokens)
        assert answer.tokens == expected(frozen, answer)
    assert len(answers["tuned"].tokens) == 14
    assert answers["tuned"].tokens != answers["base"].tokens


def test_an_answer_says_which_steps_it_came_from(model_folder: Path, tmp_path: Path) -> None:
    guest = Asker([Request(PROMPT, max_tokens=200)], only=["tuned"])
    run(tiny_plan(), model_folder, tmp_path / "run", guest)
    steps = guest.answers[0].steps
    assert steps[0] == 1
    assert steps == sorted(steps)
    assert steps[-1] > steps[0]


class _Looking(Asker):
    """Remembers what training goes on from, as it is around every slice."""

    def __init__(self) -> None:
        super().__init__([SAMPLED])
        self.modes: list[tuple[bool, ...]] = []

    def bring(self) -> None:
        assert not any(module.training for module in self.lending._computation.modules())
        super().bring()


def test_mode_generators_and_gradients_are_put_back(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[Any, Any]] = []
    turn = lending.Lending.turn

    def look(self: lending.Lending) -> Any:
        computation = self._computation
        trained = [name for name, p in computation.named_parameters() if p.requires_grad]
        modes = [module.training for module in computation.modules()]
        generators = {name: str(value) for name, value in random_state().items()}
        return trained, modes, generators, torch.get_rng_state().tolist()

    def looked(self: lending.Lending) -> None:
        before = look(self)
        turn(self)
        found.append((before, look(self)))

    monkeypatch.setattr(lending.Lending, "turn", looked)
    guest = _Looking()
    run(tiny_plan(dropout=0.1), model_folder, tmp_path / "run", guest)
    assert guest.answers
    assert found
    assert all(before == after for before, after in found)
    assert all(any(modes) for (_, modes, _, _), _ in found[:5])


def test_a_method_that_is_left_switched_off_is_found(model_folder: Path, tmp_path: Path) -> None:
    class Careless(Asker):
        def bring(self) -> None:
            self.lending._computation.model.side_ladder.enabled = False  # type: ignore[union-attr, assignment]

    with pytest.raises(AssertionError, match="changed the model"):
        run(tiny_plan("lst"), model_folder, tmp_path / "run", Careless([GREEDY]))


def test_a_weight_that_was_written_to_is_found(model_folder: Path, tmp_path: Path) -> None:
    class Writing(Asker):
        def bring(self) -> None:
            next(self.lending._computation.parameters()).mul_(1.0)

    with pytest.raises(AssertionError, match="changed the model"):
        run(tiny_plan(), model_folder, tmp_path / "run", Writing([GREEDY]))


def test_a_paused_run_answers_and_goes_on_the_same(model_folder: Path, tmp_path: Path) -> None:
    class Once(Asker):
        def take(self, decoder: Any, tokens: Any) -> None:
            super().take(decoder, tokens)
            self.waiting = any(d.busy for d in self.lending.decoders.values())

        def bring(self) -> None:
            if self.lending.step() == 4:
                super().bring()

    guest = Once([SAMPLED], only=["tuned"])
    wishes = {4: "pause"}
    asked = run(tiny_plan(dropout=0.1), model_folder, tmp_path / "asked", guest, Boundary(wishes.get))
    alone = run(tiny_plan(dropout=0.1), model_folder, tmp_path / "alone")
    assert [len(answer.tokens) for answer in guest.answers] == [14]
    assert guest.answers[0].steps == [4] * 14
    assert curves(asked) == curves(alone)


def test_no_memory_for_an_answer_leaves_the_run_alone(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, passes = Decoder.forward, [0]

    def failing(self: Decoder, *args: Any) -> Any:
        passes[0] += 1
        if passes[0] == 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, *args)

    monkeypatch.setattr(Decoder, "forward", failing)
    guest = Asker([GREEDY], only=["tuned"])
    asked = run(tiny_plan(dropout=0.1), model_folder, tmp_path / "asked", guest)
    alone = run(tiny_plan(dropout=0.1), model_folder, tmp_path / "alone")
    assert [error.code for error in guest.refusals] == ["chat_memory_full"]
    assert guest.lending.cache_bytes == 0
    assert len(guest.answers) > 1
    assert curves(asked) == curves(alone)


def test_an_answer_that_memory_has_no_room_for_is_refused(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Keys and values of one position: 2 layers, 2 heads of 8, 4 bytes a number.
    one = 2 * 2 * 2 * 8 * 4
    monkeypatch.setattr(lending, "free_bytes", lambda _: 2 * 40 * one)
    codes: list[str] = []

    class Trying(Asker):
        def bring(self) -> None:
            decoder = self.lending.decoders["tuned"]
            for count in (16, 17):
                try:
                    decoder.cancel(decoder.add(Request(PROMPT, max_tokens=count)))
                    codes.append("taken")
                except lending.StudioError as error:
                    codes.append(error.code)

    run(tiny_plan(steps=1), model_folder, tmp_path / "run", Trying([]))
    assert codes[:2] == ["taken", "chat_no_room_in_run"]


def test_what_answers_hold_is_counted_apart(model_folder: Path, tmp_path: Path) -> None:
    guest = Asker([Request(PROMPT, max_tokens=200)], only=["tuned"])
    recorder = run(tiny_plan(), model_folder, tmp_path / "run", guest)
    one = 2 * 2 * 2 * 8 * 4
    # The newest token is not in the cache yet; step n reports what was held before its own slice.
    held = [
        one * (len(PROMPT) + sum(s <= step for s in guest.answers[0].steps) - 1)
        for step in sorted(set(guest.answers[0].steps))
    ]
    reported = recorder.metrics["chat_bytes"]
    assert reported[2] == held[0]
    assert guest.lending.most_cache_bytes >= max(reported.values())


def test_a_model_whose_positions_depend_on_the_longest_text_is_not_lent(tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    model = write_model(tmp_path / "model", rope_parameters=rope)

    class Never(Asker):
        def arrive(self, _lending: Any) -> None:
            raise AssertionError("it was lent")

    run(tiny_plan(steps=2), model, tmp_path / "run", Never([GREEDY]))


class TestAllowance:
    """A clock in seconds; a fifth of the time for answers is a quarter of what training takes."""

    @pytest.fixture(autouse=True)
    def _always(self) -> None:
        """The real thing."""

    def allowance(self) -> tuple[Allowance, list[float]]:
        clock = [0.0]
        return Allowance(0.2, lambda: clock[0]), clock

    def test_a_share_of_the_time_is_earned(self) -> None:
        allowance, clock = self.allowance()
        clock[0] = 4.0
        assert allowance.earned(True) == pytest.approx(1.0)

    def test_what_is_overdrawn_is_owed(self) -> None:
        allowance, clock = self.allowance()
        clock[0] = 4.0
        allowance.earned(True)
        clock[0] = 7.0
        allowance.spent()
        clock[0] = 15.0
        assert allowance.earned(True) == pytest.approx(0.0)
        clock[0] = 19.0
        assert allowance.earned(True) == pytest.approx(1.0)

    def test_nothing_is_saved_up_while_nobody_asks_but_debts_are_paid(self) -> None:
        allowance, clock = self.allowance()
        clock[0] = 4.0
        allowance.earned(True)
        clock[0] = 6.0
        allowance.spent()  # a second too much
        clock[0] = 8.0
        assert allowance.earned(False) == pytest.approx(-0.5)
        clock[0] = 108.0
        allowance.earned(False)
        clock[0] = 112.0
        assert allowance.earned(True) == pytest.approx(1.0)

    def test_a_pause_earns_nothing(self) -> None:
        allowance, clock = self.allowance()
        clock[0] = 100.0
        allowance.skipped()
        clock[0] = 104.0
        assert allowance.earned(True) == pytest.approx(1.0)
