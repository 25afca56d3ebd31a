"""Schema, migrations, the batching writer, curves and their decimation."""

from __future__ import annotations

import json
import math
import random
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from backend.jobs import record
from backend.store import migrations
from backend.store.curves import CurveReader, lowest, newest, version
from backend.store.database import REFUSALS, Store, open_store
from backend.store.decimate import decimate
from backend.store.plain import number_and_kind, to_json
from backend.store.writer import Writer
from studio.errors import StudioError
from tests.backend.conftest import Bench
from ui.words import Words

TABLES = {
    "job", "artifact", "input", "metric", "event", "control", "lease",
    "conversation", "message", "vote", "estimate", "migration",
}  # fmt: skip


def nobody(_: sqlite3.Connection) -> bool:
    return False


def tables(store: Store) -> set[str]:
    return {r[0] for r in store.rows("SELECT name FROM sqlite_master WHERE type='table'")} - {
        "sqlite_sequence"
    }


def test_a_new_store_has_the_tables_of_the_design_in_wal_mode(tmp_path: Path) -> None:
    store = open_store(tmp_path / "studio.db", nobody)
    assert tables(store) == TABLES
    assert store.value("PRAGMA journal_mode") == "wal"
    assert [r[0] for r in store.rows("SELECT name FROM migration")] == [
        name for name, _ in migrations.MIGRATIONS
    ]
    assert not list(tmp_path.glob("*.before-*"))
    store.close()


def _second(db: Any) -> None:
    db.execute("ALTER TABLE job ADD COLUMN note TEXT")


def _broken(db: Any) -> None:
    db.execute("ALTER TABLE job ADD COLUMN half TEXT")
    raise ZeroDivisionError


def test_a_migration_backs_up_first_and_a_broken_one_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "studio.db"
    store = open_store(path, nobody)
    with store.writing() as connection:
        record.add(connection, "pirate-1", "train", {"model": "starter"})
    grown = [*migrations.MIGRATIONS, ("0900_note", _second), ("0901_broken", _broken)]
    with pytest.raises(ZeroDivisionError):
        migrations.migrate(store.connection, path, nobody, grown)
    columns = {r["name"] for r in store.rows("PRAGMA table_info(job)")}
    assert not columns & {"note", "half"}  # all that is missing, or nothing
    assert store.value("SELECT max(name) FROM migration") == migrations.MIGRATIONS[-1][0]
    backup = sqlite3.connect(tmp_path / "studio.db.before-0900_note")
    assert backup.execute("SELECT id FROM job").fetchall() == [("pirate-1",)]
    assert "note" not in {r[1] for r in backup.execute("PRAGMA table_info(job)")}
    backup.close()
    store.close()


def test_no_migration_while_a_worker_lives(tmp_path: Path) -> None:
    path = tmp_path / "studio.db"
    store = open_store(path, nobody)
    grown = [*migrations.MIGRATIONS, ("0900_note", _second)]
    with pytest.raises(StudioError) as caught:
        migrations.migrate(store.connection, path, lambda _: True, grown)
    assert caught.value.code == "store_busy_workers"
    assert migrations.migrate(store.connection, path, nobody, grown) == ["0900_note"]
    assert migrations.migrate(store.connection, path, lambda _: True, grown) == []
    store.close()


def test_a_store_of_a_newer_studio_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "studio.db", nobody)
    store.connection.execute("INSERT INTO migration VALUES ('0999_later', 0)")
    store.close()
    with pytest.raises(StudioError) as caught:
        open_store(tmp_path / "studio.db", nobody)
    assert caught.value.facts["unknown"] == ["0999_later"]
    (tmp_path / "text.db").write_text("this is no database, and long enough to be looked at as one" * 20)
    with pytest.raises(StudioError) as caught:
        open_store(tmp_path / "text.db", nobody)
    assert caught.value.code == "store_unreadable"


def test_a_store_that_cannot_be_used_now_is_not_called_broken(tmp_path: Path) -> None:
    locked = tmp_path / "locked.db"
    other = sqlite3.connect(locked, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    (tmp_path / "folder.db").mkdir()
    for path, code in ((locked, "store_locked"), (tmp_path / "folder.db", "store_not_opened")):
        with pytest.raises(StudioError) as caught:
            open_store(path, nobody, busy_seconds=0.05)
        assert caught.value.code == code
    other.close()


@pytest.mark.parametrize(
    ("pragma", "code"), [("max_page_count = 1", "store_full"), ("query_only = 1", "store_read_only")]
)
def test_what_a_person_asked_for_is_refused_with_its_reason(bench: Bench, pragma: str, code: str) -> None:
    bench.store.connection.execute(f"PRAGMA {pragma}")
    with pytest.raises(StudioError) as caught, bench.store.asked() as connection:
        connection.execute("CREATE TABLE big AS SELECT zeroblob(1000000)")
    assert caught.value.code == code
    assert all(Words("en").error(caught.value))


def test_every_refusal_of_the_store_has_words() -> None:
    for code in REFUSALS.values():
        assert all(Words("en").error(StudioError(code, path="/x", detail="why")))


def test_the_connection_of_a_dead_thread_is_closed(bench: Bench) -> None:
    seen: list[sqlite3.Connection] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: seen.append(bench.store.connection))
        thread.start()
        thread.join()
    for connection in seen[:2]:
        with pytest.raises(sqlite3.ProgrammingError):
            connection.execute("SELECT 1")
    assert bench.store.value("SELECT 1") == 1


def test_two_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def open_one() -> None:
        try:
            open_store(tmp_path / "studio.db", nobody).close()
        except BaseException as error:  # noqa: BLE001 - carried to the main thread
            errors.append(error)

    threads = [threading.Thread(target=open_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_those_who_open_a_new_store_at_once_back_nothing_up(tmp_path: Path) -> None:
    """None may take what another is making for an old store: their backups would be the same file."""
    first, second = (sqlite3.connect(tmp_path / "studio.db", isolation_level=None) for _ in range(2))
    first.execute("PRAGMA journal_mode=WAL")
    seen: list[int] = []

    def look(_: Any) -> None:
        seen.append(second.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])

    path, grown = tmp_path / "studio.db", [*migrations.MIGRATIONS, ("0900_look", look)]
    assert migrations.migrate(first, path, nobody, grown) == [name for name, _ in grown]
    assert seen == [0]
    assert migrations.migrate(second, path, nobody, grown) == []
    assert not list(tmp_path.glob("*.before-*"))
    first.close()
    second.close()


def test_ids_of_deleted_rows_do_not_come_back(bench: Bench) -> None:
    id = bench.add()
    first = bench.store.value("SELECT max(seq) FROM event")
    bench.store.connection.execute("DELETE FROM event")
    with bench.store.writing() as connection:
        record.tell(connection, id, "again", {})
    assert bench.store.value("SELECT max(seq) FROM event") == first + 1


def test_nan_and_infinity_are_kept_as_null_and_kind(bench: Bench) -> None:
    id = bench.add()
    writer = Writer(bench.store, id, 1)
    for step, value in enumerate([math.nan, math.inf, -math.inf, 0.5], 1):
        writer.metric(step, "loss", value)
    writer.event("best", {"eval_loss": math.nan, "inner": [{"x": math.inf}]})
    assert writer.flush()
    rows = bench.store.rows("SELECT value, kind FROM metric ORDER BY seq")
    assert [tuple(r) for r in rows] == [(None, "nan"), (None, "inf"), (None, "-inf"), (0.5, None)]
    assert json.loads(bench.events(id, "best")[0]) == {"eval_loss": None, "inner": [{"x": None}]}
    assert lowest(bench.store, id, "loss") == (4, 0.5)
    assert newest(bench.store, id, "loss") == (4, 0.5)
    assert number_and_kind(1.5) == (1.5, None)
    assert to_json({"a": (math.nan, 1)}) == '{"a": [null, 1]}'


def test_the_writer_keeps_its_queue_while_the_store_is_locked(bench: Bench) -> None:
    id = bench.add()
    store = Store(bench.home.store, busy_seconds=0.05)
    writer = Writer(store, id, 1)
    other = sqlite3.connect(bench.home.store, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for step in range(1, 6):
        writer.metric(step, "loss", step)
        writer.phase("training", step / 10)
        assert not writer.flush()
    assert writer.waiting == 5
    other.execute("COMMIT")
    other.close()
    assert writer.flush()
    assert writer.waiting == 0
    assert CurveReader(bench.store).points(id, "loss", 100) == [(s, float(s)) for s in range(1, 6)]
    assert (bench.job(id).phase, bench.job(id).progress) == ("training", 0.5)
    assert bench.job(id).heartbeat is not None
    store.close()


def test_the_writer_does_not_hide_a_bug_as_a_locked_store(bench: Bench) -> None:
    writer = Writer(bench.store, bench.add(), 1)
    writer.statements([("INSERT INTO nowhere VALUES (1)", ())])
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        writer.flush()


def test_a_thread_can_wait_until_its_rows_are_written(bench: Bench) -> None:
    id = bench.add()
    writer = Writer(bench.store, id, 1, interval=3600)
    assert writer.flush()
    seen: list[int] = []

    def work() -> None:
        writer.metric(1, "loss", 1.0)
        assert writer.wait_written(10)
        seen.append(writer.waiting)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 10
    while thread.is_alive() and time.monotonic() < deadline:
        writer.wanted.wait(0.01)
        writer.flush_if_due()
    assert seen == [0]


def test_of_each_step_the_newest_attempt_shows(bench: Bench) -> None:
    id = bench.add()
    reader = CurveReader(bench.store)
    first = Writer(bench.store, id, 1)
    for step in range(1, 8):
        first.metric(step, "loss", 10 + step)
    first.flush()
    assert reader.points(id, "loss", 100) == [(s, 10.0 + s) for s in range(1, 8)]
    second = Writer(bench.store, id, 2)
    for step in (5, 6):
        second.metric(step, "loss", 20 + step)
    second.flush()
    first.metric(6, "loss", 99)  # a straggler of the attempt before
    first.flush()
    values = dict(reader.points(id, "loss", 100))
    assert values == {1: 11, 2: 12, 3: 13, 4: 14, 5: 25, 6: 26, 7: 17}
    assert CurveReader(bench.store).points(id, "loss", 100) == reader.points(id, "loss", 100)


def test_a_reader_never_reads_a_row_twice(bench: Bench) -> None:
    id = bench.add()
    writer = Writer(bench.store, id, 1)
    reader = CurveReader(bench.store)
    read: list[str] = []
    bench.store.connection.set_trace_callback(read.append)
    for step in range(1, 4):
        writer.metric(step, "loss", step)
        writer.flush()
        reader.points(id, "loss", 10)
    bench.store.connection.set_trace_callback(None)
    cursors = [sql.rpartition("seq > ")[2].split()[0] for sql in read if "FROM metric" in sql]
    assert cursors == ["0", "1", "2"]


def test_the_version_moves_with_what_is_shown_and_not_with_a_heartbeat(bench: Bench) -> None:
    id = bench.add()
    writer = Writer(bench.store, id, 1)
    seen = [version(bench.store)]
    writer.flush()
    assert version(bench.store) == seen[-1]
    writer.metric(1, "loss", 1)
    writer.flush()
    seen.append(version(bench.store))
    writer.phase("saving", None)
    writer.flush()
    seen.append(version(bench.store))
    with bench.store.writing() as connection:
        record.tell(connection, id, "best", {})
    seen.append(version(bench.store))
    assert seen == sorted(set(seen))


def test_decimation_keeps_ends_minima_maxima_and_gaps() -> None:
    source = random.Random(7)
    points: list[tuple[int, float | None]] = [(i, source.gauss(0, 1)) for i in range(123_457)]
    spikes = {777: 50.0, 60_001: -40.0, 123_000: 70.0}
    for i, value in spikes.items():
        points[i] = (i, value)
    points[50_000] = (50_000, None)
    kept = decimate(points, 2000)
    assert len(kept) <= 2000
    assert len(kept) > 1000
    assert kept == sorted(kept)
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert {p for p in points if p[0] in spikes or p[0] == 50_000} <= set(kept)
    assert set(kept) <= set(points)


def test_every_bucket_keeps_its_own_extremes() -> None:
    """Against a slow reading of the definition."""
    source = random.Random(3)
    points: list[tuple[int, float | None]] = [(i, source.random()) for i in range(1000)]
    limit = 50
    buckets = (limit - 2) // 3
    wanted = {points[0], points[-1]}
    for b in range(buckets):
        bucket = points[1 + b * 998 // buckets : 1 + (b + 1) * 998 // buckets]
        wanted |= {min(bucket, key=lambda p: p[1] or 0.0), max(bucket, key=lambda p: p[1] or 0.0)}
    assert set(decimate(points, limit)) == wanted


@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 50])
def test_few_points_stay_and_many_nulls_do_no_harm(count: int) -> None:
    points: list[tuple[int, float | None]] = [(i, None) for i in range(count)]
    kept = decimate(points, 8)
    assert len(kept) <= 8
    assert kept[:1] == points[:1]
    assert kept[-1:] == points[-1:]
