"""All that the screen and the command line may ask of the studio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from backend.api.chat import ChatFacade, ChatModel
from backend.api.content import CheckReport, ModelInfo, PreviewRow, SampleInfo
from backend.api.library import LibraryFacade
from backend.api.machine import HardwareReport
from backend.api.memory import Calibration, MemoryLimits, MemoryNeed, MemoryPoint, PurposeNeed
from backend.api.plans import Draft
from backend.api.products import (
    Endpoint,
    ExportRequest,
    ExportRoom,
    MergeRequest,
    Product,
    ServeRequest,
    Unmixable,
)
from backend.api.runs import RunDetail, RunSummary, Series


class Facade(ChatFacade, LibraryFacade, Protocol):
    """All that the screen and the command line may ask of the studio."""

    home: Path

    def hardware(self) -> HardwareReport: ...
    def spare_bytes(self) -> int:
        """Memory held by the worker that waits for the next start; 0 without one."""
        ...

    def memory_history(self) -> list[MemoryPoint]:
        """Predicted and measured memory of the runs so far, oldest first."""
        ...

    def calibrations(self) -> list[Calibration]:
        """How far this machine's measurements lay from the predictions, by device and method."""
        ...

    def models(self) -> list[ModelInfo]:
        """Those proposed, then what else was downloaded and the folders that the person registered."""
        ...

    def model(self, name: str) -> ModelInfo: ...

    def samples(self) -> list[SampleInfo]: ...
    def check(self, dataset: str, model: str | None = None) -> CheckReport: ...
    def preview(
        self, dataset: str, model: str, rows: int = 5, seq: int | None = None
    ) -> list[PreviewRow]: ...
    def save_rows(self, name: str, rows: Sequence[Mapping[str, str]]) -> str:
        """Keep rows that the person typed ({prompt, answer}); gives the dataset's name (a path)."""
        ...

    def typed_rows(self, dataset: str) -> list[dict[str, str]]:
        """The rows of a dataset that `save_rows` kept, as they were typed."""
        ...

    def save_upload(self, file: str) -> str:
        """Copy a file the person picked into the home; gives the dataset's name (a path)."""
        ...

    def methods(self) -> list[dict[str, Any]]:
        """`[{"id", "title", "summary", "params": [ParamInfo.as_dict(), ...], "unable": None}]`; `unable` is
        `{"code", "facts"}` where this machine can't run it: why."""
        ...

    def settings(self, method: str = "lora") -> list[dict[str, Any]]:
        """The common settings of every plan, as `methods()` gives params."""
        ...

    def draft(
        self,
        model: str,
        dataset: str,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> Draft:
        """Never raises for a wrong setting: that is in `problems`."""
        ...

    def counts_first(self, model: str) -> bool:
        """Whether the next estimate of a model has to build it once without weights, which takes seconds: one
        of a family whose sizes do not follow from its config.json alone."""
        ...

    def estimate(
        self,
        model: str,
        dataset: str | None = None,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
        other: Mapping[str, Any] | None = None,
    ) -> Draft:
        """The memory of a plan; raises as `start` does. A model's sizes are enough (a path to a config.json);
        without a dataset all positions count as learned. `other`: what another program does otherwise
        (`kbit_casts`, `outputs_alive`, `loss_kernel`), how many `devices`, and their `sharding`."""
        ...

    def trace(
        self,
        model: str,
        dataset: str | None = None,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> MemoryNeed:
        """What `estimate` says, from the real step on tensors without memory (seconds), by module too."""
        ...

    def purpose_need(
        self, purpose: str, model: str, method: str | None = None, set: Mapping[str, Any] | None = None
    ) -> PurposeNeed:
        """The memory of another `purpose` than training: `chat` or `merge`. `model` may be a run, which
        brings its method; without a method the untouched model answers, and LoRA's adapter is merged."""
        ...

    def limits(
        self,
        model: str,
        dataset: str | None = None,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> list[MemoryLimits]:
        """The most that fits, per method, the chosen one first; empty where the plan can't be drawn up."""
        ...

    def warm_worker(self, draft: Draft) -> None:
        """Let a worker with its imports done wait for this plan's start: who looks at a plan without a fault
        is likely to start it. Nothing happens while a run is alive."""
        ...

    def start(
        self,
        model: str,
        dataset: str,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> str:
        """Check all, freeze the rows, queue the job, launch it if its device is free; gives its id."""
        ...

    def probe(
        self,
        model: str,
        dataset: str | None = None,
        method: str = "lora",
        set: Mapping[str, Any] | None = None,
        objective: str = "sft",
    ) -> str:
        """Queue one step of this plan, to measure its memory; gives the job's id. What it measured joins the
        memory history. Without a dataset all positions count as learned."""
        ...

    def probed(self, job: str) -> MemoryNeed:
        """What a probe measured; raises what it ended with where it did not."""
        ...

    def runs(self, kind: str = "train") -> list[RunSummary]:
        """Newest first. kind `all` for every kind. Looking also settles the dead and claims the queue."""
        ...

    def run(self, run: str) -> RunDetail: ...
    def version(self) -> int:
        """Grows whenever any job, metric or event is written: live views redraw only when it moved."""
        ...

    def series(self, runs: Sequence[str], names: Sequence[str], max_points: int = 2000) -> list[Series]: ...
    def log_tail(self, run: str, max_bytes: int = 20_000) -> str: ...
    def pause(self, run: str) -> RunSummary: ...
    def resume(self, run: str) -> RunSummary: ...
    def stop(self, run: str) -> RunSummary: ...
    def delete(self, run: str, knowing: tuple[str, ...] = ()) -> None:
        """Delete a job with all that it made inside the home; refused as `remove` refuses."""
        ...

    def wait(self, run: str, poll_seconds: float = 0.3) -> Iterator[RunSummary]:
        """Yields the summary whenever it changed, until the run has ended (or waits, paused)."""
        ...

    def merges(self) -> list[dict[str, Any]]:
        """The ways to combine adapters, as `methods()` gives methods."""
        ...

    def merge(self, request: MergeRequest) -> str:
        """Check all and queue a merge; gives the job's id, which `wait`, `stop` and `product` take."""
        ...

    def exports(self) -> list[dict[str, Any]]:
        """The formats in which a model can leave the studio, as `methods()` gives methods."""
        ...

    def export(self, request: ExportRequest) -> str:
        """Check all and queue an export; gives the job's id, which `wait`, `stop` and `product` take."""
        ...

    def export_room(self, request: ExportRequest) -> ExportRoom:
        """What an export would take; raises what `export` would refuse it with."""
        ...

    def mixable(self) -> list[ChatModel]:
        """What can be mixed, newest first: runs and merges that are adapters, and, each by itself, runs that
        trained the base's own weights."""
        ...

    def unmixable(self) -> list[Unmixable]:
        """The other runs and merges that answer, newest first, and why they can't be combined."""
        ...

    def mix_losses(self, model: str) -> str:
        """Queue a measurement of what a mix (by its name) does to the held-out loss of each run in it; gives
        the job's id, which `wait`, `stop` and `product` take."""
        ...

    def product(self, run: str) -> Product: ...

    def serve(self, request: ServeRequest, key: str | None = None) -> str:
        """Start a job that keeps these models on an endpoint until it is stopped; gives its id. `key` opens
        it; None draws one, which is refused where other machines could reach it."""
        ...

    def endpoint(self, run: str) -> Endpoint | None:
        """Where a job of kind `serve` answers; None while it does not."""
        ...

    def close(self) -> None:
        """End what this process holds open (its chat engines, its connections). Jobs go on."""
        ...
