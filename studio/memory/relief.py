"""What would fit where a run did not: single changes of its plan, each with its need by the estimate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from studio.memory.cards import Capability
from studio.memory.estimate import estimate
from studio.models.config import ModelFacts
from studio.plan import Plan, methods

_SHORTEST = 64


@dataclass(frozen=True)
class Relief:
    """A change by its code (words under `advice.<code>`), the value it sets, and the bytes it would need."""

    code: str
    value: str
    needed_bytes: int


def reliefs(
    plan: Plan,
    facts: ModelFacts,
    limit_bytes: int,
    learned: float,
    factor: float,
    capability: Capability | None = None,
) -> list[Relief]:
    """Changes that need no more than `limit_bytes`, the mildest first; empty if none alone is enough.

    `plan` has the rows at a time that failed as its batch, and the length that was met; `factor` is what the
    run took beyond its estimate, `capability` that of its GPU.
    """
    found: dict[str, Relief] = {}
    for code, value, changed in _changes(plan, facts):
        if code not in found:
            needed = round(factor * estimate(changed, facts, learned, capability=capability).allocated)
            if needed <= limit_bytes:
                found[code] = Relief(code, value, needed)
    return list(found.values())


def _changes(plan: Plan, facts: ModelFacts) -> Iterator[tuple[str, str, Plan]]:
    settings = plan.settings
    assert settings.batch is not None
    assert settings.seq is not None
    if settings.batch > 1:
        yield "one_row", "1", plan.with_settings(batch=1)
    if not settings.gradient_checkpointing:
        yield "checkpointing", "true", plan.with_settings(gradient_checkpointing=True)
    seq = settings.seq // 2
    while seq >= _SHORTEST:
        yield "shorter", str(seq), plan.with_settings(seq=seq)
        seq //= 2
    if methods.get(plan.method).base_quantisation(plan.method_params) is None:
        for id, method in methods.all().items():
            params = method.params()
            if method.base_quantisation(params) is not None:
                if method.choose is not None:
                    params, _ = method.choose(params, facts)
                yield "method", method.title, replace(plan, method=id, method_params=params)
