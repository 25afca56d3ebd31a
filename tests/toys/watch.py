"""A sink that remembers, and controls for training runs in tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Recorder:
    """Everything that a run reported."""

    def __init__(self) -> None:
        self.metrics: dict[str, dict[int, float]] = {}
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.phases: list[str] = []

    def metric(self, step: int, name: str, value: float) -> None:
        self.metrics.setdefault(name, {})[step] = value

    def event(self, kind: str, body: dict[str, Any]) -> None:
        self.events.append((kind, body))

    def phase(self, name: str, progress: float | None) -> None:
        del progress
        self.phases.append(name)

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    def curve(self, name: str = "loss") -> list[float]:
        return [value for _, value in sorted(self.metrics[name].items())]


class Killed(Exception):
    """Raised at a step boundary: the run ends as if its process had been killed there."""


class Boundary:
    """Calls `at(n)` at the n-th step boundary (from 1) and takes its answer as the wish."""

    def __init__(self, at: Callable[[int], Any] = lambda _: None) -> None:
        self.at, self.count, self.waited = at, 0, 0

    def wish(self) -> Any:
        self.count += 1
        return self.at(self.count)

    def stopping(self) -> bool:
        return False

    def wait_while_paused(self, meanwhile: Callable[[], bool]) -> None:
        self.waited += 1
        while meanwhile():
            pass
