"""What the facade uses to chat: finds or starts the engine of a base and streams one or two answers. No
torch.

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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from backend.api import ChatDelta, ChatRequest
from backend.chat import runs
from backend.chat.announcement import Announcement, log_file, read_announcement
from backend.chat.client import Call, EngineGone
from backend.jobs.launchers.local import worker_environment
from backend.jobs.processes import own_identity, start_detached
from studio.errors import StudioError
from studio.models.locate import locate
from studio.names import ModelName, parse

_START_SECONDS = 120.0  # until a process on a busy machine has its imports done and listens
_END_SECONDS = 10.0
_POLL_SECONDS = 0.05


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
        self._calls: set[Call] = set()
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._closed = False

    def models(self) -> list[str]:
        """`run:ID` of every run that can answer, newest first."""
        return [f"run:{run}" for run in runs.answering_runs(self._runs)]

    def stream(self, request: ChatRequest) -> Iterator[ChatDelta]:
        """The answers' pieces as they come, those of base and tuned mixed. Closing the iterator cancels.

        A run answers as `tuned`, any other model as `base`; with `compare` a run's base answers too, with the
        run's template, same sampling and seed. A run that trains says between which steps it answered.

        Raises:
            StudioError: `run_missing`, `run_has_no_adapter` (run, state), `checkpoint_missing`,
                `run_base_changed` (run, base), those of `locate` for the base, `chat_engine_failed` (base,
                log, detail) or why the engine could not start, `prompt_too_long` (tokens, context),
                `chat_engine_died` (log), `chat_run_ended` (run) in the middle of an answer,
                `chat_cancelled` after `close`.
        """
        name = parse(request.model)
        orders = _orders(name, request)
        who = self._who_answers(name, [body["model"] for body in orders.values()])
        pieces: queue.SimpleQueue[_FromSide] = queue.SimpleQueue()
        sides = [
            _Side(side, Call(announced), body, pieces, self._gone(announced))
            for (side, body), announced in zip(orders.items(), who, strict=True)
        ]
        with self._lock:
            self._calls |= {side.call for side in sides}
        try:
            for side in sides:
                side.start()
            running = len(sides)
            while running:
                got = pieces.get()
                if isinstance(got, ChatDelta):
                    yield got
                elif got is None:
                    running -= 1
                else:
                    raise self._with_state(got)
            if self._closed:
                raise StudioError("chat_cancelled")
        finally:
            for side in sides:
                side.call.cancel()
            with self._lock:
                self._calls -= {side.call for side in sides}

    def warm(self, model: str) -> None:
        """Start the engine that answers for this model, if it is on disk and can; returns at once."""

        def start() -> None:
            with contextlib.suppress(StudioError):  # whoever asks it is told
                name = parse(model)
                self._who_answers(name, ["base", str(name)] if name.kind == "run" else ["base"])

        threading.Thread(target=start, name="chat-warm", daemon=True).start()

    def close(self) -> None:
        """Cancel what is being answered and end the engines that this service started (see `keep`)."""
        with self._lock:
            self._closed = True
            calls, self._calls = self._calls, set()
        for call in calls:
            call.cancel()
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

    def _who_answers(self, name: ModelName, models: list[str]) -> list[Announcement]:
        """Who is to be asked for each of `models`: the run itself if it trains and can, else the engine."""
        training, offered = self._training(name)
        engine: Announcement | None = None
        found = []
        for model in models:
            if training is not None and model in offered:
                found.append(training)
                continue
            engine = engine or self._engine(self._base(name, adapter=model != "base"))
            found.append(engine)
        return found

    def _training(self, name: ModelName) -> tuple[Announcement | None, list[str]]:
        """The worker of a run that can be asked now, and what for."""
        run = read_announcement(self._home, str(name)) if name.kind == "run" and name.step is None else None
        if run is None:
            return None, []
        try:
            listed = Call(run).json("GET", "/v1/models")["data"]
        except EngineGone:  # it ended this moment
            return None, []
        return run, [model["id"] for model in listed]

    def _gone(self, announced: Announcement) -> StudioError:
        """What it means that whoever announced this broke off."""
        base = announced.base
        if base.startswith("run:"):
            return StudioError("chat_run_ended", run=base.removeprefix("run:"))
        return StudioError("chat_engine_died", base=base, log=str(log_file(self._home, base)))

    def _base(self, name: ModelName, adapter: bool = True) -> str:
        """The name of the base that answers, once all that it takes is known to be on disk."""
        if name.kind != "run":
            locate(name)
            return str(name)
        base = runs.base_of(self._runs, name.value)
        if adapter:
            try:
                runs.adapter_folder(self._runs, name)
            except StudioError as error:
                raise self._with_state(error) from None
        locate(base)
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


def _orders(name: ModelName, request: ChatRequest) -> dict[str, dict[str, Any]]:
    """The request's body for each side that answers."""
    body: dict[str, Any] = {
        "messages": [dict(message) for message in request.messages],
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stream_options": {"include_usage": True},
    }
    if name.kind != "run":
        return {"base": {**body, "model": "base"}}
    tuned = {"tuned": {**body, "model": str(name)}}
    if not request.compare:
        return tuned
    return {"base": {**body, "model": "base", "template_of": f"run:{name.value}"}, **tuned}


_FromSide = ChatDelta | StudioError | None


class _Side(threading.Thread):
    """Reads one answer and puts its pieces into a queue: deltas, then None, or what went wrong (`gone`: the
    connection broke)."""

    def __init__(
        self,
        side: str,
        call: Call,
        body: dict[str, Any],
        pieces: queue.SimpleQueue[_FromSide],
        gone: StudioError,
    ) -> None:
        super().__init__(name=f"chat-{side}", daemon=True)
        self.call = call
        self._side = side
        self._body = body
        self._pieces = pieces
        self._gone = gone

    def run(self) -> None:
        """Thread main."""
        outcome: _FromSide = None
        try:
            self._read()
        except StudioError as error:
            outcome = error
        except EngineGone:
            outcome = self._gone
        finally:
            self._pieces.put(outcome)

    def _read(self) -> None:
        finish: str | None = None
        for chunk in self.call.stream(self._body):
            steps = tuple(chunk["steps"]) if "steps" in chunk else None
            if steps and "timings" not in chunk:
                self._pieces.put(ChatDelta(self._side, "", steps=steps))
            for choice in chunk["choices"]:
                if text := choice["delta"].get("content"):
                    self._pieces.put(ChatDelta(self._side, text))
                finish = choice["finish_reason"] or finish
            if "timings" in chunk:
                timings = chunk["timings"]
                self._pieces.put(
                    ChatDelta(
                        self._side,
                        "",
                        done=True,
                        finish_reason=finish,
                        tokens=chunk["usage"]["completion_tokens"],
                        tokens_per_second=timings["tokens_per_second"],
                        seconds_to_first=timings["seconds_to_first"],
                        steps=steps,
                    )
                )
