import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cryptocast.config import GateConfig
from cryptocast.errors import RegistryError
from cryptocast.registry import Registry
from cryptocast.registry.database import Database
from cryptocast.registry.objects import Objects
from cryptocast.registry.schema import MIGRATIONS, SCHEMA_VERSION
from tests.registry.registry_evidence import RECIPE, SERIES, evidence, trial
from tests.registry.registry_fits import BITCOIN, NOW, register

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


NEXT: Sequence[Sequence[str]] = (*MIGRATIONS, ("CREATE TABLE later (x INTEGER)", "INSERT INTO later VALUES (1)"))
ADDING: Sequence[Sequence[str]] = (*MIGRATIONS, ("CREATE TABLE later (x INTEGER)", "CREATE INDEX i ON later (x)"))


def test_an_older_schema_that_only_lacks_tables_is_read_as_it_is_and_brought_up_to_date_by_a_change(
    tmp_path: Path,
) -> None:
    old = _created(tmp_path)
    newer = Database(old.path, migrations=ADDING)
    with newer.read() as connection:
        assert connection.execute("SELECT count(*) FROM later").fetchone()[0] == 0
    assert newer.check() == []
    assert _raw(old, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    with old.write() as connection:  # the older cryptocast still can
        connection.execute(FIT, ("0" * 64,))
        with newer.read() as reader:  # and a newer one reads meanwhile
            assert reader.execute("SELECT count(*) FROM later").fetchone()[0] == 0
    with newer.write() as connection:
        connection.execute("INSERT INTO later VALUES (7)")
    with newer.read() as connection:
        assert connection.execute("SELECT x FROM later").fetchall()[0][0] == 7
        assert connection.execute("SELECT count(*) FROM fits").fetchone()[0] == 1
    assert _raw(old, "PRAGMA user_version") == [(SCHEMA_VERSION + 1,)]


def test_an_older_schema_that_must_change_to_be_read_is_brought_up_to_date_by_reading(tmp_path: Path) -> None:
    path = _created(tmp_path).path
    newer = Database(path, migrations=NEXT)
    with newer.read() as connection:
        assert connection.execute("SELECT x FROM later").fetchone()[0] == 1
    newer.create()
    assert _raw(newer, "SELECT count(*) FROM later") == [(1,)]


# sha256 of the statements of each released migration.
RELEASED = ("768f9ae3ac4723ee6ce45a6dc61539eb5f7d3554a513550f238728c8ff83a3ee",)


def test_released_migrations_are_what_they_were() -> None:
    found = tuple(hashlib.sha256("\n".join(statements).encode()).hexdigest() for statements in MIGRATIONS)
    assert found[: len(RELEASED)] == RELEASED


def _first_release(tmp_path: Path) -> Registry:
    """A registry as the first release left it, with two versions of bitcoin and one of ethereum."""
    database = Database(tmp_path / "registry" / "registry.db", migrations=MIGRATIONS[:1])
    database.create()
    registry = Registry(database, Objects(tmp_path / "registry" / "objects"), GateConfig())
    register(registry, "1", coins=("bitcoin", "ethereum"))
    register(registry, "2")
    return registry


def test_a_registry_of_the_first_release_is_read_without_a_change_and_finds_no_evidence(tmp_path: Path) -> None:
    old = _first_release(tmp_path)
    new = Registry.open(tmp_path, create=False)
    assert (new.versions(), new.history()) == (old.versions(), old.history())
    assert new.evidence() == ()
    assert new.evidence_for(BITCOIN, RECIPE) is None
    assert new.trials_on(SERIES, NOW, NOW) == ()
    assert new.verify() == ()
    with contextlib.closing(sqlite3.connect(tmp_path / "registry" / "registry.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables.isdisjoint({"evidence", "trials"})
    register(old, "3")  # by a process of the first release that still runs
    assert len(new.versions()) == 4


def test_the_first_change_to_a_registry_of_the_first_release_brings_it_up_to_date(tmp_path: Path) -> None:
    old = _first_release(tmp_path)
    before = (old.versions(), old.history())
    new = Registry.open(tmp_path, create=False)
    new.record_evidence([evidence()])
    new.record_trials([trial()])
    assert (new.versions(), new.history()) == before
    assert new.evidence_for(BITCOIN, RECIPE) == evidence()
    assert new.trials_on(SERIES, NOW, NOW) == (trial(),)
    assert new.verify() == ()
    with pytest.raises(RegistryError, match=f"has schema {SCHEMA_VERSION}, this cryptocast knows up to 1. Upgrade"):
        old.versions()
    register(new, "3")
    assert len(new.versions()) == 4


def test_many_threads_may_bring_a_registry_up_to_date_at_once(tmp_path: Path) -> None:
    _first_release(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: Registry.open(tmp_path, create=False).record_trials([trial(str(i))]), range(8)))
    registry = Registry.open(tmp_path)
    assert {found.name for found in registry.trials_on(SERIES, NOW, NOW)} == set("01234567")
    assert registry.verify() == ()


def test_a_migration_that_fails_leaves_the_old_schema(tmp_path: Path) -> None:
    path = _created(tmp_path).path
    broken = Database(path, migrations=(*MIGRATIONS, ("CREATE TABLE later (x INTEGER)", "CREATE TABLE fits (x)")))
    with pytest.raises(RegistryError, match="fits already exists"):
        broken.create()
    assert Database(path).check() == []
    assert _raw(broken, "SELECT name FROM sqlite_master WHERE name = 'later'") == []


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


def test_while_it_is_held_the_log_is_not_brought_into_the_file_by_each_who_closes_it(tmp_path: Path) -> None:
    database, log = _created(tmp_path), tmp_path / "registry.db-wal"
    with database.held():
        for name in ("a", "b"):
            with database.write() as connection:
                connection.execute(FIT, (64 * name,))
            assert log.stat().st_size > 0
    assert not log.exists()
    assert _raw(database, "SELECT count(*) FROM fits") == [(2,)]


def test_a_registry_that_is_not_there_or_cannot_be_read_is_held_for_nothing(tmp_path: Path) -> None:
    with Database(tmp_path / "registry.db").held():
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "registry.db").write_bytes(b"no database" * 100)
    with Database(tmp_path / "registry.db").held():
        pass
