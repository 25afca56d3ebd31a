"""Looking at a plan before it starts: every value filled in, why, what is wrong, what it will take."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backend import calibration, epochs, memory
from backend.api import Draft, EpochCost, HardwareReport, MemoryLimits
from backend.calibration import Known
from backend.datasets import Datasets
from backend.hardware import choose_device
from backend.model_list import ModelList
from backend.store.database import Store
from studio.data.check import TokenStats
from studio.data.split import Split, split_heldout
from studio.defaults import RunFacts, largest_step, resolve
from studio.errors import PlanError, Problem, Reason, StudioError
from studio.memory.fit import Case
from studio.models.config import ModelFacts
from studio.names import ModelName, parse
from studio.params import automatic
from studio.plan import Plan, methods, objectives, optimizers, parse_request
from studio.registry import Registry

_DEFAULT_METHOD = "lora"
_DEFAULT_OBJECTIVE = "sft"
_DEVICE = re.compile(r"cuda:\d+|mps")
_ROWS_UNKNOWN = 10_000  # without a dataset: enough that their number decides nothing


@dataclass(frozen=True)
class Request:
    """What a person asked for. Without a `dataset` none is needed; `sizes_only`: no more than the model's
    sizes are."""

    model: str
    dataset: str | None
    method: str = _DEFAULT_METHOD
    set: Mapping[str, Any] = field(default_factory=dict)
    objective: str = _DEFAULT_OBJECTIVE
    sizes_only: bool = False


@dataclass(frozen=True)
class Considered:
    """A request that was looked at: `errors` of model, data and device by key, `plan_errors` of settings.
    `known` is what its choices depend on; `cases`, what its memory follows from: the plan, then the same with
    each other method, none where its size is not known; `measured`, what was measured here of them."""

    plan: Plan
    reasons: dict[str, Reason]
    errors: dict[str, StudioError]
    plan_errors: list[dict[str, Any]]
    model_folder: Path | None
    facts: ModelFacts | None
    split: Split | None
    known: RunFacts
    cases: tuple[Case, ...]
    measured: Known
    hardware: HardwareReport
    tokens: TokenStats | None

    @property
    def case(self) -> Case | None:
        return self.cases[0] if self.cases else None

    @property
    def problems(self) -> tuple[dict[str, Any], ...]:
        """All that has to be mended first, as `{code, key, facts}`."""
        refused = [{**error.as_dict(), "key": key} for key, error in self.errors.items()]
        return (*refused, *self.plan_errors)

    def raise_if_refused(self) -> None:
        """The first error; of the settings all, together as `PlanError`."""
        for error in self.errors.values():
            raise error
        if self.plan_errors:
            raise PlanError(self.plan_errors)


def consider(
    request: Request, datasets: Datasets, models: ModelList, hardware: HardwareReport, store: Store
) -> Considered:
    """Look at everything that a run needs, and go on past what is wrong, so that all of it is reported."""
    errors: dict[str, StudioError] = {}
    plan, plan_errors = _parse(request)
    name, folder, facts = _model(request, models, errors)
    dataset, split, tokens = _data(request, folder, plan, datasets, errors)
    wanted = plan.settings.device
    try:
        device, reason = choose_device(hardware, wanted)
    except StudioError as error:
        if request.sizes_only and wanted and _DEVICE.fullmatch(wanted):
            # What it would take there can be said without being there.
            device, reason = wanted, Reason("device_asked", {"device": wanted})
        else:
            errors["device"] = error
            device, reason = choose_device(hardware, None)
            plan = plan.with_settings(device=None)
    plan = replace(plan, model=name, dataset=dataset)
    known = RunFacts(
        rows=len(split.train) if split else _ROWS_UNKNOWN if request.dataset is None else 0,
        heldout_rows=len(split.heldout) if split else 0,
        longest=tokens.max if tokens else None,
        p95=tokens.p95 if tokens else None,
        model=facts,
        device=device,
        device_reason=reason,
        cores=hardware.cpu_cores,
        free_bytes=memory.free_bytes(hardware, device),
        fast_bf16=memory.fast_bf16(device),
        capacity=memory.capacity(hardware, device),
        capability=memory.capability(hardware, device),
        learned=memory.learned_share(tokens),
        most_tokens=tokens.max if tokens and split and tokens.measured >= len(split.train) else None,
    )
    plan, reasons = resolve(_held_against(plan, facts, plan_errors), known)
    plan_errors += _beyond_context(plan, facts)
    if (missing := memory.unable(device).get(plan.method)) is not None:
        errors["method"] = missing
    cases, measured = _cases(plan, known, reasons, tokens, store, memory.card(hardware, device))
    return Considered(
        plan=plan,
        reasons=reasons,
        errors=errors,
        plan_errors=plan_errors,
        model_folder=folder,
        facts=facts,
        split=split,
        known=known,
        cases=cases,
        measured=measured,
        hardware=hardware,
        tokens=tokens,
    )


def _cases(
    plan: Plan,
    known: RunFacts,
    reasons: Mapping[str, Reason],
    tokens: TokenStats | None,
    store: Store,
    card: str | None,
) -> tuple[tuple[Case, ...], Known]:
    if known.model is None or known.model.parameters is None:
        return (), Known()
    case = Case(plan, known, frozenset(reasons), memory.histogram(tokens), memory.barred(known.device))
    cases = memory.by_method(case)
    measured = calibration.known(store, cases, card)
    experiences = measured.experiences(cases)
    return tuple(replace(each, experiences=experiences) for each in cases), measured


def _held_against(plan: Plan, facts: ModelFacts | None, problems: list[dict[str, Any]]) -> Plan:
    """The plan without what its method cannot do on the model, which goes to `problems`."""
    params, found = methods.get(plan.method).checked(plan.method_params, facts)
    problems += [problem.as_dict() for problem in found]
    return replace(plan, method_params=params)


def _beyond_context(plan: Plan, facts: ModelFacts | None) -> list[dict[str, Any]]:
    """Rows longer than the model reads: it has no positions for them, or none that it learned."""
    context, seq = facts and facts.context, plan.settings.seq
    if not context or seq is None or seq <= context:
        return []
    return [Problem("seq_beyond_context", "seq", {"seq": seq, "context": context}).as_dict()]


def draft_of(request: Request, considered: Considered, store: Store) -> Draft:
    """The form that the screen shows."""
    split, settings, case = considered.split, considered.plan.settings, considered.case
    needs = {each.plan.method: memory.need(each, considered.measured) for each in considered.cases}
    costs = _costs(considered, [each.plan for each in considered.cases] or [considered.plan], store)
    return Draft(
        plan=considered.plan.as_dict(),
        reasons=considered.reasons,
        problems=considered.problems,
        steps=settings.steps if split else None,
        rows=len(split.train) if split else None,
        heldout_rows=len(split.heldout) if split else None,
        memory=needs.get(considered.plan.method),
        method_needs=needs,
        rooms=memory.rooms(case, considered.hardware) if case else (),
        proposals=memory.proposals(case) if case else (),
        tokens_per_step=_tokens_per_step(considered),
        epochs=costs,
        seconds=_seconds(considered.plan, costs),
        command=command(request),
        offers=_offers(considered),
        unable=memory.unable(considered.known.device),
    )


def _offers(considered: Considered) -> dict[str, tuple[str, ...]]:
    """What the method's settings may name of the model, by their addresses."""
    offers, facts = methods.get(considered.plan.method).offers, considered.facts
    return offers(facts) if offers is not None and facts is not None else {}


def elsewhere(draft: Draft, considered: Considered, other: Mapping[str, Any]) -> Draft:
    """The same as another program would run it, or several devices together. What was measured here says
    nothing of that, and the studio's other methods and changes of its settings are not that program's."""
    case = require_sizes(considered)
    need = memory.elsewhere(case, other)
    return replace(
        draft,
        memory=need,
        method_needs={need.method: need},
        rooms=memory.rooms_elsewhere(case, considered.hardware, other),
        proposals=None,
        epochs={},
        seconds=None,
    )


def limits_of(considered: Considered) -> list[MemoryLimits]:
    """The most that fits, per method; empty where something is wrong or not known."""
    return [] if considered.problems else memory.limits(considered.cases)


def require_sizes(considered: Considered) -> Case:
    """What its memory follows from; `StudioError("model_not_counted")` where that is not known."""
    if considered.case is None:
        facts = considered.facts
        raise StudioError("model_not_counted", name=considered.plan.model, type=facts and facts.model_type)
    return considered.case


def _tokens_per_step(considered: Considered) -> int:
    """Of the largest step: as many of the longest row as an optimizer step takes."""
    settings = largest_step(considered.plan, considered.known.rows, considered.known.most_tokens).settings
    assert settings.seq is not None
    assert settings.batch is not None
    rows = settings.batch * settings.accumulation
    return settings.seq * min(rows, considered.known.rows or rows)


def command(request: Request) -> str:
    """The request as a command line, with what the person changed and nothing else."""
    words = ["python", "launch.py", "train", request.model, request.dataset or "", "--method", request.method]
    words += [] if request.objective == _DEFAULT_OBJECTIVE else ["--objective", request.objective]
    for address, value in request.set.items():
        if value is None:
            continue
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        text = text.lower() if isinstance(value, bool) else text
        words += [f"--{address}", text] if address in _OWN_OPTIONS else ["--set", f"{address}={text}"]
    return shlex.join(words)


# Settings that the command line has an option of its own for (DESIGN 8).
_OWN_OPTIONS = frozenset({"steps", "epochs", "batch", "seq", "lr", "seed", "device"})


def _parse(request: Request) -> tuple[Plan, list[dict[str, Any]]]:
    """The plan without the settings that are wrong, and what is wrong with those."""
    settings: dict[str, Any] = dict(request.set)
    problems: list[dict[str, Any]] = []
    method, objective = request.method, request.objective
    if method not in methods.all():
        problems.append(_unknown(methods, "method", method))
        method = _DEFAULT_METHOD
    if objective not in objectives.all():
        problems.append(_unknown(objectives, "objective", objective))
        objective = _DEFAULT_OBJECTIVE
    for address in ("optimizer", "plan.optimizer"):
        optimizer = settings.get(address)
        if not automatic(optimizer) and optimizer not in optimizers.all():
            problems.append(_unknown(optimizers, "optimizer", settings.pop(address)))
    while True:
        try:
            return parse_request(request.model, request.dataset or "", method, objective, settings), problems
        except PlanError as error:
            given = len(settings)
            for problem in error:
                _leave_out(settings, problem["key"])
            if len(settings) == given:
                raise
            problems += error


def _unknown(registry: Registry[Any], key: str, id: object) -> dict[str, Any]:
    facts = {"kind": registry.kind, "id": str(id), "known": list(registry.all())}
    return {"code": "unknown_extension", "key": key, "facts": facts}


def _leave_out(settings: dict[str, Any], key: str) -> None:
    """Drop a setting that has a problem; `method.rank` may have been given as `rank`, `lr` as `plan.lr`."""
    addresses = (key, key.rpartition(".")[2], f"plan.{key}")
    if (address := next((a for a in addresses if a in settings), None)) is not None:
        del settings[address]


def _model(
    request: Request, models: ModelList, errors: dict[str, StudioError]
) -> tuple[str, Path | None, ModelFacts | None]:
    """Canonical name, folder (None: not on disk yet, to be fetched by the worker) and sizes."""
    name = request.model
    try:
        parsed = parse(name)
        if request.sizes_only:
            facts = models.sizes(parsed)
            return str(parsed), _folder(parsed, models), facts
        folder = models.locate(parsed)
        return str(parsed), folder, models.of_folder(folder)
    except StudioError as error:
        if error.code == "model_not_on_disk":
            return str(parsed), None, models.facts(parsed)
        errors["model"] = error
        return name, None, None


def _folder(name: ModelName, models: ModelList) -> Path | None:
    """Where a model's tokenizer is, if all of it is on disk."""
    try:
        return models.locate(name)
    except StudioError:  # its sizes are known without it
        return None


def _data(
    request: Request, model: Path | None, plan: Plan, datasets: Datasets, errors: dict[str, StudioError]
) -> tuple[str, Split | None, TokenStats | None]:
    """Canonical name, the rows split, and their lengths where the model's tokenizer is on disk."""
    name, streams = request.dataset, objectives.get(plan.objective).streams
    if name is None:
        return "", None, None
    try:
        canonical = datasets.canonical(name)
        if model is not None:
            prepared = datasets.prepared(canonical, model, plan.settings.seq, streams[0])
            return canonical, prepared.split, prepared.report.tokens
        dataset = datasets.read_named(canonical)
        dataset.require(streams[0])
        return canonical, split_heldout(dataset.rows, dataset.heldout), None
    except StudioError as error:
        errors["dataset"] = error
        return name, None, None


def _costs(considered: Considered, plans: Sequence[Plan], store: Store) -> dict[str, EpochCost]:
    if considered.tokens is None or considered.split is None:
        return {}
    rows, most = len(considered.split.train), considered.known.most_tokens
    card = memory.card(considered.hardware, considered.known.device)
    return epochs.costs(store, plans, card, rows, considered.tokens, most)


def _seconds(plan: Plan, costs: Mapping[str, EpochCost]) -> float | None:
    """Of the whole run, by what an epoch takes."""
    found = costs.get(plan.method)
    assert plan.settings.epochs is not None
    return None if found is None else found.seconds * plan.settings.epochs
