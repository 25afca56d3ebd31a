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
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from backend.api.chat import ChatDelta, ChatModel, ChatRequest
from backend.chat import runs
from backend.chat.announcement import Announcement, log_file, read_announcement
from backend.chat.client import Call, EngineGone
from backend.chat.panes import FromPane, Known, Once, PaneFailed, Reader, orders
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
        self._open: set[Reader] = set()
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

        A pane that can't answer, or not to its end, is told why in its last piece, and the others go on:
        `run_missing`, `run_has_no_adapter` (run, state), `checkpoint_missing`, `run_base_changed` (run,
        base), for a mix those of `backend.parts.recipe_of`, `merge_bases_differ` and those of
        `studio.merge.combine`, those of `locate` for the base, `chat_engine_failed` (base, log, detail) or
        why the engine could not start, `prompt_too_long` (tokens, context), `chat_engine_died` (log),
        `chat_run_ended` (run) in the middle of an answer.

        Raises:
            StudioError: `chat_cancelled` after `close`.
        """
        pieces: queue.SimpleQueue[FromPane] = queue.SimpleQueue()
        readers = self._readers(request, pieces)
        with self._lock:
            self._open |= set(readers)
        try:
            for reader in readers:
                reader.start()
            running = len(request.panes)
            while running and not (stopped and stopped.is_set()):
                try:
                    got = pieces.get(timeout=_LOOK_SECONDS)
                except queue.Empty:
                    continue
                if isinstance(got, ChatDelta):
                    yield got
                elif got is None:
                    running -= 1
                elif not self._closed:
                    error = self._with_state(got.error).as_dict()
                    yield ChatDelta(got.pane, "", done=True, error=error)
            if self._closed:
                raise StudioError("chat_cancelled")
        finally:
            for reader in readers:
                reader.cancel()
            with self._lock:
                self._open -= set(readers)

    def _readers(self, request: ChatRequest, pieces: queue.SimpleQueue[FromPane]) -> list[Reader]:
        """One for each pane that can be asked; what is wrong with the others is among the pieces."""
        known: dict[int, Known] = {}
        training: dict[str, _Live] = {}
        for number, pane in enumerate(request.panes):
            try:
                name = parse(pane.model)
                live = self._training(name)
                known[number] = Known(pane, name, self._base(name, adapter=live is None))
                if live is not None:
                    training[str(name)] = live
            except StudioError as error:
                pieces.put(PaneFailed(number, error))
                pieces.put(None)
        # One search for all panes of a base: what keeps its engine from starting is found out once.
        engines = {pane.base: Once(partial(self._engine, pane.base)) for pane in known.values()}
        readers = []
        for number, body in orders(known, request.sampling).items():
            live = training.get(body.get("template_of", body["model"]))
            asked = live.itself if live and body["model"] in live.models else engines[known[number].base]
            readers.append(Reader(number, asked, self._gone, body, pieces))
        return readers

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
