"""Chat with a run that trains in this process: who answers, what the run becomes, how it ends."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from backend.api.chat import ChatDelta, ChatRequest, Pane, Sampling
from backend.chat import during
from backend.chat.announcement import read_announcement
from backend.chat.during import RunChat
from backend.chat.protocol import Limits
from backend.chat.service import ChatService
from backend.facade import StudioFacade
from backend.home import Home
from backend.jobs.kinds import train
from backend.jobs.processes import Identity, own_identity
from backend.jobs.record import Job
from studio.data.render import Renderer
from studio.data.rows import Message
from studio.errors import StudioError
from studio.train import lending
from tests.backend.launchers import work
from tests.toys.folders import write_model
from ui.words import Words

pytestmark = pytest.mark.worker

PROMPT = "tell me"
SETTINGS: dict[str, Any] = {
    "batch": 2,
    "lr": 0.01,
    "rank": 4,
    "dropout": 0.1,
    "precision": "fp32",
    "adapter_dtype": "fp32",
    "device": "cpu",
}


class InThread:
    """Runs the worker's main in a thread of this process."""

    id = "thread"

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []

    def launch(self, home: Home, job: Job) -> Identity:
        thread = threading.Thread(target=work, args=(home, job))
        self.threads.append(thread)
        thread.start()
        return own_identity()


@dataclass
class Bench:
    """A studio whose runs train in threads, and a chat service beside it."""

    facade: StudioFacade
    service: ChatService
    launcher: InThread
    model: Path
    data: Path
    guests: list[RunChat] = field(default_factory=list)

    def start(self, steps: int, method: str = "lora", **settings: Any) -> str:
        chosen = (
            SETTINGS if method == "lora" else {k: SETTINGS[k] for k in ("batch", "lr", "precision", "device")}
        )
        return self.facade.start(
            str(self.model), str(self.data), method=method, set={**chosen, "steps": steps, **settings}
        )

    def asked_can_be(self, run: str) -> bool:
        return read_announcement(self.facade.home, f"run:{run}") is not None

    def ask(self, run: str, **more: Any) -> dict[str, list[ChatDelta]]:
        sides: dict[str, list[ChatDelta]] = {}
        for delta in self.stream(run, **more):
            sides.setdefault(("tuned", "base")[delta.pane], []).append(delta)
        return sides

    def stream(self, run: str, compare: bool = False, **more: Any) -> Iterator[ChatDelta]:
        messages = [{"role": "user", "content": PROMPT}]
        names = [f"run:{run}", *([str(self.model)] if compare else [])]
        panes = tuple(Pane(name, messages) for name in names)
        return self.service.stream(ChatRequest(panes, Sampling(**{"max_tokens": 20, **more})))

    def engine_runs(self) -> bool:
        return bool(self.service._started)

    def reference(self, adapter: Path | None = None, count: int = 20) -> str:
        """Greedy text by transformers and PEFT alone."""
        model: Any = AutoModelForCausalLM.from_pretrained(self.model, dtype=torch.float32).eval()
        if adapter is not None:
            model = PeftModel.from_pretrained(model, adapter).eval()
        renderer = Renderer.from_folder(self.model)
        ids = renderer.encode_prompt([Message.of("user", PROMPT)])
        out = model.generate(input_ids=torch.tensor([ids]), max_new_tokens=count, do_sample=False)
        return renderer.decode(out[0, len(ids) :].tolist())


def text(deltas: list[ChatDelta]) -> str:
    return "".join(delta.text for delta in deltas)


def until(holds: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def bench(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    model = write_model(tmp_path / "tiny", max_position_embeddings=50_000)
    data = tmp_path / "sums.jsonl"
    rows = (
        {"prompt": f"{i} and {i % 7}?", "completion": f"it is {i + i % 7}" + "!" * (i % 4)} for i in range(48)
    )
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    launcher = InThread()
    facade = StudioFacade(home, launcher=launcher, sentences=Words("en").of_errors())
    made = Bench(facade, ChatService(facade.home), launcher, model, data)

    class Noted(RunChat):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            made.guests.append(self)

    monkeypatch.setattr(train, "RunChat", Noted)
    yield made
    for run in facade.runs():
        with suppress(StudioError):
            facade.stop(run.run)
    for thread in launcher.threads:
        thread.join(120)
        assert not thread.is_alive()
    made.service.close()
    facade.close()


def test_a_run_that_trains_answers_beside_its_base_with_one_copy_of_the_weights(bench: Bench) -> None:
    run = bench.start(5000)
    until(lambda: bench.asked_can_be(run))
    sides = bench.ask(run, compare=True)
    assert not bench.engine_runs()
    assert text(sides["base"]) == bench.reference()
    last = sides["tuned"][-1]
    assert (last.done, last.tokens) == (True, 20)
    assert last.steps is not None
    assert 0 < last.steps[0] <= last.steps[1] < 5000
    # It is said at the beginning that a run that trains answers.
    first = sides["tuned"][0]
    assert (first.text, first.steps) == ("", (last.steps[0], last.steps[0]))


@pytest.mark.parametrize("most", [2**26, 0])
def test_what_answered_is_told_apart_from_the_base_and_from_other_steps(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(lending, "MOST_HASHED_BYTES", most)
    run = bench.start(5000)
    until(lambda: bench.asked_can_be(run))
    found: dict[int, str | None] = {}
    while len(found) < 3:
        sides = bench.ask(run, compare=True, max_tokens=3)
        base, tuned, steps = sides["base"][-1].proof, sides["tuned"][-1].proof, sides["tuned"][-1].steps
        assert base is not None
        assert tuned is not None
        assert steps is not None
        assert (base.base, base.adapter) == (tuned.base, None)
        found[steps[0]] = tuned.adapter
    assert None not in found.values()
    assert len(set(found.values())) == 3


def test_a_paused_run_answers_as_its_checkpoint_and_one_that_ends_says_so(bench: Bench) -> None:
    run = bench.start(5000)
    until(lambda: bench.asked_can_be(run))
    bench.facade.pause(run)
    until(lambda: bench.facade.run(run).summary.state == "paused")
    answers = [bench.ask(run)["tuned"] for _ in range(2)]
    first, last = answers[0][-1].steps or (0, 0)
    assert first == last
    proofs = [answer[-1].proof for answer in answers]
    assert proofs[0] == proofs[1]
    assert proofs[0] is not None
    assert proofs[0].adapter is not None
    adapter = bench.facade.home / "runs" / run / "checkpoints" / f"step-{first:08d}" / "adapter"
    assert text(answers[0]) == text(answers[1]) == bench.reference(adapter)
    bench.facade.resume(run)
    until(lambda: bench.facade.run(run).summary.state == "running")
    bench.guests[-1]._renderer.stop_ids = frozenset()  # whatever it says, it goes on
    endless = bench.stream(run, max_tokens=40_000)
    next(endless)
    bench.facade.stop(run)
    ended = list(endless)[-1]
    assert (ended.done, ended.error) == (True, {"code": "chat_run_ended", "facts": {"run": run}})
    assert not bench.asked_can_be(run)
    until(lambda: bench.facade.run(run).summary.state == "stopped")
    # The next question goes to the engine: the same answer as the run's last checkpoint.
    stopped = bench.facade.run(run).summary.adapter
    assert stopped is not None
    assert text(bench.ask(run)["tuned"]) == bench.reference(Path(stopped))
    assert bench.engine_runs()


def test_the_curve_is_that_of_a_run_that_nobody_asks(bench: Bench) -> None:
    asked = bench.start(400, eval_every=100)
    until(lambda: bench.asked_can_be(asked))
    steps: list[tuple[int, int]] = []
    while bench.asked_can_be(asked):
        got = bench.ask(asked, compare=True, temperature=1.0, seed=len(steps), max_tokens=7)
        if (last := got["tuned"][-1]).error is None:  # else it ended in the middle of the answer
            steps.append(last.steps or (0, 0))
    bench.launcher.threads[-1].join()
    alone = bench.start(400, eval_every=100)
    bench.launcher.threads[-1].join()
    names = ["loss", "eval_loss", "grad_norm"]
    curves = {run: {s.name: s.values for s in bench.facade.series([run], names)} for run in (asked, alone)}
    assert curves[asked] == curves[alone]
    assert len(curves[alone]["loss"]) == 400
    assert len(steps) > 1
    assert max(last for _, last in steps) > min(first for first, _ in steps)
    files = [
        Path(bench.facade.run(run).summary.adapter or "") / "adapter_model.safetensors"
        for run in (asked, alone)
    ]
    ours, theirs = map(load_file, files)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_whoever_leaves_is_forgotten_and_who_is_too_many_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(during, "LIMITS", Limits(rows=1, waiting=1))
    run = bench.start(5000)
    until(lambda: bench.asked_can_be(run))
    bench.guests[-1]._renderer.stop_ids = frozenset()
    streams = [bench.stream(run, max_tokens=40_000) for _ in range(2)]
    for stream in streams:
        next(stream)
    refused = bench.ask(run)["tuned"][-1]
    assert refused.error == {"code": "chat_queue_full", "facts": {"limit": 1}}
    assert bench.guests[-1].waiting
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]
    until(lambda: not bench.guests[-1].waiting)
    until(lambda: bench.guests[-1]._lending.cache_bytes == 0)
    assert bench.ask(run)["tuned"][-1].done


def test_who_has_no_base_in_memory_leaves_that_to_the_engine(bench: Bench) -> None:
    run = bench.start(5000, "full")
    until(lambda: bench.asked_can_be(run))
    sides = bench.ask(run, compare=True)
    assert bench.engine_runs()
    assert text(sides["base"]) == bench.reference()
    assert sides["base"][-1].steps is None
    assert sides["tuned"][-1].steps is not None


def test_a_worker_knows_its_own_run_only(bench: Bench) -> None:
    run = bench.start(5000)
    until(lambda: bench.asked_can_be(run))
    guest = bench.guests[-1]
    assert guest._models() == [f"run:{run}", "base"]
    for model, template in (("run:other-1", None), (f"run:{run}@5", None), ("base", "run:other-1")):
        order = type("Order", (), {"model": model, "template_of": template})()
        with pytest.raises(StudioError, match="chat_model_unknown"):
            guest._voice(order)
    at = read_announcement(bench.facade.home, f"run:{run}")
    assert at is not None
    client = openai.OpenAI(base_url=f"{at.url}/v1", api_key=at.token, max_retries=0)
    with pytest.raises(openai.NotFoundError, match="There is no model called gpt-4o here"):
        client.completions.create(model="gpt-4o", prompt="x")
    assert client.models.retrieve(f"run:{run}").id == f"run:{run}"
    client.close()
