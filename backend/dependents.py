"""Who depends on what: from the plans of the jobs, which name what they read. So it is known before a worker
began, and nothing is remembered that could be wrong by now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from backend.api.library import Dependent, Holding
from backend.chat import runs
from backend.home import Home
from backend.jobs import states
from backend.jobs.record import Job
from studio.errors import StudioError
from studio.names import ModelName, mix_of, parse


@dataclass(frozen=True)
class Reader:
    """A job and the models that its plan names: those it works over, and those that go into its product.

    `answers`: it left something that answers; `alone`: which needs nothing that it was made of.
    """

    job: Job
    bases: tuple[ModelName, ...]
    parts: tuple[ModelName, ...]
    answers: bool
    alone: bool


def reader(job: Job, *, answers: bool, alone: bool) -> Reader:
    """A job with the names that its plan holds."""
    plan = job.plan
    bases = [plan.get("model"), plan.get("base"), *plan.get("models", ())]
    parts = [*made_of(job), plan.get("mix")]
    return Reader(job, _parsed(bases), _parsed(parts), answers, alone)


def made_of(job: Job) -> tuple[str, ...]:
    """What a merge or an export was made out of, by its name."""
    if (asked := job.plan.get("asked")) is not None:
        return (asked,)
    return tuple(name for name, _ in job.plan.get("parts", ()))


def _parsed(texts: Iterable[str | None]) -> tuple[ModelName, ...]:
    """The names, a mix as its base and its adapters; what is no name any more names nothing."""
    found: list[ModelName] = []
    for text in texts:
        try:
            name = parse(text or "")
        except StudioError:
            continue
        mix = mix_of(name) if name.kind == "mix" else None
        found += [mix.base, *(adapter for adapter, _ in mix.adapters)] if mix else [name]
    return tuple(found)


def related(home: Home, item: Holding, readers: Sequence[Reader]) -> Holding:
    """With its dependents, and the jobs that use it now."""
    dependents, using = [], list(item.in_use)
    for reader in readers:
        job, as_base = reader.job, any(_is(home, name, item) for name in reader.bases)
        own = job.id == item.made_by
        if not (own or as_base or any(_is(home, name, item) for name in reader.parts)):
            continue
        if job.state not in states.ENDED:
            using.append(job.id)
        elif not own and (reader.answers or job.kind == "train"):
            needs = as_base and reader.answers and not reader.alone
            dependents.append(Dependent(job.id, job.kind, needs))
    return replace(item, dependents=tuple(dependents), in_use=tuple(dict.fromkeys(using)))


def _is(home: Home, name: ModelName, item: Holding) -> bool:
    """Whether what a plan names is this, or lies in it. What a job put outside the home stays when the job
    goes, so a folder there is not the job's."""
    if name.kind == "starter":
        return item.name == "starter"
    if name.kind == "hub":
        return item.name == f"hub:{name.value}"
    if name.kind == "path":
        own = item.kind in ("base", "checkpoint")
        return Path(name.value).is_relative_to(item.path if own else home.run(item.title))
    if item.kind != "checkpoint":
        return item.made_by == name.value and item.kind != "base"
    try:
        folder = runs.adapter_folder(home.runs, ModelName("run", name.value, step=name.step))
    except StudioError:
        return False
    return folder.is_relative_to(item.path)
