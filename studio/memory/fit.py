"""Making a plan fit: which changes would, what they bring, and the most that fits. No torch.

All of it is search over the estimate: what is proposed was estimated as it would run, and fits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from studio.defaults import RunFacts, resolve, worst_need
from studio.memory.changes import CHANGES, ChangeStep, Histogram, own_params
from studio.memory.need import Need
from studio.memory.verdict import (
    TIGHT,
    UNMEASURED,
    Experience,
    Verdict,
    least_bytes,
    verdict,
    within,
)
from studio.models.config import ModelFacts
from studio.plan import Plan, Settings, optimizers

MOST_PROPOSALS = 6
LARGEST_BATCH, LONGEST_SEQ = 4096, 2**20  # what the settings take
_COMMON = frozenset(Settings.__dataclass_fields__)
# What the studio chooses anew once something else has changed, if it had chosen it before.
_FOLLOW = frozenset({"precision", "adapter_dtype", "optimizer", "optimizer_impl"})


@dataclass(frozen=True)
class Case:
    """A resolved plan on a machine. `open`: the settings that the studio chose; `histogram`: lengths of the
    dataset's rows; `barred`: methods and optimizers that can't run here; `experiences`: by method, where
    something like it was measured on this device. The model's size and what is free are known."""

    plan: Plan
    facts: RunFacts
    open: frozenset[str] = frozenset()
    histogram: Histogram = ()
    barred: frozenset[str] = frozenset()
    experiences: Mapping[str, Experience] = field(default_factory=dict)

    @property
    def experience(self) -> Experience:
        """That of its method."""
        return self.experiences.get(self.plan.method, UNMEASURED)

    @property
    def model(self) -> ModelFacts:
        assert self.facts.model is not None
        return self.facts.model

    @property
    def free(self) -> int:
        assert self.facts.free_bytes is not None
        return self.facts.free_bytes

    def need(self) -> Need:
        """What the plan's largest step takes."""
        found = worst_need(self.plan, self.facts)
        assert found is not None
        return found

    def needed(self) -> int:
        return self.experience.needed(self.need())

    def fits(self, room: int) -> bool:
        return self.may_fit(room) and within(self.need(), room, self.experience)

    def may_fit(self, room: int) -> bool:
        """Whether what lives all the time does: known without an estimate."""
        return self.experience.least(least_bytes(self.plan, self.model)) <= room

    def by(self, method: str) -> Case:
        """The same plan with another method, as that is by default."""
        own, _ = own_params(method, self.model)
        return replace(self, plan=self._settled(replace(self.plan, method=method, method_params=own)))

    def after(self, *steps: ChangeStep) -> Case:
        """As it would be once these were done: what the studio had chosen it chooses anew."""
        plan = next((self.by(step.method).plan for step in steps if step.method), self.plan)
        for step in steps:
            plan = _with(plan, step.settings)
        return replace(self, plan=self._settled(plan))

    def on(self, model: ModelFacts) -> Case:
        """The same plan for another model, as far as that reads."""
        plan, own = self.plan, self.open - _COMMON
        usual, depends = own_params(plan.method, model)
        names = {name.rpartition(".")[2] for name in own} & depends
        plan = replace(
            plan,
            method_params=replace(plan.method_params, **{name: getattr(usual, name) for name in names}),
        )
        if model.context is not None and plan.settings.seq is not None:
            plan = plan.with_settings(seq=min(plan.settings.seq, model.context))
        there = replace(self, facts=replace(self.facts, model=model), experiences={})
        return replace(there, plan=there._settled(plan))

    def there(
        self,
        device: str,
        free: int | None,
        fast_bf16: bool,
        capacity: int | None = None,
        capability: tuple[int, int] | None = None,
    ) -> Case:
        """The same plan on another device, with this much free there."""
        facts = replace(
            self.facts,
            device=device,
            free_bytes=free,
            fast_bf16=fast_bf16,
            capacity=capacity,
            capability=capability,
        )
        there = replace(self, facts=facts, experiences={})
        return replace(there, plan=there._settled(self.plan.with_settings(device=device)))

    def _settled(self, plan: Plan) -> Plan:
        for name in self.open & _FOLLOW:
            if getattr(plan.settings, name) == getattr(self.plan.settings, name):
                plan = plan.with_settings(**{name: None})
        return _with_optimizer(resolve(plan, self.facts)[0])


@dataclass(frozen=True)
class Proposal:
    """Changes that together make the plan fit. `settings` by address and `method` (None: the same) are what
    to apply; `plan` is as it would be then, `needed` what it needs, `gain` how much less that is."""

    steps: tuple[ChangeStep, ...]
    plan: Plan
    needed: int
    gain: int
    verdict: Verdict

    @property
    def settings(self) -> dict[str, Any]:
        return {address: value for step in self.steps for address, value in step.settings.items()}

    @property
    def resolved(self) -> dict[str, Any]:
        """The settings, with the studio's choice where one is given back to it; all of those are common."""
        common = self.plan.settings
        return {k: getattr(common, k) if value is None else value for k, value in self.settings.items()}

    @property
    def method(self) -> str | None:
        return next((step.method for step in self.steps if step.method), None)


def proposals(case: Case) -> list[Proposal]:
    """Ways to make it fit, best first: single changes by what they cost, then combined ones.

    Where nothing makes it fit with room to spare, those that just fit; empty where nothing does. Nothing is
    combined where one change is enough that keeps the method.
    """
    if verdict(case.needed(), case.free) == "yes":
        return []
    comfortable = _search(case, int(TIGHT * case.free))
    if comfortable or case.needed() <= case.free:
        return comfortable
    return _search(case, case.free)


def _search(case: Case, room: int) -> list[Proposal]:
    ways = _ways(case)
    alone = [found for way in ways if (found := _mildest(case, room, (), way))]
    alone.sort(key=lambda steps: steps[0].cost)
    combined: list[tuple[ChangeStep, ...]] = []
    if all(steps[0].method for steps in alone):
        starts = sorted((way[:1] for way in ways if way[0].method), key=lambda start: start[0].cost)
        for start in ((), *map(tuple, starts)):
            if start in alone:  # a method that fits by itself needs no more, nor one dearer than it
                break
            if found := _together(case, room, start):
                combined.append(found)
    combined.sort(key=lambda steps: (sum(step.cost for step in steps), len(steps)))
    return [_proposal(case, steps) for steps in (*alone, *combined)][:MOST_PROPOSALS]


def _ways(case: Case) -> list[Sequence[ChangeStep]]:
    """The steps of every change that applies here."""
    found = (change.steps(case.plan, case.model, case.histogram) for change in CHANGES)
    return [steps for steps in found if steps and not any(_barred(case, step) for step in steps)]


def _barred(case: Case, step: ChangeStep) -> bool:
    return not case.barred.isdisjoint({step.method, step.settings.get("optimizer")})


def _mildest(
    case: Case, room: int, given: tuple[ChangeStep, ...], steps: Sequence[ChangeStep]
) -> tuple[ChangeStep, ...] | None:
    """`given` and the mildest of the steps with which it fits; None if not even the strongest does."""

    def fits(index: int) -> bool:
        return case.after(*given, steps[index]).fits(room)

    low, high = -1, len(steps) - 1  # `low` does not fit, `high` does
    if not fits(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return (*given, steps[high])


def _together(case: Case, room: int, start: tuple[ChangeStep, ...]) -> tuple[ChangeStep, ...] | None:
    """The cheapest changes one after the other until it fits, then none that is not needed, each as mild as
    can be. The method is that of `start`."""

    def with_all(ways: Iterable[Sequence[ChangeStep]]) -> Case:
        return case.after(*start, *(way[-1] for way in ways))

    possible = [way for way in _ways(with_all(())) if way[-1].method is None]
    if not with_all(possible).may_fit(room):
        return None
    taken: list[Sequence[ChangeStep]] = []
    there = with_all(taken)
    for way in sorted(possible, key=lambda way: way[-1].cost):
        if there.fits(room):
            break
        # By tensors: what an allocator takes is played back only of what may fit.
        if (further := with_all([*taken, way])).need().allocated < there.need().allocated:
            taken, there = [*taken, way], further
    if not there.fits(room):
        return None
    for way in list(reversed(taken))[1:]:
        rest = [other for other in taken if other is not way]
        if with_all(rest).fits(room):
            taken = rest
    done = start
    for place, way in enumerate(taken):
        later = tuple(other[-1] for other in taken[place + 1 :])
        found = _mildest(case, room, (*done, *later), way)
        assert found is not None
        done = (*done, found[-1])
    return done


def _proposal(case: Case, steps: tuple[ChangeStep, ...]) -> Proposal:
    there = case.after(*steps)
    needed = there.needed()
    fits = verdict(needed, case.free)
    assert fits is not None
    return Proposal(steps, there.plan, needed, case.needed() - needed, fits)


# The most that fits


@dataclass(frozen=True)
class Limits:
    """The most that fits with everything else as it is: rows per batch, tokens per row (0: not even the
    smallest), and the model with the most parameters that fits one row at a time (None: none).
    `whole_context`: rows may be as long as the model reads."""

    batch: int
    seq: int
    model: str | None
    whole_context: bool = False


def limits(case: Case, models: Iterable[tuple[str, ModelFacts]] = ()) -> Limits:
    """How far batch, row length and model can grow. `models` by name."""
    seq = longest_seq(case)
    return Limits(largest_batch(case), seq, largest_model(case, models), seq == case.model.context)


def largest_batch(case: Case) -> int:
    """The most rows per forward pass that fit."""
    case = replace(case, facts=replace(case.facts, rows=LARGEST_BATCH))  # the data may grow
    near = case.plan.settings.batch or 1
    return _most(lambda batch: _needed_at(case, batch=batch), case.free, 1, LARGEST_BATCH, near)


def longest_seq(case: Case) -> int:
    """The longest row in tokens that fits, at most what the model reads, or the setting takes."""
    free = replace(case, facts=replace(case.facts, most_tokens=None))
    near, longest = case.plan.settings.seq or 8, case.model.context or LONGEST_SEQ
    return _most(lambda seq: _needed_at(free, seq=seq), case.free, 8, longest, near)


def largest_model(case: Case, models: Iterable[tuple[str, ModelFacts]]) -> str | None:
    """The one with the most parameters with which the plan fits, one row at a time if need be."""
    case = replace(case, plan=case.plan.with_settings(batch=1))
    known = [(facts.parameters, name, facts) for name, facts in models if facts.parameters]
    for _parameters, name, facts in sorted(known, key=lambda entry: -entry[0]):
        if case.on(facts).fits(case.free):
            return name
    return None


def _needed_at(case: Case, **settings: int) -> int:
    return replace(case, plan=case.plan.with_settings(**settings)).needed()


def _most(needed: Callable[[int], int], room: int, low: int, high: int, near: int) -> int:
    """The largest number from `low` to `high` that fits while the next does not; 0 if `low` does not.

    What is needed grows with the number and nearly evenly, so each look is where a straight line through the
    last ones would cross; after some it halves. `near` is a number whose need is known already.
    """
    known = {low: needed(low)}
    if known[low] > room:
        return 0
    guess = max(low + 1, min(near, high))
    while guess <= high:
        known[guess] = needed(guess)
        fits = max(number for number, size in known.items() if size <= room)
        over = min((number for number in known if number > fits), default=high + 1)
        if over - fits == 1:
            return fits
        straight = _crossing(known, fits, over, room) if len(known) < 10 else (fits + over) // 2
        guess = max(fits + 1, min(straight, over - 1))
    return low


def _crossing(known: Mapping[int, int], fits: int, over: int, room: int) -> int:
    """Where a straight line meets `room`: between two known numbers, or beyond the largest known."""
    if over in known:
        return fits + (room - known[fits]) * (over - fits) // (known[over] - known[fits])
    before = max(number for number in known if number < fits)
    rise = known[fits] - known[before]
    # One more than fits by this line: a look beyond the edge shows where it is.
    return fits + (room - known[fits]) * (fits - before) // rise + 1 if rise > 0 else 4 * fits


# Settings by address


def _with(plan: Plan, settings: Mapping[str, Any]) -> Plan:
    common = {key: value for key, value in settings.items() if key in _COMMON}
    own = {key.rpartition(".")[2]: value for key, value in settings.items() if key not in _COMMON}
    plan = plan.with_settings(**common)
    return replace(plan, method_params=replace(plan.method_params, **own)) if own else plan


def _with_optimizer(plan: Plan) -> Plan:
    """With params of the optimizer's own class, where it is another now."""
    declared = optimizers.get(plan.settings.optimizer or "adamw").params
    if type(plan.optimizer_params) is declared:
        return plan
    return replace(plan, optimizer_params=declared())
