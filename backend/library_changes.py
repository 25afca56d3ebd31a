"""What a person does with the models on the disk: fetch one, list a folder, delete, set a limit.

Nothing outside the home and the hub's own cache is ever deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backend import library
from backend.api.library import Holding
from backend.home import Home
from backend.jobs import record, states
from backend.runs import Runs
from backend.store import lineage
from backend.store.database import Store
from studio.errors import StudioError
from studio.files import remove_folder, write_json
from studio.models import hub_cache
from studio.models.locate import locate
from studio.names import parse


def download(home: Home, store: Store, model: str) -> str:
    """Queue a download; gives the job's id. One that is under way or was cut off is the one that goes on.

    Raises:
        StudioError: those of `studio.names.parse`, `download_not_hub` (name).
    """
    name = parse(model)
    if name.kind != "hub":
        raise StudioError("download_not_hub", name=str(name))
    with store.asked() as connection:
        for job in record.every(store, "download"):
            if job.plan["model"] != str(name) or job.state == states.DONE:
                continue
            if job.state in states.RESUMABLE:
                record.requeue(connection, job)
            return job.id
        id = record.new_id(connection, "download", (path.name for path in home.runs.iterdir()))
        record.add(connection, id, "download", {"model": str(name)})
    return id


def register(home: Home, store: Store, folder: str) -> str:
    """Put a folder on the list; gives its name.

    Raises:
        StudioError: those of `studio.names.parse` and `locate`, `register_made_here` (name) for a run or a
            merge that is on the list by itself, `run_missing`, `register_not_folder` (name).
    """
    name = parse(folder)
    if name.kind in ("run", "merge"):
        job = record.find(store.connection, name.value)
        if library.of_job(home, store, job) is not None:
            raise StudioError("register_made_here", name=name.value)
    if name.kind != "path":
        raise StudioError("register_not_folder", name=str(name))
    locate(name)
    with store.asked() as connection:
        connection.execute(*lineage.register(name.value))
    return str(name)


def remove(home: Home, store: Store, runs: Runs, name: str, knowing: Sequence[str]) -> Holding:
    """Delete or forget one holding; gives what it was.

    Raises:
        StudioError: `library_missing` (name), `library_shipped` (name), those of `_refuse`,
            `library_outside` (path, root).
    """
    item = find(library.look(home, store).holdings, name)
    if item.removal is None:
        raise StudioError("library_shipped", name=item.name)
    _refuse(item, item.in_use, knowing)
    if item.removal == "forget":
        with store.asked() as connection:
            connection.execute(*lineage.forget(item.path))
    elif item.kind == "base":
        hub_cache.remove(item.title)
    elif item.kind == "checkpoint":
        remove_folder(Path(item.path), home.runs)
    else:
        runs.delete(item.title)
    return item


def delete(home: Home, store: Store, runs: Runs, run: str, knowing: Sequence[str]) -> None:
    """Delete a job of any kind, with all that it made inside the home.

    Raises:
        StudioError: those of `_refuse` and of `Runs.delete`.
    """
    job = runs.job(run)
    if (item := library.of_job(home, store, job)) is not None:
        _refuse(item, [id for id in item.in_use if id != job.id], knowing)
    runs.delete(job.id)


def _refuse(item: Holding, in_use: Sequence[str], knowing: Sequence[str]) -> None:
    """Raise for what may not go: `library_in_use`, `library_needed`, and `library_has_dependents` for those
    that are not among `knowing` (each with name, runs)."""
    if in_use:
        raise StudioError("library_in_use", name=item.name, runs=list(in_use))
    if item.needed_by:
        raise StudioError("library_needed", name=item.name, runs=list(item.needed_by))
    if unknown := [d.run for d in item.dependents if d.run not in knowing]:
        raise StudioError("library_has_dependents", name=item.name, runs=unknown)


def find(holdings: Sequence[Holding], name: str) -> Holding:
    """The holding of this name, with or without its prefix; `library_missing` (name) if there is none."""
    for item in holdings:
        if name in (item.name, item.name.partition(":")[2]):
            return item
    raise StudioError("library_missing", name=name)


def set_quota(home: Home, quota_bytes: int | None) -> None:
    """Keep the person's own limit, or none. `quota_bad` (bytes) for one that is not above 0."""
    if quota_bytes is None:
        library.quota_file(home).unlink(missing_ok=True)
        return
    if quota_bytes <= 0:
        raise StudioError("quota_bad", bytes=quota_bytes)
    write_json(library.quota_file(home), {"bytes": quota_bytes})
