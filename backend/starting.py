"""From a checked request to a queued job: rows frozen, folder filled, row written, all or nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import uuid
from dataclasses import dataclass
from pathlib import Path

from backend import probing
from backend.datasets import Datasets, dataset_slug
from backend.drafts import Considered
from backend.home import Home, require_room
from backend.inputs import HELDOUT, ROWS, TOKENIZER, frozen_hashes, hashes_of
from backend.jobs import record
from backend.store import lineage
from backend.store.database import Store
from studio.data.rows import write_rows
from studio.data.split import Split
from studio.files import write_json
from studio.plan import PLAN_VERSION, Plan, methods, objectives

# Log, plan, frozen rows and what the file system wastes.
_SPARE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class _Frozen:
    """What a run is made of, in a folder that is not its own yet."""

    folder: Path
    split: Split
    hashes: dict[str, str]
    skipped: dict[str, int]


def start(
    home: Home, store: Store, datasets: Datasets, considered: Considered, *, probed: bool = False
) -> str:
    """Freeze what the run is made of and queue it; gives its id. `considered` has no problems. `probed`: one
    step is tried first, as a job of its own.

    Raises what preparing the rows at the plan's length raises, and `StudioError("disk_full")`.
    """
    require_room(home.runs, _needed_on_disk(considered))
    split = _split(considered, datasets)
    folder = home.runs / f".new-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        return _queue(home, store, considered, _freeze(folder, considered, split, datasets), probed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _split(considered: Considered, datasets: Datasets) -> Split:
    """The usable rows at the length that was chosen; as they were read where the tokenizer isn't here yet."""
    plan = considered.plan
    if considered.model_folder is None:
        assert considered.split is not None
        return considered.split
    stream = objectives.get(plan.objective).streams[0]
    return datasets.prepared(plan.dataset, considered.model_folder, plan.settings.seq, stream).split


def _freeze(folder: Path, considered: Considered, split: Split, datasets: Datasets) -> _Frozen:
    plan = considered.plan
    write_rows(folder / ROWS, split.train)
    write_rows(folder / HELDOUT, split.heldout)
    write_json(folder / "plan.json", plan.as_dict())
    hashes = frozen_hashes(folder)
    if considered.model_folder is not None:
        renderer = datasets.renderer(considered.model_folder)
        renderer.save(folder / TOKENIZER)
        hashes |= hashes_of(renderer)
    return _Frozen(folder, split, hashes, _skipped(datasets, plan.dataset, split))


def _skipped(datasets: Datasets, name: str, split: Split) -> dict[str, int]:
    """Rows of the training part that were read, and how many of them can't be used."""
    dataset = datasets.read_named(name)
    used = len(split.train) + (0 if dataset.heldout else len(split.heldout))
    return {"rows": dataset.rows_read, "skipped": dataset.rows_read - used}


def _queue(home: Home, store: Store, considered: Considered, frozen: _Frozen, probed: bool) -> str:
    """The row and the folder come into being together: the rename is last, and undone if the row fails."""
    id = ""
    try:
        with store.asked() as connection:
            # It was queued before, so it is claimed before.
            probe = probing.ask(connection, considered) if probed else None
            id = _write(connection, home, considered, frozen, probe)
            frozen.folder.rename(home.run(id))
    except BaseException:
        if not frozen.folder.exists():
            home.run(id).rename(frozen.folder)
        raise
    return id


def _write(
    connection: sqlite3.Connection, home: Home, considered: Considered, frozen: _Frozen, probe: str | None
) -> str:
    plan = considered.plan
    assert plan.settings.device is not None
    id = record.new_id(connection, dataset_slug(plan.dataset), os.listdir(home.runs))
    reasons = {**considered.reasons, "heldout": frozen.split.reason}
    record.add(
        connection,
        id,
        "train",
        plan.as_dict(),
        plan_version=PLAN_VERSION,
        devices=(plan.settings.device,),
        hashes=frozen.hashes,
        reasons={key: [reason.code, dict(reason.facts)] for key, reason in reasons.items()},
        steps_planned=plan.settings.steps,
        parent=probe,
    )
    if frozen.skipped["skipped"]:
        record.tell(connection, id, "rows_skipped", frozen.skipped)
    for statement in _sources(home, id, plan, frozen):
        connection.execute(*statement)
    return id


def _sources(home: Home, id: str, plan: Plan, frozen: _Frozen) -> list[lineage.Statement]:
    """What the run reads; its base joins when the worker has hashed it."""
    facts = {"name": plan.dataset, "rows": len(frozen.split.train), "heldout": len(frozen.split.heldout)}
    return lineage.read(id, "dataset", "dataset", frozen.hashes["dataset"], str(home.run(id) / ROWS), facts)


def _needed_on_disk(considered: Considered) -> int:
    """Checkpoints (weights in 32 bit and twice that of optimizer state), one being written, the adapter."""
    plan = considered.plan
    if considered.facts is None:
        return _SPARE_BYTES
    terms = methods.get(plan.method).memory(considered.facts, plan.method_params, plan.settings)
    copies = plan.settings.keep_checkpoints + 2
    trained: int = terms.trainable_params
    return _SPARE_BYTES + trained * 4 * (3 * copies + 1)
