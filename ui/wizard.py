"""The guided wizard as a value and its moves: no Gradio, no HTML, no facade.

A `Wizard` holds what the person chose so far. Going back changes only `step`, so nothing is lost; the page's
address carries all of it (`to_query`, `from_query`), so a refresh or a second browser comes back to its
place.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

STEPS = ("goal", "model", "data", "how", "watch", "compare")
GOALS = ("style", "facts", "format")
SOURCES = ("samples", "file", "rows")
METHOD = "lora"
MIN_ROWS = 4  # empty lines that the table starts with beside the typed ones


@dataclass(frozen=True)
class Wizard:
    """What was chosen so far. `step` indexes `STEPS`; `settings` holds only what differs from automatic."""

    step: int = 0
    goal: str | None = None
    model: str | None = None
    dataset: str | None = None
    source: str = "samples"
    method: str = METHOD
    settings: Mapping[str, Any] = field(default_factory=dict)
    run: str | None = None
    typed: tuple[Mapping[str, str], ...] = ()  # rows in the table; the saved ones are in `dataset`

    @property
    def name(self) -> str:
        return STEPS[self.step]

    def reachable(self, step: int) -> bool:
        """Whether everything that this step stands on has been chosen."""
        needs = (
            True,
            self.goal is not None,
            self.model is not None,
            self.dataset is not None,
            self.run is not None,
            self.run is not None,
        )
        return all(needs[: step + 1])

    def to(self, step: int) -> Wizard:
        """Go to a step, as far as what was chosen carries."""
        step = max(0, min(step, len(STEPS) - 1))
        while not self.reachable(step):
            step -= 1
        return replace(self, step=step)


def choose_goal(wizard: Wizard, goal: str) -> Wizard:
    """The goal sorts the samples and sets the words; after a run it begins a new plan."""
    fresh = Wizard() if wizard.run else wizard
    return replace(fresh, goal=goal, step=1)


def choose_model(wizard: Wizard, model: str) -> Wizard:
    """Another model keeps the rest: data and settings still hold."""
    return replace(wizard, model=model, run=None)


def choose_data(wizard: Wizard, dataset: str, source: str) -> Wizard:
    """Other rows, same model and settings."""
    return replace(wizard, dataset=dataset, source=source, run=None)


def choose_method(wizard: Wizard, method: str, common: Iterable[Mapping[str, Any]]) -> Wizard:
    """Another method keeps the settings that every method has (`common`); its own begin anew."""
    names = {setting["name"] for setting in common}
    settings = {k: v for k, v in wizard.settings.items() if k in names}
    return replace(wizard, method=method, settings=settings, run=None)


def set_value(wizard: Wizard, key: str, value: Any) -> Wizard:
    """One setting by its address; empty text gives it back to the studio."""
    settings = {k: v for k, v in wizard.settings.items() if k != key}
    if value not in ("", None):
        settings[key] = value
    return replace(wizard, settings=settings)


def apply_change(
    wizard: Wizard, method: str | None, changes: Mapping[str, Any], common: Iterable[Mapping[str, Any]]
) -> Wizard:
    """Several settings at once, with another method if one is named; None gives a setting back."""
    if method:
        wizard = choose_method(wizard, method, common)
    for key, value in changes.items():
        wizard = set_value(wizard, key, value)
    return wizard


def to_query(wizard: Wizard, tab: str = "home") -> str:
    """The page's address for this state, without the question mark."""
    pairs: dict[str, str] = {"tab": tab}
    if tab == "home" and wizard != Wizard():
        pairs["step"] = wizard.name
    for key in ("goal", "model", "dataset", "run"):
        if getattr(wizard, key):
            pairs[key] = getattr(wizard, key)
    if wizard.method != METHOD:
        pairs["method"] = wizard.method
    if wizard.source != SOURCES[0]:
        pairs["source"] = wizard.source
    if wizard.settings:
        pairs["set"] = json.dumps(dict(wizard.settings), separators=(",", ":"))
    return urlencode(pairs)


def from_query(query: str) -> Wizard:
    """Inverse of `to_query`; an address made by hand never raises, what makes no sense in it is left out."""
    found = {k: v[0] for k, v in parse_qs(query.lstrip("?")).items()}
    try:
        settings = json.loads(found.get("set", "{}"))
    except ValueError:
        settings = {}
    wizard = Wizard(
        goal=found["goal"] if found.get("goal") in GOALS else None,
        model=found.get("model"),
        dataset=found.get("dataset"),
        source=found["source"] if found.get("source") in SOURCES else SOURCES[0],
        method=found.get("method", METHOD),
        settings=settings if isinstance(settings, dict) else {},
        run=found.get("run"),
    )
    if wizard.run and found.get("tab", "home") == "home" and wizard.goal is None:
        wizard = replace(wizard, goal="style")
    step = found.get("step")
    return wizard.to(STEPS.index(step)) if step in STEPS else wizard
