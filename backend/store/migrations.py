"""The schema as a list of functions that is only ever appended to.

sqlite-utils builds the tables; it is imported here only, when there is something to build, because it costs
0.3 s (it imports pandas where that is installed). Tables whose ids must never come back are AUTOINCREMENT,
which it does not offer, and are written as SQL.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from studio.errors import StudioError

if TYPE_CHECKING:
    from sqlite_utils import Database


def _first(db: Database) -> None:
    _jobs(db)
    _streams(db)
    _things(db)
    _conversations(db)


def _jobs(db: Database) -> None:
    """What is asked of the studio, who works at it, and what may be using a device."""
    db.table("job").create(
        {
            "id": str,
            "kind": str,
            "parent": str,
            "plan": str,
            "plan_version": int,
            "reasons": str,
            "hashes": str,
            "state": str,
            "attempt": int,
            "launcher": str,
            "host": str,
            "boot": str,
            "pid": int,
            "pid_started": float,
            "devices": str,
            "phase": str,
            "progress": float,
            "steps_planned": int,
            "result": str,
            "error": str,
            "created": float,
            "queued": float,
            "started": float,
            "ended": float,
            "heartbeat": float,
            "deleted": float,
            "revision": int,
        },
        pk="id",
        not_null={"id", "kind", "plan", "plan_version", "state", "attempt", "devices", "created", "revision"},
        defaults={"revision": 0},
        foreign_keys=[("parent", "job", "id")],
    )
    db.table("job").create_index(["state", "queued"])
    db.execute(
        "CREATE TABLE control (seq INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL REFERENCES job(id), "
        "attempt INTEGER NOT NULL, wish TEXT NOT NULL, at REAL NOT NULL)"
    )
    db.table("control").create_index(["job", "attempt", "seq"])
    db.execute(
        "CREATE TABLE lease (seq INTEGER PRIMARY KEY AUTOINCREMENT, holder TEXT NOT NULL, "
        "device TEXT NOT NULL, purpose TEXT NOT NULL, bytes INTEGER, host TEXT NOT NULL, boot TEXT NOT NULL, "
        "pid INTEGER NOT NULL, pid_started REAL NOT NULL, granted REAL NOT NULL)"
    )


def _streams(db: Database) -> None:
    """What workers report, in the order of writing."""
    db.execute(
        "CREATE TABLE metric (seq INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL REFERENCES job(id), "
        "attempt INTEGER NOT NULL, step INTEGER NOT NULL, name TEXT NOT NULL, value REAL, kind TEXT, "
        "at REAL NOT NULL)"
    )
    db.table("metric").create_index(["job", "name", "seq"])
    db.execute(
        "CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL REFERENCES job(id), "
        "at REAL NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL)"
    )
    db.table("event").create_index(["job", "seq"])


def _things(db: Database) -> None:
    """Who made what out of what, and how well memory was predicted."""
    db.table("artifact").create(
        {"id": int, "kind": str, "hash": str, "path": str, "made_by": str, "body": str, "created": float},
        pk="id",
        not_null={"kind", "body", "created"},
        foreign_keys=[("made_by", "job", "id")],
    )
    db.table("artifact").create_index(["kind", "hash"])
    db.table("artifact").create_index(["made_by"])
    db.table("input").create(
        {"job": str, "artifact": int, "role": str},
        pk=("job", "artifact", "role"),
        foreign_keys=[("job", "job", "id"), ("artifact", "artifact", "id")],
    )
    db.execute(
        "CREATE TABLE estimate (seq INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL REFERENCES job(id), "
        "attempt INTEGER NOT NULL, source TEXT NOT NULL, predicted TEXT NOT NULL, measured TEXT, "
        "at REAL NOT NULL)"
    )


def _conversations(db: Database) -> None:
    """Chats of the playground: what was asked, what each answer recipe said, what the person preferred."""
    db.execute(
        "CREATE TABLE conversation (id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT, body TEXT NOT NULL, "
        "created REAL NOT NULL, updated REAL NOT NULL)"
    )
    db.execute(
        "CREATE TABLE message (id INTEGER PRIMARY KEY AUTOINCREMENT, conversation INTEGER NOT NULL "
        "REFERENCES conversation(id), parent INTEGER REFERENCES message(id), role TEXT NOT NULL, side TEXT, "
        "recipe TEXT, content TEXT NOT NULL, facts TEXT, at REAL NOT NULL)"
    )
    db.table("message").create_index(["conversation", "id"])
    db.execute(
        "CREATE TABLE vote (id INTEGER PRIMARY KEY AUTOINCREMENT, "
        "message INTEGER NOT NULL REFERENCES message(id), choice TEXT NOT NULL, at REAL NOT NULL)"
    )


def _blind_votes(db: Database) -> None:
    """Whether who answered was hidden when a person voted."""
    db.execute("ALTER TABLE vote ADD COLUMN blind INTEGER NOT NULL DEFAULT 0")
    db.table("vote").create_index(["message"])
    db.table("message").create_index(["parent"])


Migration = Callable[["Database"], None]
# Append only: a name that was released stands for what it did then.
MIGRATIONS: list[tuple[str, Migration]] = [("0001_first", _first), ("0002_blind_votes", _blind_votes)]


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    worker_lives: Callable[[sqlite3.Connection], bool],
    migrations: list[tuple[str, Migration]] = MIGRATIONS,
) -> list[str]:
    """Run what is missing, all of it in one transaction with its record; gives the names that ran.

    A file that holds something is backed up first (`<file>.before-<name>`). Of several who open a file at
    once one does all this; the others wait for its lock and find it done.
    Raises `StudioError`: `store_newer` (path, unknown) for a file written by a newer studio,
    `store_busy_workers` (path) while a worker lives.
    """
    if not _pending(_done(connection), path, migrations):
        return []
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = _done(connection)
        pending = _pending(done, path, migrations)
        if done and pending:
            if worker_lives(connection):
                raise StudioError("store_busy_workers", path=str(path))
            back_up(path, path.with_name(f"{path.name}.before-{pending[0][0]}"))
        for name, run in pending:
            _run(connection, name, run)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return [name for name, _ in pending]


def _pending(
    done: set[str], path: Path, migrations: list[tuple[str, Migration]]
) -> list[tuple[str, Migration]]:
    if unknown := sorted(done - {name for name, _ in migrations}):
        raise StudioError("store_newer", path=str(path), unknown=unknown)
    return [migration for migration in migrations if migration[0] not in done]


def back_up(path: Path, target: Path) -> None:
    """A complete copy of what is committed, taken with SQLite's own backup call; it appears under its name
    only when whole. The caller holds the file's write lock, so that nobody else takes one."""
    unfinished = target.with_name(target.name + ".part")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(unfinished)) as copy:
        source.backup(copy)
    unfinished.replace(target)


def _done(connection: sqlite3.Connection) -> set[str]:
    table = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type='table' AND name='migration'"
    ).fetchone()
    return {row[0] for row in connection.execute("SELECT name FROM migration")} if table else set()


def _run(connection: sqlite3.Connection, name: str, run: Migration) -> None:
    from sqlite_utils import Database

    connection.execute("CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, at REAL NOT NULL)")
    run(Database(connection))
    connection.execute("INSERT INTO migration VALUES (?, ?)", (name, time.time()))
