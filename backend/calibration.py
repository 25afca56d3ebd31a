"""What measurements on this machine say of an estimate: a probe of the same plan, or runs like it.

Kept apart from the formula: an estimate says what the computation needs, this what this machine's allocator
made of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from backend.api import Calibration, MemoryPoint
from backend.store.database import Store
from studio.defaults import largest_step
from studio.memory.fit import Case
from studio.memory.key import memory_key
from studio.memory.need import Need
from studio.memory.verdict import Experience

RECENT = 20  # runs that a factor is the median of
LOOKED_AT = 100  # newest runs and probes on a device
ALIKE = 4  # a prediction this many times as large, or as small, is of another kind of model


@dataclass(frozen=True)
class Known:
    """By method: what a probe of the very plan measured, and how far runs like it lay from their estimate."""

    probed: Mapping[str, Need] = field(default_factory=dict)
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)

    def experiences(self, cases: Sequence[Case]) -> dict[str, Experience]:
        """By method. A probe is the truth; runs that took less than was predicted promise nothing."""
        runs = {id: Experience(tensors=max(1.0, found.factor)) for id, found in self.calibrations.items()}
        estimates = {case.plan.method: case.need() for case in cases if case.plan.method in self.probed}
        return runs | {
            id: Experience(whole=self.probed[id].reserved[1] / need.reserved[1])
            for id, need in estimates.items()
        }


@dataclass(frozen=True)
class _Ratio:
    """As far as a factor needs it, a run that was measured."""

    device: str
    card: str | None
    method: str
    predicted_bytes: int
    measured_bytes: int


def known(store: Store, cases: Sequence[Case], card: str | None) -> Known:
    """Of plans that differ in their method, on one device; `card` is the GPU that it is now."""
    device = cases[0].facts.device
    found = _ratios(store, device, card)
    calibrations = (
        calibration(found, device, card, case.plan.method, case.need().allocated) for case in cases
    )
    return Known(_probed(store, cases, card), {one.method: one for one in calibrations if one is not None})


def _probed(store: Store, cases: Sequence[Case], card: str | None) -> dict[str, Need]:
    """By method, what the newest probe of such a plan measured, unless it found no room."""
    keys = {_key(case): case.plan.method for case in cases}
    rows = store.rows(
        "SELECT json_extract(result, '$.key') AS key, json_extract(result, '$.need') AS need FROM job "
        "WHERE kind = 'probe' AND state = 'done' AND deleted IS NULL "
        f"AND json_extract(result, '$.card') IS ? AND key IN ({', '.join('?' * len(keys))}) ORDER BY ended",
        card,
        *keys,
    )
    newest = {keys[row["key"]]: row["need"] for row in rows}
    return {method: Need.from_dict(json.loads(text)) for method, text in newest.items() if text is not None}


def _key(case: Case) -> str:
    plan = largest_step(case.plan, case.facts.rows, case.facts.most_tokens)
    return memory_key(plan, case.model, case.facts.learned)


def calibration(
    points: Sequence[MemoryPoint | _Ratio],
    device: str,
    card: str | None,
    method: str,
    predicted_bytes: int,
) -> Calibration | None:
    """How far runs of like size lay from their predictions; `points` are the oldest first."""
    alike = [
        point.measured_bytes / point.predicted_bytes
        for point in points
        if (point.device, point.card, point.method) == (device, card, method)
        and predicted_bytes <= ALIKE * point.predicted_bytes
        and point.predicted_bytes <= ALIKE * predicted_bytes
    ][-RECENT:]
    return Calibration(device, card, method, median(alike), len(alike)) if alike else None


def calibrations(points: Sequence[MemoryPoint]) -> list[Calibration]:
    """By device, card and method, of runs like the newest; `points` are the oldest first."""
    newest = {(point.device, point.card, point.method): point.predicted_bytes for point in points}
    which = sorted(newest, key=lambda one: (one[0], one[1] or "", one[2]))
    found = (calibration(points, *one, newest[one]) for one in which)
    return [one for one in found if one is not None]


def _ratios(store: Store, device: str, card: str | None) -> list[_Ratio]:
    """Those of a device while it was this card, the oldest first."""
    rows = store.rows(
        "SELECT json_extract(j.plan, '$.method') AS method, "
        "json_extract(e.predicted, '$.peak_bytes') AS predicted, "
        "json_extract(e.measured, '$.peak_bytes') AS measured FROM estimate e JOIN job j ON j.id = e.job "
        "WHERE json_extract(e.measured, '$.parts') IS NOT NULL AND j.deleted IS NULL "
        "AND coalesce(json_extract(j.devices, '$[0]'), 'cpu') = ? AND json_extract(j.result, '$.card') IS ? "
        "ORDER BY e.seq DESC LIMIT ?",
        device,
        card,
        LOOKED_AT,
    )
    return [_Ratio(device, card, row["method"], row["predicted"], row["measured"]) for row in reversed(rows)]
