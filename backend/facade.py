"""The one composition root: everything that the screen and the command line may ask, delegated.

No torch in this process. Fulfils `backend.api.Facade`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend import (
    calibration,
    drafts,
    library,
    library_changes,
    memory,
    memory_history,
    probing,
    purposes,
    run_views,
    serving,
    starting,
)
from backend.api import (
    Calibration,
    CheckReport,
    Draft,
    Endpoint,
    HardwareReport,
    Holding,
    Library,
    MemoryLimits,
    MemoryNeed,
    MemoryPoint,
    ModelInfo,
    PreviewRow,
    PurposeNeed,
    RunDetail,
    RunSummary,
    SampleInfo,
    Series,
    ServeRequest,
)
from backend.api.chat import ChatDelta, ChatModel, ChatRequest
from backend.chat.runs import base_of
from backend.chat.service import ChatService
from backend.conversations.facade import KeptConversations
from backend.conversations.service import Conversations
from backend.datasets import Datasets
from backend.extensions import listed, params_of
from backend.hardware import choose_device, report
from backend.home import locate_home, open_home
from backend.inputs import folder_if_on_disk
from backend.jobs.launchers import Launcher
from backend.jobs.launchers.local import LocalLauncher, worker_environment
from backend.jobs.queue import Queue, any_worker_lives
from backend.jobs.spare import Spares
from backend.jobs.watch import Watch
from backend.model_list import ModelList
from backend.products import Products
from backend.runs import Runs
from backend.sentences import keep
from backend.store.database import open_store
from studio.defaults import largest_step
from studio.errors import StudioError
from studio.memory.trace_apart import trace_apart
from studio.models.locate import locate
from studio.names import parse
from studio.plan import Plan, Settings, methods


class StudioFacade(Products, KeptConversations):
    """The studio of one home.

    Args:
        home: The home; None: see `backend.home.locate_home`.
        watch: For the screen: settle dead workers and start queued jobs every second as long as this process
            lives, and keep a spare worker ready where one is asked for. Without it jobs are settled
            whenever something is asked.
        launcher: Where workers run; a detached process each if None.
        sentences: Those of errors by their keys, in which endpoints answer programs; None: as kept before.

    Raises:
        StudioError: those of `open_home` and `open_store`.
    """

    def __init__(
        self,
        home: str | Path | None = None,
        watch: bool = False,
        launcher: Launcher | None = None,
        sentences: Mapping[str, str] | None = None,
    ) -> None:
        self._home = open_home(locate_home(home))
        if sentences is not None:
            keep(self._home, sentences)
        self.home = self._home.root
        self._store = open_store(self._home.store, any_worker_lives)
        self._datasets = Datasets(self._home)
        self._models = ModelList(self._home.surveys, self._home.runs)
        queue = Queue(self._home, self._store, launcher or LocalLauncher())
        self._runs = Runs(self._home, self._store, queue)
        self._chat = ChatService(self.home, state=lambda run: self._runs.job(run).state)
        self._conversations = Conversations(self._store, self._datasets, self._chat.stream)
        self._watch = Watch(self._runs.look) if watch else None
        self._spares = Spares(self._home) if watch else None

    # -- the machine, models, data

    def hardware(self) -> HardwareReport:
        return report(self.home)

    def spare_bytes(self) -> int:
        return sum(spare.memory_bytes for spare in Spares(self._home).waiting())

    def memory_history(self) -> list[MemoryPoint]:
        return memory_history.history(self._store)

    def calibrations(self) -> list[Calibration]:
        return calibration.calibrations(self.memory_history())

    def models(self) -> list[ModelInfo]:
        return self._models.proposed(self.hardware(), library.own_models(self._home, self._store))

    def model(self, name: str) -> ModelInfo:
        return self._models.find(name, self.hardware())

    def samples(self) -> list[SampleInfo]:
        return self._datasets.samples()

    def check(self, dataset: str, model: str | None = None) -> CheckReport:
        folder = folder_if_on_disk(model, self._home.runs) if model else None
        return self._datasets.check(dataset, folder)

    def preview(self, dataset: str, model: str, rows: int = 5, seq: int | None = None) -> list[PreviewRow]:
        return self._datasets.preview(dataset, locate(model, self._home.runs), rows, seq)

    def save_rows(self, name: str, rows: Sequence[Mapping[str, str]]) -> str:
        return self._datasets.save_rows(name, rows)

    def typed_rows(self, dataset: str) -> list[dict[str, str]]:
        return self._datasets.typed_rows(dataset)

    def save_upload(self, file: str) -> str:
        return self._datasets.save_upload(file)

    def methods(self) -> list[dict[str, Any]]:
        # The light ones first: who chooses the first in the list chooses well.
        light_first = sorted(methods.all().values(), key=lambda m: m.capable("trains_base", m.params()))
        unable = memory.unable(choose_device(self.hardware())[0])
        return [
            entry | {"unable": unable[entry["id"]].as_dict() if entry["id"] in unable else None}
            for entry in listed(light_first)
        ]

    def settings(self, method: str = "lora") -> list[dict[str, Any]]:
        methods.get(method)
        return params_of(Settings)

    # -- from a request to a run

    def draft(
        self,
        model: str,
        dataset: str,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> Draft:
        request = drafts.Request(model, dataset, method, set or {}, objective)
        return drafts.draft_of(request, self._consider(request, self.hardware()), self._store)

    def counts_first(self, model: str) -> bool:
        return self._models.counts_first(model)

    def estimate(
        self,
        model: str,
        dataset: str | None = None,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
        other: Mapping[str, Any] | None = None,
    ) -> Draft:
        request = drafts.Request(model, dataset or None, method, set or {}, objective, sizes_only=True)
        if (name := parse(model)).kind == "run":
            base = base_of(self._home.runs, name.value)
            raise StudioError("estimate_of_run", run=name.value, base=base)
        considered = self._consider(request, self.hardware())
        considered.raise_if_refused()
        drafts.require_sizes(considered)
        draft = drafts.draft_of(request, considered, self._store)
        return drafts.elsewhere(draft, considered, other) if other else draft

    def trace(
        self,
        model: str,
        dataset: str | None = None,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> MemoryNeed:
        request = drafts.Request(model, dataset or None, method, set or {}, objective, sizes_only=True)
        considered = self._consider(request, self.hardware())
        considered.raise_if_refused()
        case = drafts.require_sizes(considered)
        config = self._models.config(parse(considered.plan.model))
        plan = largest_step(case.plan, case.facts.rows, case.facts.most_tokens)
        traced = trace_apart(plan, config, case.facts.learned, case.facts.capability)
        return memory.of_case(case, replace(traced, interval=case.need().reserved))

    def purpose_need(
        self, purpose: str, model: str, method: str | None = None, set: Mapping[str, Any] | None = None
    ) -> PurposeNeed:
        subject = purposes.subject(self._home.runs, model, method, set or {})
        considered = self._consider(subject.request, self.hardware())
        considered.raise_if_refused()
        return (purposes.chat if purpose == "chat" else purposes.merge)(subject, considered)

    def limits(
        self,
        model: str,
        dataset: str | None = None,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> list[MemoryLimits]:
        request = drafts.Request(model, dataset or None, method, set or {}, objective, sizes_only=True)
        return drafts.limits_of(self._consider(request, self.hardware()))

    def warm_worker(self, draft: Draft) -> None:
        if self._spares is not None and not draft.problems and not self._runs.any_live():
            device = str(draft.plan["settings"]["device"])
            self._spares.start(device, worker_environment((device,)))

    def start(
        self,
        model: str,
        dataset: str,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> str:
        # Here torch's own word on the GPUs is worth waiting for.
        hardware = report(self.home, wait=True)
        considered = self._consider(drafts.Request(model, dataset, method, set or {}, objective), hardware)
        considered.raise_if_refused()
        probed = probing.wanted(considered)
        return self._runs.claimed(
            starting.start(self._home, self._store, self._datasets, considered, probed=probed)
        )

    def probe(
        self,
        model: str,
        dataset: str | None = None,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> str:
        name = parse(model)
        if name.kind == "path" and Path(name.value).is_file():  # a config.json
            raise StudioError("probe_without_weights", name=model)
        request = drafts.Request(model, dataset, method, set or {}, objective)
        considered = self._consider(request, report(self.home, wait=True))
        considered.raise_if_refused()
        if considered.model_folder is None:
            raise StudioError("probe_without_weights", name=considered.plan.model)
        with self._store.asked() as connection:
            job = probing.ask(connection, considered)
        return self._runs.claimed(job)

    def probed(self, job: str) -> MemoryNeed:
        ended = self._runs.job(job)
        plan, found = Plan.from_dict(ended.plan), probing.found(ended)
        free = memory.free_bytes(self.hardware(), str(plan.settings.device))
        return memory.shown(plan, self._models.of_folder(self._models.locate(parse(plan.model))), found, free)

    # -- runs

    def runs(self, kind: str = "train") -> list[RunSummary]:
        return self._runs.summaries(kind)

    def run(self, run: str) -> RunDetail:
        return self._runs.detail(run)

    def version(self) -> int:
        return self._runs.version()

    def series(self, runs: Sequence[str], names: Sequence[str], max_points: int = 2000) -> list[Series]:
        return run_views.series(self._runs.curves, runs, names, max_points)

    def log_tail(self, run: str, max_bytes: int = 20_000) -> str:
        return run_views.log_tail(self._home.log(self._runs.job(run).id), max_bytes)

    def pause(self, run: str) -> RunSummary:
        return self._runs.pause(run)

    def resume(self, run: str) -> RunSummary:
        return self._runs.resume(run)

    def stop(self, run: str) -> RunSummary:
        return self._runs.stop(run)

    def delete(self, run: str, knowing: tuple[str, ...] = ()) -> None:
        library_changes.delete(self._home, self._store, self._runs, run, knowing)

    def wait(self, run: str, poll_seconds: float = 0.3) -> Iterator[RunSummary]:
        return self._runs.wait(run, poll_seconds)

    # -- models on the disk

    def library(self) -> Library:
        return library.look(self._home, self._store)

    def download(self, model: str) -> str:
        return self._runs.claimed(library_changes.download(self._home, self._store, model))

    def register(self, folder: str) -> str:
        return library_changes.register(self._home, self._store, folder)

    def remove(self, name: str, knowing: tuple[str, ...] = ()) -> Holding:
        return library_changes.remove(self._home, self._store, self._runs, name, knowing)

    def set_quota(self, quota_bytes: int | None) -> None:
        library_changes.set_quota(self._home, quota_bytes)

    # -- chat

    def chat_models(self) -> list[ChatModel]:
        made = self._chat.models()
        names = {model.name for model in made}
        on_disk = [model.name for model in self.models() if model.on_disk and model.name not in names]
        return [*made, *(ChatModel(name, name) for name in on_disk)]

    def base_of(self, model: str) -> str | None:
        return self._chat.base_of(model)

    def warm_chat(self, model: str) -> None:
        if not self._runs.any_live():
            self._chat.warm(model)

    def chat(self, request: ChatRequest) -> Iterator[ChatDelta]:
        return self._chat.stream(request)

    def serve(self, request: ServeRequest, key: str | None = None) -> str:
        return self._runs.claimed(serving.start(self._home, self._store, request, key))

    def endpoint(self, run: str) -> Endpoint | None:
        return serving.endpoint(self._home, run.removeprefix("run:"))

    def close(self) -> None:
        if self._watch is not None:
            self._watch.end()
        if self._spares is not None:
            self._spares.end()
        self._chat.close()
        self._store.close()

    def _consider(self, request: drafts.Request, hardware: HardwareReport) -> drafts.Considered:
        return drafts.consider(request, self._datasets, self._models, hardware, self._store)
