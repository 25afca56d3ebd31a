"""Ways to need less memory, one small entry each: what changes, and what it costs.

An entry gives steps from the mildest to the strongest, each a change of settings that one click can make.
The words of `what` and `price` are in i18n under `reason.<code>`. A new way is one more entry in `CHANGES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from math import ceil
from typing import Any

from studio import params
from studio.errors import Reason
from studio.models.config import ModelFacts
from studio.plan import Plan, methods

SHORTEST_SEQ = 64
LOWEST_RANK = 4
MOST_ACCUMULATION = 4096  # what the setting takes
Histogram = Sequence[tuple[int, int]]  # (up to so many tokens, so many rows), ascending


@dataclass(frozen=True)
class ChangeStep:
    """Settings by address (None gives one back to the studio), and the method if it is another.

    `cost` ranks what is given up: 0 nothing but a little time, 9 most.
    """

    settings: Mapping[str, Any]
    what: Reason
    price: Reason
    cost: int
    method: str | None = None


@dataclass(frozen=True)
class Change:
    """One way. `steps(plan, facts, histogram)`: from the mildest to the strongest; none where it does not
    apply."""

    id: str
    steps: Callable[[Plan, ModelFacts, Histogram], Sequence[ChangeStep]]


def truncated_share(histogram: Histogram, seq: int) -> float | None:
    """Share of the rows that are longer than `seq` tokens, at most; None where lengths are not known."""
    total = sum(rows for _, rows in histogram)
    return sum(rows for upto, rows in histogram if upto > seq) / total if total else None


def _smaller_batch(plan: Plan, _: ModelFacts, __: Histogram) -> list[ChangeStep]:
    """Fewer rows at a time with the accumulation that keeps the rows of an optimizer step the same."""
    settings = plan.settings
    assert settings.batch is not None
    rows = settings.batch * settings.accumulation
    found = []
    for batch in range(settings.batch - 1, 0, -1):
        if rows % batch == 0 and rows // batch <= MOST_ACCUMULATION:
            changed = {"batch": batch, "accumulation": rows // batch}
            facts = {**changed, "rows": rows}
            found.append(ChangeStep(changed, Reason("fit_batch", facts), Reason("price_batch", facts), 1))
    return found


def _checkpointing(plan: Plan, facts: ModelFacts, _: Histogram) -> list[ChangeStep]:
    """Where the backward pass goes through the model."""
    terms = methods.get(plan.method).memory(facts, plan.method_params, plan.settings)
    if plan.settings.gradient_checkpointing or terms.side is not None:
        return []
    changed = {"gradient_checkpointing": True}
    return [ChangeStep(changed, Reason("fit_checkpointing"), Reason("price_checkpointing"), 2)]


def _optimizer(plan: Plan, _: ModelFacts, __: Histogram) -> list[ChangeStep]:
    """AdamW's two averages in 8 bit."""
    if plan.settings.optimizer != "adamw":
        return []
    changed = {"optimizer": "adamw_8bit", "optimizer_impl": None}
    return [ChangeStep(changed, Reason("fit_optimizer"), Reason("price_optimizer"), 2)]


def _rank(plan: Plan, _: ModelFacts, __: Histogram) -> list[ChangeStep]:
    found = []
    rank = getattr(plan.method_params, "rank", None) or 0
    while rank // 2 >= LOWEST_RANK:
        rank //= 2
        facts = {"rank": rank}
        found.append(ChangeStep({"rank": rank}, Reason("fit_rank", facts), Reason("price_rank", facts), 4))
    return found


def _seq(plan: Plan, _: ModelFacts, histogram: Histogram) -> list[ChangeStep]:
    """Shorter rows, as long as at least half of them stay whole."""
    whole = plan.settings.seq
    assert whole is not None
    seqs = [upto for upto, _ in reversed(histogram) if upto < whole] if histogram else _shorter(whole)
    found = []
    for seq in seqs:
        share = truncated_share(histogram, seq)
        if seq >= SHORTEST_SEQ and (share is None or share <= 0.5):
            found.append(_seq_step(seq, share))
    return found


def _seq_step(seq: int, share: float | None) -> ChangeStep:
    what = Reason("fit_seq", {"seq": seq})
    if share is None:
        return ChangeStep({"seq": seq}, what, Reason("price_seq_unknown", {"seq": seq}), 5)
    facts = {"seq": seq, "percent": ceil(100 * share)}
    if share == 0:
        return ChangeStep({"seq": seq}, what, Reason("price_seq_none", facts), 0)
    return ChangeStep({"seq": seq}, what, Reason("price_seq", facts), 5 + min(3, int(10 * share)))


def _shorter(seq: int) -> list[int]:
    """Each a fifth shorter than the last, down to an eighth, on round numbers."""
    found = []
    last = max(SHORTEST_SEQ, seq // 8)
    while (seq := int(seq * 0.8) // (64 if seq > 512 else 8) * (64 if seq > 512 else 8)) >= last:
        found.append(seq)
    return found


def _to_lora(plan: Plan, facts: ModelFacts, _: Histogram) -> list[ChangeStep]:
    if not methods.get(plan.method).capable("trains_base", plan.method_params):
        return []
    return [_method("lora", plan, facts, Reason("fit_lora"), Reason("price_lora"), 3)]


def _to_qlora(plan: Plan, facts: ModelFacts, _: Histogram) -> list[ChangeStep]:
    terms = methods.get(plan.method).memory(facts, plan.method_params, plan.settings)
    if _in_4_bit(plan) or terms.side is not None:
        return []
    return [_method("qlora", plan, facts, Reason("fit_qlora"), Reason("price_qlora"), 3)]


def _to_qst(plan: Plan, facts: ModelFacts, _: Histogram) -> list[ChangeStep]:
    terms = methods.get(plan.method).memory(facts, plan.method_params, plan.settings)
    if _in_4_bit(plan) and terms.side is not None:
        return []
    return [_method("qst", plan, facts, Reason("fit_qst"), Reason("price_qst"), 6)]


def _in_4_bit(plan: Plan) -> bool:
    return methods.get(plan.method).base_quantisation(plan.method_params) is not None


def _method(id: str, plan: Plan, facts: ModelFacts, what: Reason, price: Reason, cost: int) -> ChangeStep:
    """Another method, with those of the present one's params that it knows too."""
    usual, _ = own_params(id, facts)
    common = params.to_dict(usual)
    kept = {}
    for field in fields(plan.method_params):
        value = getattr(plan.method_params, field.name)
        if field.name not in common or value == getattr(usual, field.name):
            continue
        if not params.parse(type(usual), {field.name: value})[1]:
            kept[field.name] = value
    return ChangeStep(kept, what, price, cost, id)


def own_params(method: str, facts: ModelFacts) -> tuple[Any, frozenset[str]]:
    """A method's params as they are by default on this model, and which of them depend on it."""
    declared = methods.get(method)
    own = declared.params()
    if declared.choose is None:
        return own, frozenset()
    chosen, reasons = declared.choose(own, facts)
    return chosen, frozenset(reasons)


CHANGES = (
    Change("batch", _smaller_batch),
    Change("checkpointing", _checkpointing),
    Change("optimizer", _optimizer),
    Change("rank", _rank),
    Change("seq", _seq),
    Change("lora", _to_lora),
    Change("qlora", _to_qlora),
    Change("qst", _to_qst),
)
