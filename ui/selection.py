"""What the Runs tab has open: one run, the runs laid over each other, how smooth the curve is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlencode


@dataclass(frozen=True)
class Selection:
    """`run` is the one whose page is open; `compared` (two or more) lays curves over each other instead."""

    run: str | None = None
    compared: tuple[str, ...] = ()
    smoothing: float = 0.6

    @property
    def comparing(self) -> bool:
        return len(self.compared) > 1

    @property
    def drawn(self) -> tuple[str, ...]:
        """The runs whose curves are on the chart."""
        if self.comparing:
            return self.compared
        return (self.run,) if self.run else ()


def settle(selection: Selection, known: Sequence[str]) -> Selection:
    """Without runs that are gone; the newest is open where none was chosen."""
    compared = tuple(r for r in selection.compared if r in known)
    run = selection.run if selection.run in known else (known[0] if known else None)
    return replace(selection, run=run, compared=compared)


def toggle(selection: Selection, run: str) -> Selection:
    """Put a run over the others, or take it away."""
    if run in selection.compared:
        return replace(selection, compared=tuple(r for r in selection.compared if r != run))
    return replace(selection, compared=(*selection.compared, run))


def differing(plans: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    """(setting, its value in each plan) for every setting that isn't the same in all of them."""
    flat = {run: _flat(plan) for run, plan in plans.items()}
    keys = list(dict.fromkeys(key for plan in flat.values() for key in plan))
    rows = [(key, [plan.get(key) for plan in flat.values()]) for key in keys]
    return [(key, values) for key, values in rows if any(v != values[0] for v in values)]


def _flat(plan: Mapping[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in plan.items():
        if isinstance(value, Mapping):
            out |= {
                k if key == "settings" else f"{key.removesuffix('_params')}.{k}": v for k, v in value.items()
            }
        else:
            out[key] = value
    return out


def to_query(selection: Selection) -> str:
    """The page's address."""
    pairs = {"tab": "runs"}
    if selection.run:
        pairs["run"] = selection.run
    if selection.compared:
        pairs["over"] = ",".join(selection.compared)
    return urlencode(pairs)


def from_query(query: str) -> Selection:
    """Inverse of `to_query`."""
    found = {k: v[0] for k, v in parse_qs(query.lstrip("?")).items()}
    return Selection(found.get("run"), tuple(r for r in found.get("over", "").split(",") if r))
