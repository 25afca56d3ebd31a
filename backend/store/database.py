"""The file and its connections: one per thread, WAL, explicit transactions."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend.store.migrations import migrate
from studio.errors import StudioError

BUSY_SECONDS = 10.0
_RETRY_SECONDS = 0.02
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}
# What a person can mend, each in another way: only of a broken file it helps to put it aside.
REFUSALS = {
    sqlite3.SQLITE_BUSY: "store_locked",
    sqlite3.SQLITE_LOCKED: "store_locked",
    sqlite3.SQLITE_FULL: "store_full",
    sqlite3.SQLITE_IOERR: "store_not_answering",
    sqlite3.SQLITE_CANTOPEN: "store_not_opened",
    sqlite3.SQLITE_READONLY: "store_read_only",
    sqlite3.SQLITE_NOTADB: "store_unreadable",
    sqlite3.SQLITE_CORRUPT: "store_unreadable",
}


def passes(error: sqlite3.OperationalError) -> bool:
    """Whether this passes by itself, or once there is room: locked, full, a disk that does not answer."""
    return _primary_code(error) in _PASSING


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the file at `path` into `StudioError(<one of REFUSALS>)` (path, detail)."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if (code := REFUSALS.get(_primary_code(error))) is None:
            raise
        raise StudioError(code, path=str(path), detail=str(error)) from error


def _primary_code(error: sqlite3.Error) -> int:
    # The low byte is the primary code; the rest says where.
    return error.sqlite_errorcode & 0xFF


class Store:
    """The open store. Threads share the object; each gets a connection of its own."""

    def __init__(self, path: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        self._busy_seconds = busy_seconds
        self._local = threading.local()
        self._open: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._lock = threading.Lock()

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = _connect(self.path, self._busy_seconds)
            self._local.connection = found
            with self._lock:
                self._close({thread for thread, _ in self._open if not thread.is_alive()})
                self._open.append((threading.current_thread(), found))
        return found

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """All rows of a query."""
        return self.connection.execute(sql, values).fetchall()

    def value(self, sql: str, *values: Any) -> Any:
        """First column of the first row, None without rows."""
        row = self.connection.execute(sql, values).fetchone()
        return None if row is None else row[0]

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One `BEGIN IMMEDIATE` transaction; an exception rolls it back.

        Raises `sqlite3.OperationalError` if another writer holds the file for longer than the busy timeout.
        """
        connection = self.connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    @contextmanager
    def asked(self) -> Iterator[sqlite3.Connection]:
        """As `writing`, for what a person waits for; raises what `refusing` does."""
        with refusing(self.path), self.writing() as connection:
            yield connection

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            self._close({thread for thread, _ in self._open})
        self._local = threading.local()

    def _close(self, threads: set[threading.Thread]) -> None:
        for thread, connection in self._open:
            if thread in threads:
                connection.close()
        self._open = [opened for opened in self._open if opened[0] not in threads]


def open_store(
    path: Path, worker_lives: Callable[[sqlite3.Connection], bool], busy_seconds: float = BUSY_SECONDS
) -> Store:
    """Open the file, make it if it is missing, bring its schema up to date.

    Raises `StudioError`: those of `refusing` for a file that can't be used, those of `migrate`.
    """
    store = Store(path, busy_seconds)
    try:
        with refusing(path):
            migrate(store.connection, path, worker_lives)
    except BaseException:
        store.close()
        raise
    return store


def _connect(path: Path, busy_seconds: float) -> sqlite3.Connection:
    # isolation_level None: transactions begin where the code says so, nowhere else.
    connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        _write_ahead(connection, busy_seconds)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _write_ahead(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Switch to a write-ahead log. Of those who switch a new file at once SQLite lets none but one wait: the
    others are told at once that it is locked, whatever the timeout."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if _primary_code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_SECONDS)
