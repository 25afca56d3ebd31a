"""What memory a run needs: the one result of estimate, trace and probe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from studio.errors import Reason
from studio.memory.by_module import ModuleBytes

Source = Literal["estimate", "trace", "probe"]
PARTS = (
    "weights",
    "adapter",
    "gradients",
    "optimizer",
    "paged",
    "activations",
    "logits",
    "cache",
    "workspace",
    "context",
)
# Not in torch's counters.
BESIDE = ("paged", "context")


@dataclass(frozen=True)
class Need:
    """Bytes by part at the worst moment of a step.

    `moment` is the phase of the step that it falls in. `interval` is for `reserved`; working it out may take
    longer than all the rest. `reasons` explain choices that were made on the way, by name. `disk` are bytes
    that are written, None where nothing is. A trace also knows `modules`, and the one that computed at the
    worst moment (`at`).
    """

    source: Source
    parts: dict[str, int]
    moment: str
    interval: tuple[int, int] | Callable[[], tuple[int, int]]
    reasons: dict[str, Reason] = field(default_factory=dict)
    disk: int | None = None
    modules: tuple[ModuleBytes, ...] = ()
    at: str | None = None

    @cached_property
    def reserved(self) -> tuple[int, int]:
        """What the run takes from the device, context included, from least to most."""
        return self.interval() if callable(self.interval) else self.interval

    def as_dict(self) -> dict[str, Any]:
        """JSON form: `source`, `parts`, `moment`, `reserved`, and of a trace `modules` and `at`."""
        body: dict[str, Any] = {
            "source": self.source,
            "parts": dict(self.parts),
            "moment": self.moment,
            "reserved": list(self.reserved),
        }
        if self.modules:
            body["modules"] = [{"module": row.module, "parts": dict(row.parts)} for row in self.modules]
            body["at"] = self.at
        return body

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Need:
        """Inverse of `as_dict`."""
        low, high = body["reserved"]
        modules = tuple(ModuleBytes(**row) for row in body.get("modules", ()))
        return cls(
            body["source"], body["parts"], body["moment"], (low, high), modules=modules, at=body.get("at")
        )

    @property
    def allocated(self) -> int:
        """Bytes of tensors at the worst moment."""
        return sum(size for name, size in self.parts.items() if name not in BESIDE)
