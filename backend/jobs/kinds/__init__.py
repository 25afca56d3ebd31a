"""What a worker can do: one file per kind of job, found by its id. Each has a `KIND`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from backend.home import Home
from backend.jobs.record import Job
from studio.errors import StudioError

if TYPE_CHECKING:
    from backend.store.database import Store
    from backend.store.writer import Writer
    from studio.train.events import Control, EventSink


@dataclass(frozen=True)
class Made:
    """Something that a job left behind, for the `artifact` table."""

    kind: str  # dataset | base | adapter | checkpoint | merge | export
    path: str | None
    hash: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a job ended by itself. `happening` is `finish` or `stop`; `result` is kept with the job.

    `again`: another attempt is to follow; `reasons` join those of the job and tell it what to do otherwise,
    and `told` is the event (kind, body) that says so, written together with them.
    """

    happening: str
    result: Mapping[str, Any] = field(default_factory=dict)
    made: tuple[Made, ...] = ()
    reasons: Mapping[str, Any] = field(default_factory=dict)
    told: tuple[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Work:
    """What a kind is given: the job, a store to read, where to report, whom to ask whether to go on."""

    home: Home
    store: Store
    job: Job
    writer: Writer
    sink: EventSink
    control: Control


class Kind(Protocol):
    """One kind of job. `run` is called in the worker's second thread; a StudioError fails the job."""

    id: str

    def run(self, work: Work) -> Outcome: ...


class Stopped(Exception):
    """Raised inside a kind, where there is no step boundary, once the person wishes to stop."""


def go_on(work: Work, phase: str, share: float | None) -> None:
    """Say how far it is; `Stopped` once the person wishes to stop."""
    work.sink.phase(phase, share)
    if work.control.stopping():
        raise Stopped


_extra: dict[str, Kind] = {}


def add(kind: Kind) -> None:
    """Register a kind that has no file in this package."""
    _extra[kind.id] = kind


def find(id: str) -> Kind:
    """The kind; `StudioError("unknown_extension")` names the known ones."""
    if id in _extra:
        return _extra[id]
    known = [module.name for module in pkgutil.iter_modules(__path__)]
    if id not in known:
        raise StudioError("unknown_extension", kind="kinds", id=id, known=known)
    kind: Kind = importlib.import_module(f"{__name__}.{id}").KIND
    return kind
