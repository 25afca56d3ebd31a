"""What work takes: memory by part, time and energy; what it was measured at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.api.machine import Room
from studio.errors import Reason
from studio.memory.by_module import ModuleBytes


@dataclass(frozen=True)
class MemoryNeed:
    """What the largest step of a plan takes by one method. `fits`: yes, tight, no, None. For answering, a
    `method` that is empty means the untouched model.

    `parts` are the bytes of tensors at the worst moment (`moment`) by part, and `context`, what the device's
    driver and libraries hold; `reserved_bytes` is the interval of what the process takes in all.
    `measured_need` is what measurements on this machine make of its upper end: a probe of the same plan
    (`probed`), else runs like it (`calibration`); None: nothing. The parts stay those of the formula.
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
    measured_need: int | None = None
    calibration: Calibration | None = None
    probed: MemoryNeed | None = None
    notes: tuple[Reason, ...] = ()  # what these figures do not say of the model

    @property
    def needed_bytes(self) -> int:
        """What must be free: the upper end of the interval, by what was measured here."""
        return self.reserved_bytes[1] if self.measured_need is None else self.measured_need


@dataclass(frozen=True)
class FitProposal:
    """Changes that make a plan fit: `settings` by address (None: left to the studio) and `method` (None: the
    same) are what to apply; `resolved` are the same settings with what the studio would choose. `what` and
    `price` have one entry per change."""

    what: tuple[Reason, ...]
    price: tuple[Reason, ...]
    settings: Mapping[str, Any]
    resolved: Mapping[str, Any]
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
class MemoryPoint:
    """What one run was predicted to need at its worst moment beside what it was measured at.

    Parts are `weights`, `adapter`, `optimizer` and `step` (all else). On a processor, measured is what was
    resident above what the process held before the model was loaded; `reserved_bytes` is a GPU's. `card` is
    the GPU's name, since another may take its place as `device`; None for what is no GPU of torch's.
    """

    run: str
    source: str  # estimate | probe
    method: str
    device: str
    card: str | None
    predicted_bytes: int
    measured_bytes: int
    reserved_bytes: int | None
    predicted_parts: Mapping[str, int]
    measured_parts: Mapping[str, int]


@dataclass(frozen=True)
class Calibration:
    """Measured divided by predicted, for models of like size by one method on one device of this machine
    while it was this `card`: the median of `runs`."""

    device: str
    card: str | None
    method: str
    factor: float
    runs: int
