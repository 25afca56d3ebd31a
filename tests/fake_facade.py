"""A facade without a backend: the whole `backend.api.Facade` protocol over runs that exist in memory only.

Its runs move with the clock: a running one draws a curve that falls, ends, and lets the next queued one
start, so a screen or a command line can be driven as by the real thing. `speed` is simulated seconds per real
second; the curves are a pure function of run and step, so two looks at the same step agree.
"""

from __future__ import annotations

import dataclasses
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backend.api import (
    LIVE_STATES,
    Calibration,
    CheckReport,
    Draft,
    Endpoint,
    HardwareReport,
    MemoryLimits,
    MemoryNeed,
    MemoryPoint,
    MergeRequest,
    ModelInfo,
    PreviewRow,
    Product,
    PurposeNeed,
    Room,
    RunDetail,
    RunSummary,
    SampleInfo,
    Series,
    ServeRequest,
)
from backend.api.chat import ChatModel
from studio import params
from studio.cost import Spent
from studio.errors import PlanError, Problem, StudioError
from studio.plan import Settings
from tests import fake_content as content
from tests.fake_chat import FakeChat
from tests.fake_exports import FakeExports
from tests.fake_library import FakeLibrary
from tests.fake_runs import FakeRun, best_step, choose

ENDED = ("done", "stopped", "failed", "interrupted")


class FakeFacade(FakeLibrary, FakeExports, FakeChat):
    """`backend.api.Facade` in memory. `chat_seconds` is the pause before each streamed word."""

    def __init__(
        self,
        home: Path = Path("/home/someone/finetune-studio"),
        *,
        runs: Sequence[FakeRun] | None = None,
        hardware: HardwareReport = content.HARDWARE_CPU,
        speed: float = 1.0,
        chat_seconds: float = 0.03,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self.home = home
        self._hardware = hardware
        self._speed = speed
        self._chat_seconds = chat_seconds
        self._clock = clock
        self._opened = clock()
        if runs is not None and not runs:
            self.empty_the_disk()
            self.export_jobs = {}
        self._runs: dict[str, FakeRun] = {r.id: r for r in (self._examples() if runs is None else runs)}
        self._saved: dict[str, int] = {}
        self._typed: dict[str, list[dict[str, str]]] = {}
        self._changes = 0
        self.warmed: list[str] = []  # datasets and models that a worker or an engine was started for
        self.merged: list[MergeRequest] = []
        self.measured: list[str] = []
        self.closed = False

    # -- machine, models, data -------------------------------------------------------------------------------

    def hardware(self) -> HardwareReport:
        busy = 0.35 + 0.2 * math.sin(self._now() / 5)
        return dataclasses.replace(self._hardware, cpu_utilisation=busy)

    def spare_bytes(self) -> int:
        return 512 * 2**20

    def memory_history(self) -> list[MemoryPoint]:
        return [content.memory_point(run.id) for run in self._runs.values() if run.state == "done"]

    def calibrations(self) -> list[Calibration]:
        measured = len(self.memory_history())
        return [Calibration("cpu", None, "lora", 1.04, measured)] if measured else []

    def models(self) -> list[ModelInfo]:
        return list(content.MODELS)

    def model(self, name: str) -> ModelInfo:
        for info in content.MODELS:
            if name in (info.name, info.name.partition(":")[2]):
                return info
        if name.startswith("hub:") or (name.count("/") == 1 and name[0] not in "./"):
            full = name if name.startswith("hub:") else f"hub:{name}"
            return dataclasses.replace(
                content.UNKNOWN_MODEL, name=full, title=full.partition(":")[2], summary=""
            )
        raise StudioError("model_missing", path=name.removeprefix("path:"))

    def samples(self) -> list[SampleInfo]:
        return list(content.SAMPLES)

    def check(self, dataset: str, model: str | None = None) -> CheckReport:
        rows, heldout = self._rows(dataset)
        report = content.CHECK_BROKEN if "broken" in dataset else content.CHECK
        tokens = None
        if model is not None:
            self.model(model)
            tokens = content.TOKENS
        return dataclasses.replace(report, dataset=dataset, rows=rows, heldout_rows=heldout, tokens=tokens)

    def preview(
        self,
        dataset: str,
        model: str,
        rows: int = 5,
        seq: int | None = None,  # noqa: ARG002 (part of the protocol)
    ) -> list[PreviewRow]:
        self._rows(dataset)
        self.model(model)
        return list(content.PREVIEW[:rows])

    def save_rows(self, name: str, rows: Sequence[Mapping[str, str]]) -> str:
        filled = {i: dict(r) for i, r in enumerate(rows, 1) if r["prompt"].strip() or r["answer"].strip()}
        for number, row in filled.items():
            for column in ("prompt", "answer"):
                if not row[column].strip():
                    raise StudioError("row_incomplete", row=number, column=column)
        if not filled:
            raise StudioError("rows_none")
        path = str(self.home / "datasets" / f"{name}.jsonl")
        self._typed[path] = list(filled.values())
        self._saved[path] = len(filled)
        return path

    def typed_rows(self, dataset: str) -> list[dict[str, str]]:
        return self._typed.get(dataset, [])

    def save_upload(self, file: str) -> str:
        path = self.home / "datasets" / Path(file).name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, path)
        self._saved[str(path)] = 120
        return str(path)

    def _rows(self, dataset: str) -> tuple[int, int | None]:
        for sample in content.SAMPLES:
            if sample.name == dataset:
                return sample.rows, sample.heldout_rows
        if dataset in self._saved:
            count = self._saved[dataset]
            return count, count // 10 if count >= 40 else None
        if "broken" in dataset:
            return 3, None
        raise StudioError("dataset_missing", name=dataset, samples=[s.name for s in content.SAMPLES])

    # -- plans -----------------------------------------------------------------------------------------------

    def methods(self) -> list[dict[str, Any]]:
        return [
            {
                "id": "lora",
                "title": "LoRA",
                "summary": "Trains small low-rank matrices beside the frozen weights.",
                "params": [i.as_dict() for i in params.describe(content.FakeLora)],
                "unable": None,
            }
        ]

    def settings(self, method: str = "lora") -> list[dict[str, Any]]:
        self._method(method)
        return [i.as_dict() for i in params.describe(Settings)]

    def _method(self, method: str) -> None:
        if method != "lora":
            raise StudioError("unknown_extension", kind="methods", id=method, known=["lora"])

    def draft(
        self,
        model: str,
        dataset: str,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> Draft:
        info = self.model(model)
        rows, heldout = self._rows(dataset)
        self._method(method)
        given = dict(set or {})
        lora_names = {i.name for i in params.describe(content.FakeLora)}
        mine = {k.removeprefix("method."): v for k, v in given.items() if k.split(".")[-1] in lora_names}
        common = {k: v for k, v in given.items() if k.split(".")[-1] not in lora_names}
        settings, problems = params.parse(Settings, common)
        tuned, more = params.parse(content.FakeLora, mine, prefix="method.")
        problems += more
        if settings.steps is not None and settings.epochs is not None:
            problems.append(Problem("steps_and_epochs", "steps"))
        chosen, reasons = choose(settings, rows)
        return Draft(
            plan={
                "version": 1,
                "model": model,
                "dataset": dataset,
                "method": method,
                "objective": objective,
                "settings": params.to_dict(chosen),
                "method_params": params.to_dict(tuned),
                "objective_params": {},
                "optimizer_params": {},
            },
            reasons=reasons,
            problems=tuple(p.as_dict() for p in problems),
            steps=chosen.steps,
            rows=rows,
            heldout_rows=heldout,
            memory=self._need(info),
            method_needs={"lora": need} if (need := self._need(info)) else {},
            rooms=(
                Room(
                    "cpu",
                    self._hardware.cpu_name,
                    self._hardware.ram_total_bytes,
                    self._hardware.ram_available_bytes,
                    (),
                    info.fits,
                ),
            ),
            proposals=content.PROPOSALS if info.fits == "no" else (),
            tokens_per_step=128 * (chosen.batch or 1),
            epochs={"lora": content.epoch_cost(chosen.steps)} if chosen.steps else {},
            seconds=None if chosen.steps is None else 0.15 * chosen.steps,
            command=" ".join(
                ["python launch.py train", model, dataset, f"--method {method}"]
                + [f"--set {k}={v}" for k, v in given.items()]
            ),
        )

    def counts_first(self, model: str) -> bool:
        del model
        return False

    def estimate(
        self,
        model: str,
        dataset: str | None = None,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
        other: Mapping[str, Any] | None = None,
    ) -> Draft:
        del other
        draft = self.draft(model, dataset or "pirate", method, set, objective)
        if draft.problems:
            raise PlanError(list(draft.problems))
        return draft

    def trace(
        self,
        model: str,
        dataset: str | None = None,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> MemoryNeed:
        need = self.estimate(model, dataset, method, set, objective).memory
        assert need is not None
        return dataclasses.replace(need, source="trace")

    def purpose_need(
        self, purpose: str, model: str, method: str | None = None, set: Mapping[str, Any] | None = None
    ) -> PurposeNeed:
        need = self._need(self.model(model))
        assert need is not None
        need = dataclasses.replace(need, method=method or "")
        return PurposeNeed(purpose, model, need, (), dict(set or {}), ())

    def limits(
        self,
        model: str,
        dataset: str | None = None,  # noqa: ARG002 (part of the protocol)
        method: str = "lora",
        set: Mapping[str, Any] | None = None,  # noqa: ARG002
        objective: str = "sft",  # noqa: ARG002
    ) -> list[MemoryLimits]:
        self.model(model)
        return [MemoryLimits(method, 12, 512, True, "Qwen2.5 1.5B Instruct")]

    def _need(self, info: ModelInfo) -> MemoryNeed | None:
        """As large as the list says, in parts that sum up to it."""
        if info.needed_bytes is None or info.parameters is None:
            return None
        weights, total = 2 * info.parameters, info.needed_bytes
        rest = {"adapter": total // 50, "optimizer": total // 25, "activations": total // 10}
        parts = {"weights": weights, **rest}
        allocated = sum(parts.values())
        counts = {"trainable_params": 10**6, "total_params": info.parameters}
        return MemoryNeed("lora", parts, "backward", allocated, (allocated, total), fits=info.fits, **counts)

    def warm_worker(self, draft: Draft) -> None:
        self.warmed.append(draft.plan["dataset"])

    def start(
        self,
        model: str,
        dataset: str,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> str:
        draft = self.draft(model, dataset, method, set, objective)
        if draft.problems:
            raise PlanError(list(draft.problems))
        stem = Path(dataset).stem
        used = [int(r.rpartition("-")[2]) for r in self._runs if r.rpartition("-")[0] == stem]
        run = FakeRun(
            f"{stem}-{max(used, default=0) + 1}",
            model,
            dataset,
            "queued",
            planned=draft.steps or 300,
            created=self._now(),
            plan=dict(draft.plan),
        )
        self._runs[run.id] = run
        self._touch()
        self._settle()
        return run.id

    # -- runs ------------------------------------------------------------------------------------------------

    def probe(
        self,
        model: str,
        dataset: str | None = None,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> str:
        self.draft(model, dataset or "pirate", method, set, objective)
        return "probe-1"

    def probed(self, job: str) -> MemoryNeed:
        raise StudioError("probe_ended", probe=job, state="queued")

    def runs(self, kind: str = "train") -> list[RunSummary]:
        self._settle()
        if kind == "download":
            return list(self.downloads)
        if kind == "export":
            return list(self.export_jobs.values())
        if kind not in ("train", "all"):
            return []
        return [self._summary(r) for r in sorted(self._runs.values(), key=lambda r: -r.created)]

    def run(self, run: str) -> RunDetail:
        if run in self.export_jobs:
            return self._export(run)
        self._settle()
        found = self._get(run)
        step = self._step(found)
        folder = self.home / "runs" / run
        return RunDetail(
            summary=self._summary(found),
            plan=found.plan,
            reasons=choose(Settings(), 400)[1],
            folder=str(folder),
            log=str(folder / "log.txt"),
            checkpoints=tuple(range(found.eval_every, step + 1, found.eval_every))[-2:],
            best_step=best_step(found, step),
            hashes={
                "base": "9f2c" * 16,
                "dataset": "41aa" * 16,
                "tokenizer": "c0de" * 16,
                "template": "77" * 32,
            },
            events=tuple(
                {"seq": i, "at": found.created + i, "kind": "phase", "body": {"name": name}}
                for i, name in enumerate(("starting", "loading", "training")[: 3 if step else 1])
            ),
            memory=content.memory_point(run) if found.state == "done" else None,
            spent=Spent(step - 1, 500 * (step - 1), 0.15 * (step - 1), None)
            if found.state == "done"
            else None,
            holding=self.held(f"run:{run}"),
        )

    def version(self) -> int:
        self._settle()
        return self._changes + sum(self._step(r) for r in self._runs.values())

    def series(self, runs: Sequence[str], names: Sequence[str], max_points: int = 2000) -> list[Series]:
        out = []
        for run in runs:
            found = self._get(run)
            last = self._step(found)
            for name in names:
                every = found.eval_every if name == "eval_loss" else 1
                steps = list(range(every, last + 1, every))
                steps = steps[:: max(1, math.ceil(len(steps) / max_points))]
                out.append(Series(run, name, tuple(steps), tuple(found.value(name, s) for s in steps)))
        return out

    def log_tail(self, run: str, max_bytes: int = 20_000) -> str:
        found = self._get(run)
        lines = [f"loading {found.model}", f"training on {found.dataset}"]
        lines += [f"step {s} loss {found.loss(s):.4f}" for s in range(1, self._step(found) + 1)]
        if found.error is not None:
            lines.append("Traceback (most recent call last): ...")
        return ("\n".join(lines) + "\n")[-max_bytes:]

    def pause(self, run: str) -> RunSummary:
        return self._move(run, "paused", allowed=("running",))

    def resume(self, run: str) -> RunSummary:
        if run in self.export_jobs:
            return self._move_export(run, "running")
        found = self._get(run)
        if found.state in ("interrupted", "stopped", "failed"):
            found.attempt += 1
        return self._move(run, "running", allowed=("paused", "interrupted", "stopped", "failed"))

    def stop(self, run: str) -> RunSummary:
        if run in self.export_jobs:
            return self._move_export(run, "stopped")
        return self._move(run, "stopped", allowed=("queued", *LIVE_STATES))

    def delete(self, run: str, knowing: tuple[str, ...] = ()) -> None:
        if self.export_jobs.pop(run, None):
            return
        if self._get(run).state in LIVE_STATES:
            raise StudioError("run_live", run=run, state=self._get(run).state)
        if item := self.held(f"run:{run}"):
            self.refuse(item, knowing)
        del self._runs[run]
        self._touch()

    def wait(self, run: str, poll_seconds: float = 0.3) -> Iterator[RunSummary]:
        if run in self.export_jobs:
            yield self.export_jobs[run]
            return
        last: RunSummary | None = None
        while True:
            self._settle()
            now = self._summary(self._get(run))
            if now != last:
                yield now
                last = now
            if now.state in (*ENDED, "paused"):
                return
            time.sleep(poll_seconds / self._speed)

    # -- serving --------------------------------------------------------------------------------------------

    def serve(self, request: ServeRequest, key: str | None = None) -> str:
        """A run that goes on until it is stopped; it answers from the second look on."""
        run = FakeRun("serve-1", str(request.models[0]), "", "running", planned=10**9, since=self._now())
        self._runs[run.id] = run
        self._served = Endpoint(run.id, "http://127.0.0.1:8000", key or "drawn", tuple(request.models))
        return run.id

    def endpoint(self, run: str) -> Endpoint | None:
        return self._served if self._get(run).state == "running" else None

    def merges(self) -> list[dict[str, Any]]:
        rank = {"name": "rank", "title": "Rank", "type": "int", "default": None, "help": "Of the result."}
        return [
            {"id": "linear", "title": "Weighted sum", "summary": "Adds up.", "params": []},
            {
                "id": "svd",
                "title": "Best rank",
                "summary": "Cuts off.",
                "params": [{**rank, "range": [1, 64], "expert": False}],
            },
        ]

    def mixable(self) -> list[ChatModel]:
        adapters = [ChatModel(f"run:{run}", self._runs[run].model) for run in self._learned()]
        full = ChatModel("run:full-1", "starter", copied=(6 * 2**20, 12 * 2**20))
        return [*adapters, full] if adapters else []

    def mix_losses(self, model: str) -> str:
        self.measured.append(model)
        return next(iter(self._runs))

    def merge(self, request: MergeRequest) -> str:
        self.merged.append(request)
        return next(iter(self._runs))

    def product(self, run: str) -> Product:
        if run in self.export_jobs:
            return self._exported(run)
        facts = {"rank": 16, "error": 0.25, "compression_error": None, "size_bytes": 4096}
        return Product(run, "merge", "done", 7, "/made/merge-1", ("adapter_config.json",), facts, None)

    # -- chat (the rest in `FakeChat`) -----------------------------------------------------------------------

    def _learned(self) -> list[str]:
        return [r.run for r in self.runs() if r.adapter is not None]

    def close(self) -> None:
        self.closed = True

    # -- simulation ------------------------------------------------------------------------------------------

    def _examples(self) -> list[FakeRun]:
        now = self._opened
        rows = [
            FakeRun("pirate-1", "starter", "pirate", "done", elapsed=1e9, created=now - 9000),
            FakeRun("support-1", "starter", "support", "failed", elapsed=4, created=now - 7200),
            FakeRun("pirate-2", "starter", "pirate", "stopped", elapsed=20, created=now - 5000),
            FakeRun("json-1", "starter", "json", "interrupted", elapsed=30, created=now - 3000),
            FakeRun("pirate-3", "starter", "pirate", "paused", elapsed=12, created=now - 600),
            FakeRun("json-2", "starter", "json", "running", elapsed=9, created=now - 10, planned=600),
            FakeRun("support-2", "starter", "support", "queued", created=now - 5, planned=400),
        ]
        rows[1].error = {"code": "bug", "facts": {"log": str(self.home / "runs" / "support-1" / "log.txt")}}
        rows[5].since = now
        for row in rows[:6]:
            row.started = row.created + 3
            row.ended = row.started + 45 if row.state in ENDED else None
        for row in rows:
            row.plan = dict(self.draft(row.model, row.dataset).plan) | {"model": row.model}
        return rows

    def _now(self) -> float:
        return self._opened + (self._clock() - self._opened) * self._speed

    def _touch(self) -> None:
        self._changes += 1

    def _get(self, run: str) -> FakeRun:
        if run not in self._runs:
            raise StudioError("run_missing", run=run)
        return self._runs[run]

    def _elapsed(self, run: FakeRun) -> float:
        return run.elapsed + (0 if run.since is None else self._now() - run.since)

    def _step(self, run: FakeRun) -> int:
        return min(run.planned, int(self._elapsed(run) / run.step_seconds))

    def _settle(self) -> None:
        """End what has reached its last step; start the oldest queued run when nothing is running."""
        while True:
            for run in self._runs.values():
                if run.state == "running" and self._step(run) >= run.planned:
                    assert run.since is not None
                    run.ended = run.since + run.planned * run.step_seconds - run.elapsed
                    run.elapsed, run.since, run.state = run.planned * run.step_seconds, None, "done"
                    self._touch()
            waiting = [r for r in self._runs.values() if r.state == "queued"]
            if not waiting or any(r.state == "running" for r in self._runs.values()):
                return
            first = min(waiting, key=lambda r: r.created)
            first.state, first.since, first.started = "running", self._now(), self._now()
            self._touch()

    def _move(self, run: str, state: str, *, allowed: tuple[str, ...]) -> RunSummary:
        self._settle()
        found = self._get(run)
        if found.state not in allowed:
            raise StudioError("job_state", run=run, state=found.state, wanted=state)
        found.elapsed = self._elapsed(found)
        found.state = state
        found.since = self._now() if state == "running" else None
        found.ended = self._now() if state in ENDED else None
        found.error = None
        self._touch()
        return self._summary(found)

    def _summary(self, run: FakeRun) -> RunSummary:
        step = self._step(run)
        evaluated = step // run.eval_every * run.eval_every
        best = best_step(run, step)
        finished = run.state in ("done", "stopped") and step > 0
        return RunSummary(
            run=run.id,
            kind="train",
            state=run.state,
            model=run.model,
            dataset=run.dataset,
            method="lora",
            steps=step,
            steps_planned=run.planned,
            loss=run.loss(step) if step else None,
            eval_loss=run.eval_loss(evaluated) if evaluated else None,
            best_eval_loss=None if best is None else run.eval_loss(best),
            adapter=str(self.home / "runs" / run.id / "adapter") if finished else None,
            peak_memory_bytes=632_000_000 if step else None,
            tokens_per_second=2550.0 if run.state == "running" and step else None,
            seconds_left=(run.planned - step) * run.step_seconds if run.state == "running" else None,
            created=run.created,
            started=run.started,
            ended=run.ended,
            error=run.error,
            answering=True,
            phase=("training" if step else "loading") if run.state == "running" else None,
            progress=step / run.planned if run.state == "running" else None,
            attempt=run.attempt,
        )
