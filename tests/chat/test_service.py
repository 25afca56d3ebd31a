"""The service with engines in processes of their own."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file

from backend.api.chat import ChatDelta, ChatModel, ChatRequest, Pane, Sampling
from backend.chat.announcement import Announcement, announcement_file, log_file, read_announcement
from backend.chat.client import Call
from backend.chat.service import ChatService
from studio.errors import StudioError
from studio.identity import adapter_identity, base_identity, json_hash
from tests.chat.homes import CONTEXT, ChatHome, write_home
from tests.toys.folders import write_model

PROMPT = "tell me"


def request(*models: str, prompt: str = PROMPT, **sampling: Any) -> ChatRequest:
    """The same prompt to every model; to one run without any."""
    messages = [{"role": "user", "content": prompt}]
    panes = tuple(Pane(model, messages) for model in models or ("run:tuned-1",))
    return ChatRequest(panes, Sampling(**{"max_tokens": 30, **sampling}))


def texts(deltas: Iterator[ChatDelta]) -> list[str]:
    """The whole answer of every pane, in the order of the panes."""
    panes: dict[int, str] = {}
    for delta in deltas:
        panes[delta.pane] = panes.get(delta.pane, "") + delta.text
    return [panes[number] for number in sorted(panes)]


def failures(deltas: Iterator[ChatDelta]) -> dict[int, dict[str, Any]]:
    """What ended each pane that could not answer."""
    return {delta.pane: dict(delta.error) for delta in deltas if delta.error is not None}


def running(home: ChatHome) -> Announcement:
    found = read_announcement(home.root, home.base)
    assert found is not None
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> ChatHome:
    return write_home(tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="module")
def service(home: ChatHome) -> Iterator[ChatService]:
    """One service and, from its first answer on, one engine."""
    made = ChatService(home.root)
    yield made
    made.close()


@pytest.mark.worker
def test_panes_of_one_base_answer_side_by_side_and_say_what_they_are(
    home: ChatHome, service: ChatService
) -> None:
    panes = {home.base: None, "run:tuned-1": "adapter", "run:tuned-1@4": "checkpoints/step-00000004/adapter"}
    deltas = list(service.stream(request(*panes)))
    adapters = [place and home.run("tuned-1") / place for place in panes.values()]
    references = [home.text(home.reference(PROMPT, 30, adapter)) for adapter in adapters]
    assert texts(iter(deltas)) == references
    assert len({delta.pane for delta in deltas[: len(deltas) // 2]}) == 3  # mixed, not one after the other
    proofs = []
    for pane in range(3):
        last = [delta for delta in deltas if delta.pane == pane][-1]
        assert (last.done, last.finish_reason, last.tokens) == (True, "length", 30)
        assert last.tokens_per_second is not None
        assert last.seconds_to_first is not None
        assert last.proof is not None
        proofs.append(last.proof)
    assert {proof.base for proof in proofs} == {home.base_hash()}
    assert {proof.template for proof in proofs} == {json_hash(home.renderer().template_text)}
    cache = home.root / "cache" / "other.json"
    assert [p.adapter for p in proofs] == [a and adapter_identity(a, cache) for a in adapters]
    assert len({proof.adapter for proof in proofs}) == 3


@pytest.mark.worker
def test_panes_of_two_bases_answer_each_from_its_own_engine(
    home: ChatHome, service: ChatService, tmp_path: Path
) -> None:
    other = write_model(tmp_path / "other", seed=3, max_position_embeddings=CONTEXT)
    found = list(service.stream(request(f"path:{other}", home.base, max_tokens=5)))
    assert len(set(texts(iter(found)))) == 2
    ends = {delta.pane: delta.proof for delta in found if delta.done}
    assert {pane: proof and proof.base for pane, proof in ends.items()} == {
        0: base_identity(other, tmp_path / "hashes.json").hash,
        1: home.base_hash(),
    }
    for base in (f"path:{other}", home.base):
        assert read_announcement(home.root, base) is not None


def test_what_can_answer_is_listed_with_its_checkpoints_and_its_base(chat_home: ChatHome) -> None:
    listed = ChatService(chat_home.root).models()
    marks = [m.name.removeprefix("run:tuned-1") for m in listed if m.name.startswith("run:tuned-1")]
    assert marks == ["", "@best", "@8", "@4"]
    assert ChatModel("run:early-1@6", chat_home.base) in listed
    assert ChatService(chat_home.root).base_of("run:tuned-1@4") == chat_home.base
    assert ChatService(chat_home.root).base_of(chat_home.base) is None


@pytest.mark.worker
def test_an_engine_that_was_warmed_is_the_one_that_answers(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    service = ChatService(home.root)
    for nothing in ("run:nothing-1", "hub:nobody/has-this", "path:/somewhere/else"):
        service.warm(nothing)
    service.warm("run:tuned-1")
    wait_for(lambda: read_announcement(home.root, home.base) is not None)
    pid = running(home).pid
    assert texts(service.stream(request(max_tokens=1)))
    assert running(home).pid == pid
    service.close()
    assert list(service._started) == []
    assert sorted(log.name for log in (home.root / "logs").iterdir()) == [log_file(home.root, home.base).name]


@pytest.mark.worker
def test_same_seed_same_answers(home: ChatHome, service: ChatService) -> None:
    sampled = [
        texts(service.stream(request(home.base, "run:tuned-1", temperature=1.0, top_p=0.9, seed=s)))
        for s in (1, 1, 2)
    ]
    assert sampled[0] == sampled[1] != sampled[2]


@pytest.mark.worker
def test_a_second_service_finds_the_engine_and_leaves_it(home: ChatHome, service: ChatService) -> None:
    first = texts(service.stream(request()))
    pid = running(home).pid
    second = ChatService(home.root)
    assert texts(second.stream(request())) == first
    second.close()
    assert running(home).pid == pid


@pytest.mark.worker
def test_only_its_owner_can_read_the_announcement(home: ChatHome, service: ChatService) -> None:
    texts(service.stream(request(max_tokens=1)))
    assert stat.S_IMODE(announcement_file(home.root, home.base).stat().st_mode) == 0o600


@pytest.mark.worker
def test_what_the_engine_refuses_arrives_as_it_is(home: ChatHome, service: ChatService) -> None:
    refused = failures(service.stream(request(home.base, "run:tuned-1", prompt="x" * CONTEXT)))
    facts = {"tokens": CONTEXT + 2, "context": CONTEXT}
    assert refused == {pane: {"code": "prompt_too_long", "facts": facts} for pane in (0, 1)}
    assert texts(service.stream(request()))


@pytest.mark.worker
def test_a_pane_that_cannot_answer_leaves_the_others_theirs(home: ChatHome, service: ChatService) -> None:
    """Known before an engine is asked (no adapter yet, no such run, no name) or said by it (another base)."""
    panes = ("run:empty-1", home.base, "run:moved-1", "run:tuned-1")
    deltas = list(service.stream(request(*panes)))
    assert failures(iter(deltas)) == {
        0: {"code": "run_has_no_adapter", "facts": {"run": "empty-1", "state": None}},
        2: {"code": "run_base_changed", "facts": {"run": "moved-1", "base": home.base}},
    }
    assert [d.done for d in deltas if d.error] == [True, True]
    said = dict(zip((0, 1, 2, 3), texts(iter(deltas)), strict=True))
    adapter = home.run("tuned-1") / "adapter"
    assert said[1] == home.text(home.reference(PROMPT, 30))
    assert said[3] == home.text(home.reference(PROMPT, 30, adapter))
    assert (said[0], said[2]) == ("", "")
    nobody = failures(service.stream(request("run:nothing-1", home.base, "path:")))
    assert {pane: error["code"] for pane, error in nobody.items()} == {0: "run_missing", 2: "model_name_bad"}


@pytest.mark.worker
@pytest.mark.parametrize("method", ["lst", "qst"])
def test_four_panes_of_side_networks_answer_each_as_alone(
    home: ChatHome, service: ChatService, method: str
) -> None:
    run, own = f"run:{method}-1", home.run(f"{method}-1")
    for step in (10, 20):
        checkpoint = own / "checkpoints" / f"step-{step:08d}"
        shutil.copytree(own / "adapter", checkpoint / "adapter")
        (checkpoint / "adapter" / "manifest.json").rename(checkpoint / "manifest.json")
        weights = load_file(checkpoint / "adapter" / "side.safetensors")
        torch.manual_seed(step)
        weights["up.weight"] = 0.1 * torch.randn_like(weights["up.weight"])
        save_file(weights, checkpoint / "adapter" / "side.safetensors")
    panes = (home.base, f"{run}@10", f"{run}@20", run)
    for sampling in ({}, {"temperature": 1.0, "seed": 3}):
        deltas = list(service.stream(request(*panes, **sampling)))
        assert failures(iter(deltas)) == {}
        together = texts(iter(deltas))
        assert together == [texts(service.stream(request(pane, **sampling)))[0] for pane in panes]
        assert len(set(together)) == 4


@pytest.mark.worker
def test_an_iterator_that_is_closed_ends_the_answer(home: ChatHome, service: ChatService) -> None:
    stream = service.stream(request(home.base, "run:tuned-1", max_tokens=90_000))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    # The engine is free again: an answer of one token does not wait for 90,000.
    assert texts(service.stream(request(max_tokens=1)))
    threads = psutil.Process(running(home).pid).num_threads
    wait_for(lambda: threads() <= 6)  # no request is being answered any more


@pytest.mark.worker
def test_a_stop_ends_the_iterator_while_it_waits_for_the_next_piece(
    home: ChatHome, service: ChatService
) -> None:
    stopped = threading.Event()
    stream = service.stream(request(home.base, "run:tuned-1", max_tokens=90_000), stopped)
    next(stream)
    threading.Timer(0.2, stopped.set).start()
    assert list(stream)  # ends: 90,000 tokens would take minutes
    assert texts(service.stream(request(max_tokens=1)))


@pytest.mark.worker
def test_an_engine_that_dies_is_said_so_and_the_next_question_starts_another(
    home: ChatHome, service: ChatService
) -> None:
    stream = service.stream(request(home.base, "run:tuned-1", max_tokens=90_000))
    next(stream)
    os.kill(running(home).pid, signal.SIGKILL)
    died = failures(stream)
    facts = {"base": home.base, "log": str(log_file(home.root, home.base))}
    assert died == {pane: {"code": "chat_engine_died", "facts": facts} for pane in (0, 1)}
    assert texts(service.stream(request()))


@pytest.mark.worker
def test_close_ends_the_engine_and_what_it_answers(home: ChatHome) -> None:
    made = ChatService(home.root, keep=False)
    was_running = read_announcement(home.root, home.base)
    if was_running is not None:
        Call(was_running).json("POST", "/shutdown")
        wait_for(lambda: not psutil.pid_exists(was_running.pid) or _zombie(was_running.pid))
    stream = made.stream(request(max_tokens=90_000))
    next(stream)
    pid = running(home).pid
    made.close()
    with pytest.raises(StudioError, match="chat_cancelled"):
        list(stream)
    assert not psutil.pid_exists(pid)
    assert not announcement_file(home.root, home.base).exists()


def _zombie(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.worker
def test_a_base_that_cannot_be_loaded_is_the_reason(tmp_path: Path) -> None:
    broken = write_home(tmp_path)
    weights = broken.model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    service = ChatService(broken.root)
    assert failures(service.stream(request()))[0]["code"] == "model_unreadable"
    service.close()
    assert read_announcement(broken.root, broken.base) is None


@pytest.mark.worker
def test_an_engine_ends_when_idle_and_when_its_owner_is_gone(tmp_path: Path) -> None:
    """Both at once, on homes of their own; a second engine on the first home leaves at once."""
    home, other = write_home(tmp_path / "idle"), write_home(tmp_path / "owned")
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    idle = _start(home, "--idle-seconds", "1")
    owned = _start(other, "--owner", str(owner.pid))
    wait_for(lambda: read_announcement(home.root, home.base) is not None)
    second = _start(home)
    wait_for(lambda: read_announcement(other.root, other.base) is not None)
    owner.kill()
    owner.wait()
    for process, where in ((idle, home), (owned, other)):
        assert process.wait(120) == 0
        assert not announcement_file(where.root, where.base).exists()
    assert second.wait(120) == 0


def _start(home: ChatHome, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "backend.chat.engine", "--home", str(home.root), "--base", home.base]
    return subprocess.Popen([*command, *options])


@pytest.mark.parametrize(
    ("model", "code", "facts"),
    [
        ("run:nothing-1", "run_missing", {"run": "nothing-1"}),
        ("run:empty-1", "run_has_no_adapter", {"run": "empty-1", "state": "queued"}),
        ("run:tuned-1@5", "checkpoint_missing", {"run": "tuned-1", "step": 5, "steps": [4, 8]}),
        ("run:foreign-1", "model_missing", {"path": "/somewhere/else"}),
        ("path:/somewhere/else", "model_missing", {"path": "/somewhere/else"}),
    ],
)
def test_what_cannot_answer_is_said_before_an_engine_starts(
    chat_home: ChatHome, model: str, code: str, facts: dict[str, Any]
) -> None:
    service = ChatService(chat_home.root, state=lambda _run: "queued")
    assert failures(service.stream(request(model))) == {0: {"code": code, "facts": facts}}
    assert service._started == {}


def test_what_keeps_an_engine_from_starting_is_found_out_once_for_all_its_panes(
    chat_home: ChatHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def start(base: str) -> Announcement:
        started.append(base)
        raise StudioError("device_unknown", device="none")

    service = ChatService(chat_home.root)
    monkeypatch.setattr(service, "_engine", start)
    panes = (chat_home.base, "run:tuned-1", "run:early-1")
    assert set(failures(service.stream(request(*panes)))) == {0, 1, 2}
    assert started == [chat_home.base]


def test_the_side_that_asks_needs_no_torch() -> None:
    code = "import sys, backend.chat.service, backend.chat.engine; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
