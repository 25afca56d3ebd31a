"""What the facade promises to the screen and the command line: plain frozen dataclasses, JSON in and out.

`Facade` is the protocol that `backend.facade.StudioFacade` fulfils and that tests of the screen replace by
a fake; its part about chat is in `backend.chat_api`. Times are seconds since the epoch, sizes bytes,
durations seconds. Whatever a person can mend arrives as `StudioError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from backend.chat_api import ChatFacade
from studio.cost import Spent
from studio.errors import Reason
from studio.memory.by_module import ModuleBytes

STATES = ("queued", "running", "paused", "stopping", "done", "stopped", "failed", "interrupted")
LIVE_STATES = ("running", "paused", "stopping")


@dataclass(frozen=True)
class GpuProcess:
    pid: int
    name: str | None
    used_bytes: int | None


@dataclass(frozen=True)
class Device:
    """One accelerator. `key` is what `--device` takes. Not `usable`: `problem` says why."""

    key: str
    name: str
    kind: str  # cuda | rocm | mps
    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    utilisation: float | None  # 0..1
    temperature_c: float | None
    power_w: float | None
    power_limit_w: float | None
    driver: str | None
    processes: tuple[GpuProcess, ...]
    usable: bool
    problem: Reason | None = None


@dataclass(frozen=True)
class HardwareReport:
    """The machine now.

    `reasons` say what is missing and what to do (i18n `hardware.<code>.message` and `.remedy`).
    """

    devices: tuple[Device, ...]
    reasons: tuple[Reason, ...]
    cpu_name: str
    cpu_cores: int  # cores this process may use
    cpu_utilisation: float | None  # 0..1
    ram_total_bytes: int
    ram_available_bytes: int
    disk_total_bytes: int
    disk_free_bytes: int
    home: str


@dataclass(frozen=True)
class ModelInfo:
    """A model that a run can start from. Unknown facts are None."""

    name: str  # grammar of DESIGN 3: starter, path:DIR, hub:ORG/NAME
    title: str
    summary: str
    parameters: int | None
    size_bytes: int | None
    licence: str | None
    context: int | None  # longest sequence in tokens
    architecture: str | None
    on_disk: bool
    gated: bool
    fits: str | None  # yes | tight | no | None (unknown): one row of 512 tokens at a time
    needed_bytes: int | None  # for that
    with_method: str | None = None  # short title of the method that this takes; None: the usual
    reason: Reason | None = None


@dataclass(frozen=True)
class SampleInfo:
    name: str
    title: str
    summary: str
    goal: str  # style | facts | format
    rows: int
    heldout_rows: int


@dataclass(frozen=True)
class CheckReport:
    """`problems`: dicts {row, column, code, facts, skipped}; words under `problem.<code>.message` and `.fix`.

    Without `row` it is about the file as a whole; `skipped`: the row is left out. Of one code only the first
    are in `problems`; `problem_counts` counts all of them, by code.
    """

    dataset: str
    format: str
    reason: Reason
    rows: int
    heldout_rows: int | None
    problems: tuple[dict[str, Any], ...]
    problem_counts: Mapping[str, int]
    tokens: (
        Mapping[str, Any] | None
    )  # needs a model: total, learned, min, median, p95, max, truncated, histogram


@dataclass(frozen=True)
class PreviewRow:
    """One row as the model will read it: pieces of text, each learned or not, in order."""

    row: int
    pieces: tuple[tuple[str, bool], ...]
    tokens: int
    learned: int


@dataclass(frozen=True)
class MemoryNeed:
    """What the largest step of a plan takes by one method. `fits`: yes, tight, no, None. For answering, a
    `method` that is empty means the untouched model.

    `parts` are the bytes of tensors at the worst moment (`moment`) by part, and `context`, what the device's
    driver and libraries hold; `reserved_bytes` is the interval of what the process takes in all.
    """

    method: str
    parts: Mapping[str, int]
    moment: str
    allocated_bytes: int
    reserved_bytes: tuple[int, int]
    trainable_params: int
    total_params: int
    fits: str | None
    source: str = "estimate"  # | trace | probe
    modules: tuple[ModuleBytes, ...] = ()  # of a trace: what lives in each module, the largest first
    at: str | None = None  # of a trace: the module that computes at the worst moment

    @property
    def needed_bytes(self) -> int:
        """What must be free: the upper end of the interval."""
        return self.reserved_bytes[1]


@dataclass(frozen=True)
class Room:
    """The memory of one device, and whether the plan fits there. `device` is what `--device` takes."""

    device: str
    name: str
    total_bytes: int | None
    free_bytes: int | None
    processes: tuple[GpuProcess, ...]
    fits: str | None


@dataclass(frozen=True)
class FitProposal:
    """Changes that make a plan fit: `settings` by address (None: left to the studio) and `method` (None: the
    same) are what to apply. `what` and `price` have one entry per change."""

    what: tuple[Reason, ...]
    price: tuple[Reason, ...]
    settings: Mapping[str, Any]
    method: str | None
    needed_bytes: int
    gain_bytes: int
    fits: str


@dataclass(frozen=True)
class MemoryLimits:
    """The most that fits by one method, everything else as planned; 0: not even the smallest. `model` is the
    title of the largest proposed model that fits one row at a time."""

    method: str
    batch: int
    seq: int
    whole_context: bool  # rows as long as the model reads fit
    model: str | None


@dataclass(frozen=True)
class EpochCost:
    """What one pass over the rows would take, by what earlier work with this model, method and device took:
    that of `source`, whose plan was another in the settings `differs` (`method`: in the method's own).

    `range_seconds` spans what the difference in tokens per step may make of it, and other work as near.
    `joules` are of the whole device; None where they could not be read.
    """

    seconds: float
    range_seconds: tuple[float, float]
    joules: float | None
    source: str
    differs: tuple[str, ...]


@dataclass(frozen=True)
class PurposeNeed:
    """What answering with a model (`chat`), or merging what was learned into it (`merge`), takes. `settings`
    and `reasons` say what was taken for granted; `disk_bytes` are written."""

    purpose: str
    model: str
    memory: MemoryNeed
    rooms: tuple[Room, ...]  # the chosen device first
    settings: Mapping[str, Any]
    reasons: tuple[Reason, ...]
    disk_bytes: int | None = None
    disk_free_bytes: int | None = None


@dataclass(frozen=True)
class Draft:
    """A plan looked at before it starts: every value filled in, why, what is wrong, what it will take."""

    plan: Mapping[str, Any]  # Plan.as_dict() with nothing left open
    reasons: Mapping[str, Reason]  # by setting address, for every automatic choice
    problems: tuple[dict[str, Any], ...]  # {code, key, facts}; empty: it can start
    steps: int | None
    rows: int | None
    heldout_rows: int | None
    memory: MemoryNeed | None  # None: the model's size is not known
    method_needs: Mapping[str, MemoryNeed]  # by method, the others with their defaults; empty if not known
    rooms: tuple[Room, ...]  # the chosen device first
    proposals: tuple[FitProposal, ...]  # best first; empty where it fits or nothing helps
    tokens_per_step: int | None  # at most, over all rows of an optimizer step
    epochs: Mapping[str, EpochCost]  # by method, as far as known from earlier work on this machine
    seconds: float | None  # of all steps, by the chosen method's
    command: str  # the same plan as a command line

    @property
    def free_bytes(self) -> int | None:
        """On the chosen device."""
        return self.rooms[0].free_bytes if self.rooms else None


@dataclass(frozen=True)
class RunSummary:
    """A row of the list of jobs (`runs list`)."""

    run: str
    kind: str
    state: str
    model: str | None
    dataset: str | None
    method: str | None
    steps: int
    steps_planned: int | None
    loss: float | None
    eval_loss: float | None
    best_eval_loss: float | None
    adapter: str | None  # folder of the finished adapter
    peak_memory_bytes: int | None
    tokens_per_second: float | None
    seconds_left: float | None
    created: float
    started: float | None
    ended: float | None
    error: Mapping[str, Any] | None  # StudioError.as_dict() or {"code": "bug", "facts": {"log": path}}
    answering: bool  # False: live but its heartbeat is old ("not answering"), or has no heartbeat yet
    phase: str | None  # what it is doing: starting | downloading | loading | training | evaluating | saving
    progress: float | None  # 0..1 within the phase (downloads) or of the steps
    attempt: int


@dataclass(frozen=True)
class MemoryPoint:
    """What one run was predicted to need at its worst moment beside what it was measured at.

    Parts are `weights`, `adapter`, `optimizer` and `step` (all else). On a processor, measured is what was
    resident above what the process held before the model was loaded; `reserved_bytes` is a GPU's.
    """

    run: str
    source: str  # estimate | probe
    method: str
    device: str
    predicted_bytes: int
    measured_bytes: int
    reserved_bytes: int | None
    predicted_parts: Mapping[str, int]
    measured_parts: Mapping[str, int]


@dataclass(frozen=True)
class Calibration:
    """Measured divided by predicted, for one method on one device of this machine: the median of `runs`."""

    device: str
    method: str
    factor: float
    runs: int


@dataclass(frozen=True)
class RunDetail:
    summary: RunSummary
    plan: Mapping[str, Any]
    reasons: Mapping[str, Reason]
    folder: str
    log: str  # path of the log file
    checkpoints: tuple[int, ...]  # steps with a complete checkpoint, ascending
    best_step: int | None
    hashes: Mapping[str, str]  # base, dataset, tokenizer, template
    events: tuple[dict[str, Any], ...]  # {seq, at, kind, body}, newest last, at most 200
    memory: MemoryPoint | None = None  # None before it was measured
    spent: Spent | None = None  # by the newest attempt's steps but the first; None before that ended


@dataclass(frozen=True)
class Series:
    """One metric of one run for a chart: at most 2,000 points, minima and maxima kept."""

    run: str
    name: str  # loss | eval_loss | lr | grad_norm | tokens_per_second | memory_bytes | step_seconds
    steps: tuple[int, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class MergeRequest:
    """What is to be merged. `models`: runs, adapters or mixes of one base. With `how` (an id of `merges()`)
    and its settings `set` they become one adapter, stored as ComPEFT does where `compress` gives a density.
    Without it, one run is merged into its base; with a weight below 1, only so far; `exact`: into the rounded
    weights of a base in 4 bit. `weights` are one per model, None: the usual. `out`: a folder that is not
    there yet; None: within the home."""

    models: Sequence[str]
    how: str | None = None
    weights: Sequence[float] | None = None
    set: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False
    compress: float | None = None
    out: str | None = None


@dataclass(frozen=True)
class Product:
    """What a merge (or another job that makes files) left behind; None and empty before it has.

    `facts` of an adapter: `rank`, `error`, `compression_error`, `size_bytes`, `input_bytes`; of merged
    weights: `verified` and, for a base in 4 bit, `ways` (`max_difference`, `mean_difference`, `largest`,
    `bound`, and `passed`), see `studio.merge.verify`.
    """

    run: str
    kind: str
    state: str
    artifact: int | None
    path: str | None
    files: tuple[str, ...]
    facts: Mapping[str, Any]
    error: Mapping[str, Any] | None


@dataclass(frozen=True)
class ServeRequest:
    """Models of one base to keep on an OpenAI-compatible endpoint, and what it takes on at most.

    `port` None: the first free one. `rows` are answers at a time, `waiting` further ones in line,
    `max_tokens` those of one answer (None: until the context is full).
    """

    models: Sequence[str]
    host: str = "127.0.0.1"
    port: int | None = None
    device: str | None = None
    rows: int = 8
    waiting: int = 64
    max_tokens: int | None = None
    body_bytes: int = 8 * 2**20


@dataclass(frozen=True)
class Endpoint:
    """Where a job of kind `serve` answers, and the key that opens it."""

    run: str
    url: str
    token: str
    models: tuple[str, ...]


class Facade(ChatFacade, Protocol):
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

    def models(self) -> list[ModelInfo]: ...
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
        """`[{"id", "title", "summary", "params": [ParamInfo.as_dict(), ...]}]`."""
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
    def delete(self, run: str) -> None: ...
    def wait(self, run: str, poll_seconds: float = 0.3) -> Iterator[RunSummary]:
        """Yields the summary whenever it changed, until the run has ended (or waits, paused)."""
        ...

    def merges(self) -> list[dict[str, Any]]:
        """The ways to combine adapters, as `methods()` gives methods."""
        ...

    def merge(self, request: MergeRequest) -> str:
        """Check all and queue a merge; gives the job's id, which `wait`, `stop` and `product` take."""
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
