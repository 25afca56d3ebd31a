"""What is on this disk: bases, what runs, merges and exports made, what each takes and who depends on it.

Read from the disk and the store on every look; nothing is remembered that could be wrong by now.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import assets
from backend import dependents
from backend.api.library import DiskUse, Holding, Library
from backend.chat import runs
from backend.home import Home
from backend.jobs import record, states
from backend.jobs.record import Job
from backend.store import lineage
from backend.store.database import Store
from studio.files import tree_bytes
from studio.models import hub_cache

_LOW_SHARE, _LOW_BYTES = 0.1, 20 * 2**30
_KINDS = {"train": "adapter", "merge": "merge", "export": "export"}  # kind of job -> kind of holding
_NAMES = {"train": "run"}  # kind of job -> prefix of what it made; else its own name


def look(home: Home, store: Store) -> Library:
    """All of it."""
    jobs = record.every(store)
    made = _made(store, jobs)
    bases = _bases(store, [(path, job) for kind, path, job in made if kind == "base"])
    holdings = [*bases, *_of_jobs(home, jobs, made)]
    readers = _readers(home, jobs, made)
    related = [dependents.related(home, holding, readers) for holding in holdings]
    return Library(tuple(related), _disk(home, holdings))


def of_job(home: Home, store: Store, job: Job) -> Holding | None:
    """What one job left behind, with who depends on it; None if that is nothing that answers."""
    jobs = record.every(store)
    made = _made(store, jobs)
    item = next(iter(_of_jobs(home, [job], made)), None)
    return dependents.related(home, item, _readers(home, jobs, made)) if item else None


def _made(store: Store, jobs: Sequence[Job]) -> list[tuple[str, str, Job]]:
    """(kind, path, job) of what the jobs left behind, oldest first."""
    by_id = {job.id: job for job in jobs}
    return [(kind, path, by_id[job]) for kind, path, job in lineage.products(store) if job in by_id]


def _readers(
    home: Home, jobs: Sequence[Job], made: Sequence[tuple[str, str, Job]]
) -> list[dependents.Reader]:
    """Merged weights and exports stand alone; a run answers from its first checkpoint on."""
    makers = {job.id for kind, _, job in made if kind != "base"}
    alone = {job.id for kind, _, job in made if kind in ("merge", "export")}
    return [
        dependents.reader(
            job,
            answers=job.id in makers or (job.kind == "train" and bool(runs.checkpoints(home.run(job.id)))),
            alone=job.id in alone,
        )
        for job in jobs
    ]


def own_models(home: Home, store: Store) -> list[str]:
    """Names of the models that a run can start from and that the person brought or made: downloads, folders,
    merges that are whole models."""
    fetched = [f"hub:{repo.repo}" for repo in hub_cache.cached_repos() if repo.complete]
    folders = [f"path:{folder}" for folder in lineage.registered(store)]
    return [*fetched, *folders, *runs.merged_models(home.runs)]


def _bases(store: Store, fetched: Sequence[tuple[str, Job]]) -> list[Holding]:
    starter = assets.path("starter")
    size = tree_bytes(starter)
    found = [Holding("starter", "base", "starter", str(starter), "whole", size, 0, None)]
    for repo in hub_cache.cached_repos():
        by = (job.id for path, job in fetched if Path(path).is_relative_to(repo.folder))
        found.append(
            Holding(
                name=f"hub:{repo.repo}",
                kind="base",
                title=repo.repo,
                path=str(repo.folder),
                state="whole" if repo.complete else "incomplete",
                size_bytes=repo.size_bytes,
                frees_bytes=repo.size_bytes,
                removal="delete",
                made_by=next(by, None),
            )
        )
    for path in lineage.registered(store):
        folder = Path(path)
        state = "whole" if (folder / "config.json").is_file() else "missing"
        size = tree_bytes(folder)
        found.append(Holding(f"path:{path}", "base", folder.name, path, state, size, 0, "forget"))
    return found


def _of_jobs(home: Home, jobs: Sequence[Job], made: Sequence[tuple[str, str, Job]]) -> list[Holding]:
    """What each job left behind, newest job first, a run's checkpoints behind it."""
    found: list[Holding] = []
    for job in (job for job in jobs if job.kind in _KINDS):
        paths = [Path(path) for kind, path, maker in made if maker.id == job.id and kind != "base"]
        checkpoints = _checkpoints(home, job) if job.kind == "train" else []
        if paths or checkpoints:
            path = paths[-1] if paths else home.run(job.id)
            found += [_of_job(home, job, path, whole=bool(paths)), *checkpoints]
    return found


def _of_job(home: Home, job: Job, path: Path, *, whole: bool) -> Holding:
    inside = tree_bytes(home.run(job.id))
    outside = not path.is_relative_to(home.runs)
    return Holding(
        name=f"{_NAMES.get(job.kind, job.kind)}:{job.id}",
        kind=_KINDS[job.kind],
        title=job.id,
        path=str(path),
        state="missing" if not path.exists() else "whole" if whole else "incomplete",
        size_bytes=inside + (tree_bytes(path) if outside else 0),
        frees_bytes=inside,
        removal="delete",
        made_by=job.id,
        base=job.plan["model"],
        made_of=dependents.made_of(job),
        stays=str(path) if outside and path.exists() else None,
    )


def _checkpoints(home: Home, job: Job) -> list[Holding]:
    """The complete ones, newest first. The last one of a run that can go on stays: it goes on from there."""
    found = runs.checkpoints(home.run(job.id))
    steps = [(step, found[step].parent) for step in sorted(found, reverse=True)]
    goes_on = job.state != states.DONE
    return [
        Holding(
            name=f"run:{job.id}@{step}",
            kind="checkpoint",
            title=f"{job.id}@{step}",
            path=str(folder),
            state="whole",
            size_bytes=(size := tree_bytes(folder)),
            frees_bytes=size,
            removal="delete",
            made_by=job.id,
            base=job.plan["model"],
            in_use=(job.id,) if goes_on and number == 0 else (),
        )
        for number, (step, folder) in enumerate(steps)
    ]


def _disk(home: Home, holdings: Sequence[Holding]) -> DiskUse:
    folders = [home.root]
    if (cache := hub_cache.cache_folder()).is_dir():
        folders.append(cache)
    # The two may lie on different disks: the one that is fuller is the one to watch.
    use = min((shutil.disk_usage(folder) for folder in folders), key=lambda use: use.free / use.total)
    taken = tree_bytes(home.root)
    hub = sum(item.size_bytes for item in holdings if item.name.startswith("hub:"))
    quota = quota_bytes(home)
    low = use.free < min(use.total * _LOW_SHARE, _LOW_BYTES)
    passed = quota is not None and taken + hub > quota
    return DiskUse(
        home=str(home.root),
        home_bytes=taken,
        hub=str(cache),
        hub_bytes=hub,
        free_bytes=use.free,
        total_bytes=use.total,
        quota_bytes=quota,
        warning="disk_low" if low else "quota_passed" if passed else None,
    )


def quota_file(home: Home) -> Path:
    """Where the person's own limit is kept."""
    return home.root / "quota.json"


def quota_bytes(home: Home) -> int | None:
    """The person's own limit on what the studio takes, None without one."""
    file = quota_file(home)
    return int(json.loads(file.read_text(encoding="utf-8"))["bytes"]) if file.is_file() else None
