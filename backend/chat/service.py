"""What the facade uses to chat: finds or starts the engines of the bases asked for, and streams the answers
of all panes at once. No torch.

A run that trains is asked itself, in its worker: its newest weights answer, and no second copy of them. What
it can't answer (the base of a method that can't be switched off), and a run that has ended, is the engine's.
"""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from backend.api.chat import ChatDelta, ChatModel, ChatRequest, Pane, Proof, Sampling, Steps
from backend.chat import runs
from backend.chat.announcement import Announcement, log_file, read_announcement
from backend.chat.client import Call, EngineGone
from backend.jobs.launchers.local import worker_environment
from backend.jobs.processes import own_identity, start_detached
from backend.parts import require_adapters
from studio.errors import StudioError
from studio.models.locate import locate
from studio.names import ModelName, parse

_START_SECONDS = 120.0  # until a process on a busy machine has its imports done and listens
_END_SECONDS = 10.0
_POLL_SECONDS = 0.05
_LOOK_SECONDS = 0.05  # how late a stop is seen while no piece comes


class ChatService:
    """Chats with the models of one home.

    Args:
        home: The studio's home.
        state: Gives the state of a run, for the sentence that says why it can't answer yet.
        device: Where engines started here compute; chosen by itself if None.
        keep: Leave engines running at `close`, for the next process; they end after idle time.
    """

    def __init__(
        self,
        home: Path,
        state: Callable[[str], str | None] = lambda _run: None,
        device: str | None = None,
        keep: bool = False,
    ) -> None:
        self._home = home
        self._runs = home / "runs"
        self._state = state
        self._device = device
        self._keep = keep
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._open: set[_Reader] = set()
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._closed = False

    def models(self) -> list[ChatModel]:
        """What runs have learned, newest run first: its newest state, then its checkpoints; then whole models
        that were merged."""
        found = []
        for run in runs.answering_runs(self._runs):
            with contextlib.suppress(StudioError, FileNotFoundError):  # deleted this moment
                base, name = runs.base_of(self._runs, run), runs.named(self._runs, run)
                found += [ChatModel(f"{name}{mark}", base) for mark in ("", *runs.marks(self._runs, run))]
        return found + [ChatModel(name, name) for name in runs.merged_models(self._runs)]

    def base_of(self, model: str) -> str | None:
        """The base of what a run learned, of a mix, of merged adapters; None for a model that stands by
        itself. Raises `run_missing`."""
        name = parse(model)
        base = runs.answered_by(self._runs, name)
        return None if base == str(name) else base

    def stream(
        self, request: ChatRequest, stopped: threading.Event | None = None
    ) -> Generator[ChatDelta, None, None]:
        """The answers' pieces as they come, those of all panes mixed. Closing the iterator cancels; so does
        `stopped`, once it is set, from any thread: the iterator then ends.

        Panes of one base are rows of one batch in its engine; a base beside a run of its own answers with the
        template of the first such run. A run that trains says between which steps it answered.

        Raises:
            StudioError: `run_missing`, `run_has_no_adapter` (run, state), `checkpoint_missing`,
                `run_base_changed` (run, base), for a mix those of `backend.parts.recipe_of`,
                `merge_bases_differ` and those of `studio.merge.combine`, those of `locate` for the base,
                `chat_engine_failed` (base, log, detail) or why the engine could not start,
                `prompt_too_long` (tokens, context), `chat_engine_died` (log), `chat_run_ended` (run) in the
                middle of an answer, `chat_cancelled` after `close`.
        """
        names = [parse(pane.model) for pane in request.panes]
        training = {str(name): live for name in names if (live := self._training(name))}
        bases = [self._base(name, adapter=str(name) not in training) for name in names]
        pieces: queue.SimpleQueue[_FromPane] = queue.SimpleQueue()
        readers = []
        for number, (base, body) in enumerate(zip(bases, _orders(request, names, bases), strict=True)):
            live = training.get(body.get("template_of", body["model"]))
            asked = live.itself if live and body["model"] in live.models else partial(self._engine, base)
            readers.append(_Reader(number, asked, self._gone, body, pieces))
        with self._lock:
            self._open |= set(readers)
        try:
            for reader in readers:
                reader.start()
            running = len(readers)
            while running and not (stopped and stopped.is_set()):
                try:
                    got = pieces.get(timeout=_LOOK_SECONDS)
                except queue.Empty:
                    continue
                if isinstance(got, ChatDelta):
                    yield got
                elif got is None:
                    running -= 1
                else:
                    raise self._with_state(got)
            if self._closed:
                raise StudioError("chat_cancelled")
        finally:
            for reader in readers:
                reader.cancel()
            with self._lock:
                self._open -= set(readers)

    def warm(self, model: str) -> None:
        """Start the engine that answers for this model, if it is on disk and can; returns at once."""

        def start() -> None:
            with contextlib.suppress(StudioError):  # whoever asks it is told
                name = parse(model)
                live = self._training(name)
                if live is None or "base" not in live.models:
                    self._engine(self._base(name, adapter=live is None))

        threading.Thread(target=start, name="chat-warm", daemon=True).start()

    def close(self) -> None:
        """Cancel what is being answered and end the engines that this service started (see `keep`)."""
        with self._lock:
            self._closed = True
            readers, self._open = self._open, set()
        for reader in readers:
            reader.cancel()
        if self._keep:
            return
        for base, process in list(self._started.items()):
            engine = read_announcement(self._home, base)
            if engine is not None and engine.pid == process.pid:
                with contextlib.suppress(EngineGone):  # it was ending already
                    Call(engine).json("POST", "/shutdown")
            else:
                process.terminate()
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._started = {}

    def _training(self, name: ModelName) -> _Live | None:
        """The worker of a run that can be asked now, and what for."""
        run = read_announcement(self._home, str(name)) if name.kind == "run" and name.step is None else None
        if run is None:
            return None
        try:
            listed = Call(run).json("GET", "/v1/models")["data"]
        except EngineGone:  # it ended this moment
            return None
        return _Live(run, frozenset(model["id"] for model in listed))

    def _base(self, name: ModelName, adapter: bool = True) -> str:
        """The name of the base that answers, once all that it takes is known to be on disk."""
        base = runs.answered_by(self._runs, name)
        if adapter:
            try:
                require_adapters(self._runs, name)
            except StudioError as error:
                raise self._with_state(error) from None
        locate(base, self._runs)
        return base

    def _with_state(self, error: StudioError) -> StudioError:
        if error.code != "run_has_no_adapter":
            return error
        return StudioError(error.code, **{**error.facts, "state": self._state(error.facts["run"])})

    def _engine(self, base: str) -> Announcement:
        """The engine of this base, started if there is none; it listens, but may still be loading."""
        with self._starting:
            if self._closed:
                raise StudioError("chat_cancelled")
            deadline = time.monotonic() + _START_SECONDS
            while (found := read_announcement(self._home, base)) is not None:
                try:
                    Call(found).json("GET", "/v1/models")
                    return found
                except EngineGone:
                    # On its way out: its announcement goes with it.
                    if time.monotonic() > deadline:
                        raise self._failed(base, "it does not answer") from None
                    time.sleep(_POLL_SECONDS)
            return self._start(base)

    def _start(self, base: str) -> Announcement:
        log = log_file(self._home, base)
        told = log.stat().st_size if log.is_file() else 0
        process = start_detached(self._command(base), log, self._home, worker_environment(()))
        self._started[base] = process
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            ended = process.poll() is not None
            engine = read_announcement(self._home, base)
            if engine is not None:
                return engine
            if ended:
                raise self._why_it_ended(base, log, told)
            time.sleep(_POLL_SECONDS)
        process.kill()
        raise self._failed(base, f"it did not listen within {_START_SECONDS:.0f} s")

    def _why_it_ended(self, base: str, log: Path, told: int) -> StudioError:
        """The error in the last line of what the engine wrote after `told` bytes, else that line itself."""
        with log.open("rb") as file:
            file.seek(told)
            lines = file.read().decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else ""
        if last.startswith('{"error": '):
            return StudioError.from_dict(json.loads(last)["error"])
        return self._failed(base, last)

    def _gone(self, announced: Announcement) -> StudioError:
        """What it means that whoever announced this broke off."""
        base = announced.base
        if base.startswith("run:"):
            return StudioError("chat_run_ended", run=base.removeprefix("run:"))
        return StudioError("chat_engine_died", base=base, log=str(log_file(self._home, base)))

    def _failed(self, base: str, detail: str) -> StudioError:
        return StudioError(
            "chat_engine_failed", base=base, log=str(log_file(self._home, base)), detail=detail
        )

    def _command(self, base: str) -> list[str]:
        command = [
            sys.executable,
            "-P",
            "-m",
            "backend.chat.engine",
            "--home",
            str(self._home),
            "--base",
            base,
        ]
        if self._device is not None:
            command += ["--device", self._device]
        if not self._keep:
            command += ["--owner", str(own_identity().pid)]
        return command


@dataclass(frozen=True)
class _Live:
    """The worker of a run that trains, and the models that it answers for."""

    announced: Announcement
    models: frozenset[str]

    def itself(self) -> Announcement:
        return self.announced


def _orders(
    request: ChatRequest, names: Sequence[ModelName], bases: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The body of the request for each pane."""
    tuned: dict[str, str] = {}
    for name, base in zip(names, bases, strict=True):
        if str(name) != base:
            tuned.setdefault(base, f"run:{name.value}" if name.kind == "run" else str(name))
    for pane, name, base in zip(request.panes, names, bases, strict=True):
        body = _body(pane, request.sampling)
        if str(name) != base:
            yield {**body, "model": str(name)}
        else:
            template = {"template_of": tuned[base]} if base in tuned else {}
            yield {**body, "model": "base", **template}


def _body(pane: Pane, sampling: Sampling) -> dict[str, Any]:
    return {
        "messages": [dict(message) for message in pane.messages],
        **asdict(sampling),
        "stream_options": {"include_usage": True},
    }


_FromPane = ChatDelta | StudioError | None


class _Reader(threading.Thread):
    """Reads the answer of one pane into a queue: deltas, then None, or what went wrong."""

    def __init__(
        self,
        number: int,
        engine: Callable[[], Announcement],
        gone: Callable[[Announcement], StudioError],
        body: dict[str, Any],
        pieces: queue.SimpleQueue[_FromPane],
    ) -> None:
        super().__init__(name=f"chat-{number}", daemon=True)
        self._number = number
        self._engine = engine
        self._gone = gone
        self._body = body
        self._pieces = pieces
        self._call: Call | None = None
        self._cancelled = False

    def run(self) -> None:
        """Thread main."""
        outcome: _FromPane = None
        try:
            engine = self._engine()
            try:
                self._read(engine)
            except EngineGone:
                outcome = self._gone(engine)
        except StudioError as error:
            outcome = error
        finally:
            self._pieces.put(outcome)

    def cancel(self) -> None:
        """Let go of the answer, from any thread."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    def _read(self, engine: Announcement) -> None:
        self._call = Call(engine)
        if self._cancelled:  # before there was a call to cancel
            return
        finish: str | None = None
        for chunk in self._call.stream(self._body):
            if "steps" in chunk and "proof" not in chunk:
                self._pieces.put(ChatDelta(self._number, "", steps=_steps(chunk)))
            for choice in chunk["choices"]:
                if text := choice["delta"].get("content"):
                    self._pieces.put(ChatDelta(self._number, text))
                finish = choice["finish_reason"] or finish
            if "proof" in chunk:
                self._pieces.put(_end(self._number, finish, chunk))


def _end(number: int, finish: str | None, chunk: Mapping[str, Any]) -> ChatDelta:
    """A pane's last piece, out of the chunk with the usage."""
    return ChatDelta(
        number,
        "",
        done=True,
        finish_reason=finish,
        tokens=chunk["usage"]["completion_tokens"],
        **chunk["timings"],
        proof=Proof(**chunk["proof"]),
        steps=_steps(chunk),
    )


def _steps(chunk: Mapping[str, Any]) -> Steps:
    if "steps" not in chunk:
        return None
    first, last = chunk["steps"]
    return first, last
