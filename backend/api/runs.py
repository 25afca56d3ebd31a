"""Jobs: what they do, what they have done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.api.library import Dependent, Holding
from backend.api.memory import MemoryPoint
from studio.cost import Spent
from studio.errors import Reason

STATES = ("queued", "running", "paused", "stopping", "done", "stopped", "failed", "interrupted")
LIVE_STATES = ("running", "paused", "stopping")


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
    size_bytes: int | None = None  # of what is fetched, or of what a merge or an export made


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
    holding: Holding | None = None  # what it left on the disk, once it has ended
    base_of: tuple[str, ...] = ()  # the models that its base was merged of, by name

    @property
    def dependents(self) -> tuple[Dependent, ...]:
        """Of what it made."""
        return self.holding.dependents if self.holding else ()


@dataclass(frozen=True)
class Series:
    """One metric of one run for a chart: at most 2,000 points, minima and maxima kept."""

    run: str
    name: str  # loss | eval_loss | lr | grad_norm | tokens_per_second | memory_bytes | step_seconds
    steps: tuple[int, ...]
    values: tuple[float | None, ...]
