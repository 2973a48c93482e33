import contextlib
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from cryptocast.errors import RegistryError
from cryptocast.registry.database import Database
from cryptocast.registry.schema import MIGRATIONS, SCHEMA_VERSION

FIT = "INSERT INTO fits VALUES (?, 'k', 's', 'usd', 'daily', 'r', 't', x'00')"


def _created(tmp_path: Path, *, busy_timeout_s: float = 30.0) -> Database:
    database = Database(tmp_path / "registry.db", busy_timeout_s=busy_timeout_s)
    database.create()
    return database


def _raw(database: Database, *statements: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(database.path)) as connection:
        rows: list[tuple[object, ...]] = []
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        connection.commit()
        return rows


def test_a_new_registry_is_in_wal_at_the_schema_version_and_survives_being_made_twice(tmp_path: Path) -> None:
    database = _created(tmp_path)
    database.create()
    assert _raw(database, "PRAGMA journal_mode") == [("wal",)]
    assert _raw(database, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert database.check() == []


def test_connections_enforce_foreign_keys_and_full_syncs(tmp_path: Path) -> None:
    with _created(tmp_path).read() as connection:
        assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert connection.execute("PRAGMA busy_timeout").fetchone()[0] == 30_000


def test_reading_where_there_is_no_registry_finds_it_empty_and_creates_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "no" / "registry.db")
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM versions").fetchone()[0] == 0
    with pytest.raises(RegistryError, match=r"no registry at .*Train a model first"), database.write():
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_another_process_is_about_to_fill_reads_as_empty(tmp_path: Path) -> None:
    database = Database(tmp_path / "registry.db")
    database.path.touch()
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM fits").fetchone()[0] == 0
    database.create()
    assert database.check() == []


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    database = _created(tmp_path)
    _raw(database, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    message = f"has schema {SCHEMA_VERSION + 1}, this cryptocast knows up to {SCHEMA_VERSION}. Upgrade"
    for use in (database.create, lambda: database.read().__enter__(), lambda: database.write().__enter__()):
        with pytest.raises(RegistryError, match=message):
            use()
    assert _raw(database, "PRAGMA user_version") == [(SCHEMA_VERSION + 1,)]


NEXT: Sequence[Sequence[str]] = (*MIGRATIONS, ("CREATE TABLE ledger (x INTEGER)", "INSERT INTO ledger VALUES (1)"))


def test_an_older_schema_is_brought_up_to_date_by_the_next_use(tmp_path: Path) -> None:
    path = _created(tmp_path).path
    newer = Database(path, migrations=NEXT)
    with newer.read() as connection:
        assert connection.execute("SELECT x FROM ledger").fetchone()[0] == 1
    newer.create()
    assert _raw(newer, "SELECT count(*) FROM ledger") == [(1,)]


def test_a_migration_that_fails_leaves_the_old_schema(tmp_path: Path) -> None:
    path = _created(tmp_path).path
    broken = Database(path, migrations=(*MIGRATIONS, ("CREATE TABLE ledger (x INTEGER)", "CREATE TABLE fits (x)")))
    with pytest.raises(RegistryError, match="fits already exists"):
        broken.create()
    assert Database(path).check() == []
    assert _raw(broken, "SELECT name FROM sqlite_master WHERE name = 'ledger'") == []


def test_many_threads_may_create_the_registry_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def make() -> None:
        try:
            _created(tmp_path)
        except RegistryError as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Database(tmp_path / "registry.db").check() == []


def test_an_exception_undoes_the_whole_change(tmp_path: Path) -> None:
    database = _created(tmp_path)

    def interrupted() -> None:
        with database.write() as connection:
            connection.execute(FIT, ("0" * 64,))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert _raw(database, "SELECT count(*) FROM fits") == [(0,)]
    with database.write() as connection:
        connection.execute(FIT, ("0" * 64,))
    assert _raw(database, "SELECT count(*) FROM fits") == [(1,)]


def test_a_reader_sees_one_moment_while_others_write(tmp_path: Path) -> None:
    database = _created(tmp_path)
    with database.read() as reader:
        with database.write() as writer:
            writer.execute(FIT, ("0" * 64,))
        assert reader.execute("SELECT count(*) FROM fits").fetchone()[0] == 0
    with database.read() as reader:
        assert reader.execute("SELECT count(*) FROM fits").fetchone()[0] == 1


def test_a_database_that_stays_busy_is_said_in_our_words(tmp_path: Path) -> None:
    database = _created(tmp_path, busy_timeout_s=0.2)
    with contextlib.closing(sqlite3.connect(database.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(RegistryError, match=r"Another process has kept the registry .* busy") as caught,
            database.write(),
        ):
            pass
    assert "locked" not in str(caught.value)


@pytest.mark.parametrize("content", [b"x" * 5000, b"SQLite format 3\x00" + b"\xff" * 5000, b"{}"])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(content)
    with pytest.raises(RegistryError, match=r"damaged|cannot be used"):
        Database(path).create()
    assert Database(path).check() != []
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RegistryError, match="cannot be made"):
        Database(tmp_path / "file" / "registry" / "registry.db").create()
