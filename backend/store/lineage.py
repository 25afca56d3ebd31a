"""Who was made out of what: artifacts by content, and the jobs that read them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from backend.store.database import Store
from backend.store.plain import to_json

Statement = tuple[str, tuple[Any, ...]]


def made(job: str, kind: str, hash: str | None, path: str | None, body: Mapping[str, Any]) -> Statement:
    """The statement that records something which a job left behind."""
    sql = "INSERT INTO artifact (kind, hash, path, made_by, body, created) VALUES (?, ?, ?, ?, ?, ?)"
    return sql, (kind, hash, path, job, to_json(body), time.time())


def read(job: str, role: str, kind: str, hash: str, path: str, body: Mapping[str, Any]) -> list[Statement]:
    """Statements that record what a job reads; the same content is one artifact however often it is read."""
    return [
        (
            "INSERT INTO artifact (kind, hash, path, body, created) SELECT ?, ?, ?, ?, ? "
            "WHERE NOT EXISTS (SELECT 1 FROM artifact WHERE kind = ? AND hash = ?)",
            (kind, hash, path, to_json(body), time.time(), kind, hash),
        ),
        (
            "INSERT OR IGNORE INTO input (job, artifact, role) "
            "SELECT ?, min(id), ? FROM artifact WHERE kind = ? AND hash = ?",
            (job, role, kind, hash),
        ),
    ]


def compared(
    job: str, attempt: int, source: str, predicted: Mapping[str, Any], measured: Mapping[str, Any]
) -> Statement:
    """The statement that keeps what an attempt was predicted to need beside what it was measured at."""
    sql = "INSERT INTO estimate (job, attempt, source, predicted, measured, at) VALUES (?, ?, ?, ?, ?, ?)"
    return sql, (job, attempt, source, to_json(predicted), to_json(measured), time.time())


# A folder that a person keeps on the list is a base without a hash: it was not read yet.
_REGISTERED = "kind = 'base' AND hash IS NULL AND made_by IS NULL"


def registered(store: Store) -> list[str]:
    """Folders that a person put on the list of models, oldest first."""
    return [path for (path,) in store.rows(f"SELECT path FROM artifact WHERE {_REGISTERED} ORDER BY id")]


def register(path: str) -> Statement:
    """The statement that puts a folder on the list; one that is there stays where it is."""
    sql = "INSERT INTO artifact (kind, path, body, created) SELECT 'base', ?, '{}', ? "
    sql += f"WHERE NOT EXISTS (SELECT 1 FROM artifact WHERE {_REGISTERED} AND path = ?)"
    return sql, (path, time.time(), path)


def forget(path: str) -> Statement:
    """The statement that takes a folder off the list."""
    return f"DELETE FROM artifact WHERE {_REGISTERED} AND path = ?", (path,)


def products(store: Store) -> list[tuple[str, str, str]]:
    """What the jobs that are not deleted left behind: (kind, path, id of the job), oldest first."""
    rows = store.rows(
        "SELECT artifact.kind, artifact.path, made_by FROM artifact JOIN job ON job.id = made_by "
        "WHERE deleted IS NULL AND artifact.path IS NOT NULL GROUP BY made_by, artifact.path "
        "ORDER BY max(artifact.id)"
    )
    return [(kind, path, job) for kind, path, job in rows]
