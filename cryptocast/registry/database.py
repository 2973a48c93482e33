"""registry.db: SQLite in WAL, one short connection per read or change, every change one BEGIN IMMEDIATE transaction.

The only module that imports sqlite3. Errors of SQLite leave it as RegistryError; a busy database is waited for.
"""

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from filelock import FileLock, Timeout

from cryptocast.errors import RegistryError
from cryptocast.files import OWN_FILE, create_own_file, make_own_folder, write_refusal
from cryptocast.registry.schema import MIGRATIONS

log = logging.getLogger(__name__)

Connection: TypeAlias = sqlite3.Connection
Row: TypeAlias = sqlite3.Row

# What SQLite may answer, even with a busy timeout, while another process opens, recovers or closes the same file.
BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
# What it answers where the log and the index of WAL cannot be made beside the file: a folder that is read-only or
# another user's, a full disk.
UNWRITABLE: Final = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
RETRY_S: Final = 0.02


class Database:
    """One registry.db. Reading where there is none yet finds it empty and creates nothing.

    is_made: by the first change, where there is none; else a change needs one.
    """

    def __init__(
        self,
        path: Path,
        *,
        busy_timeout_s: float = 30.0,
        migrations: Sequence[Sequence[str]] = MIGRATIONS,
        is_made: bool = False,
    ) -> None:
        self.path = path
        self._is_made = is_made
        self._timeout_s = busy_timeout_s
        self._migrations = migrations

    def prepare(self) -> None:
        """RegistryError unless a change could be made; what is there is brought up to date, what is not is not made."""
        if self.path.is_file():
            self.create()
        elif (refusal := write_refusal(self.path.parent)) is not None:
            raise RegistryError(f"The registry folder {self.path.parent} cannot be made: {refusal}. Check its rights.")

    def create(self) -> None:
        """Make the file and its tables if they are not there, and bring older ones up to date."""
        try:
            make_own_folder(self.path.parent)
        except OSError as error:
            raise RegistryError(
                f"The registry folder {self.path.parent} cannot be made: {error.strerror or error}. Check its rights."
            ) from error
        with self._errors():
            self._migrate(create=True)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one moment of the registry, whatever others write meanwhile.

        An older registry stays as it is and its missing tables read as empty, so that looking at it does not shut out
        the older cryptocast that may still serve from it. One that cannot be written is read all the same.
        """
        with self._errors():
            try:
                connection = self._begun(self._open(change=False) or self._in_memory())
            except (sqlite3.OperationalError, OSError) as error:
                if isinstance(error, sqlite3.Error) and _code(error) not in UNWRITABLE:
                    raise
                with self._as_it_is(error) as connection:
                    yield connection
                return
            with contextlib.closing(connection):
                yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection inside one transaction: committed at the end, undone by any exception.

        Brings an older registry up to date first.
        """
        with self._errors():
            connection = self._open(change=True)
            if connection is None and self._is_made:
                self.create()
                connection = self._open(change=True)
            if connection is None:
                raise RegistryError(f"There is no registry at {self.path} yet. Train a model first: cryptocast train.")
            with contextlib.closing(connection):
                self._patiently(connection, "BEGIN IMMEDIATE")
                # Closing without COMMIT undoes everything, as a kill does.
                yield connection
                connection.execute("COMMIT")

    @contextlib.contextmanager
    def held(self, *, made: bool = False) -> Iterator[None]:
        """While this lasts a connection stays open, so that not each of many closes the file as the last one: which
        brings the log into it and takes longer than what is read or written. made: for what is going to be written, so
        that what is asked before need not make a registry in memory each time."""
        if made and not self.path.is_file():
            self.create()
        try:
            connection = self._open(change=False)
            if connection is not None:
                connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except (sqlite3.Error, OSError, RegistryError):  # said by whoever reads or writes
            connection = None
        try:
            yield
        finally:
            if connection is not None:
                connection.close()

    def check(self) -> list[str]:
        """What SQLite itself finds wrong with the file; empty if nothing. Does not raise for a damaged file."""
        try:
            with self.read() as connection:
                lines = [str(row[0]) for row in connection.execute("PRAGMA integrity_check")]
                strays = connection.execute("PRAGMA foreign_key_check").fetchall()
        except RegistryError as error:
            return [str(error)]
        lines = [] if lines == ["ok"] else lines
        return lines + [f"a row of {row[0]} refers to a row of {row[2]} that is not there" for row in strays]

    def _open(self, *, change: bool) -> Connection | None:
        """A connection to the tables; None where there are none. Refuses newer ones.

        Older ones are migrated for a change, and for reading where empty new tables would not stand in for them.
        """
        if not self.path.is_file():
            return None
        connection = self._connect()
        try:
            version = self._version(connection)
            if 0 < version < len(self._migrations) and (change or not _only_adds(self._migrations[version:])):
                self._migrate(create=False)
        except BaseException:
            connection.close()
            raise
        if version == 0:  # another process is about to fill it
            connection.close()
            return None
        return connection

    def _begun(self, connection: Connection) -> Connection:
        """The connection, in a transaction that reads one moment; closed if that cannot be."""
        try:
            self._patiently(connection, "BEGIN")
            self._patiently(connection, "SELECT 1 FROM fits LIMIT 1")  # a plain BEGIN sees from its first read on
            _stand_in(connection, self._migrations[self._version(connection) :])
        except BaseException:
            connection.close()
            raise
        return connection

    def _in_memory(self, source: Connection | None = None) -> Connection:
        """A copy of a registry, or an empty one, with the tables of now."""
        copy = sqlite3.connect(":memory:", isolation_level=None)
        copy.row_factory = sqlite3.Row
        if source is not None:
            source.backup(copy)
        _apply(copy, self._migrations, start=self._version(copy))
        return copy

    @contextlib.contextmanager
    def _as_it_is(self, error: sqlite3.OperationalError | OSError) -> Iterator[Connection]:
        """For reading where nothing can be written. Once the last who wrote has closed the database it holds everything
        by itself; before, its log is read too, if the index of the log is there. error: of opening it as usual."""
        place = str(self.path)
        before, has_log = file_facts(place), file_facts(f"{place}-wal") is not None
        if has_log and file_facts(f"{place}-shm") is None:
            raise RegistryError(
                f"The registry {self.path} holds changes in {self.path.name}-wal that cannot be read, because"
                f" its folder cannot be written ({error}). Read it once where it can: cryptocast registry list."
            ) from error
        address = f"{self.path.absolute().as_uri()}?mode=ro{'' if has_log else '&immutable=1'}"
        with contextlib.closing(
            sqlite3.connect(address, uri=True, timeout=self._timeout_s, isolation_level=None)
        ) as db:
            db.row_factory = sqlite3.Row
            version = self._version(db)
            if version == 0 or not _only_adds(self._migrations[version:]):
                with contextlib.closing(self._begun(self._in_memory(db))) as copy:
                    yield copy
            else:
                yield self._begun(db)
        if not has_log and (file_facts(place), file_facts(f"{place}-wal")) != (before, None):
            raise RegistryError(f"The registry {self.path} was changed while it was read. Try again.")

    def _migrate(self, *, create: bool) -> None:
        """Under a file lock, because a switch to WAL does not wait for other connections as everything else does."""
        lock = FileLock(self.path.with_name("registry.lock"), timeout=self._timeout_s, mode=OWN_FILE)
        with lock, contextlib.closing(self._connect(create=create)) as connection:
            version = self._version(connection)
            if version == len(self._migrations):
                return
            if version == 0:
                self._patiently(connection, "PRAGMA journal_mode = WAL")
            self._patiently(connection, "BEGIN IMMEDIATE")
            _apply(connection, self._migrations, start=version)
            connection.execute("COMMIT")
            log.info("registry %s: schema %d -> %d", self.path, version, len(self._migrations))

    def _connect(self, *, create: bool = False) -> Connection:
        if create:
            create_own_file(self.path)  # the log and the index beside it get the same rights
        address = f"{self.path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
        connection = sqlite3.connect(address, uri=True, timeout=self._timeout_s, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA recursive_triggers = ON")
        connection.execute("PRAGMA synchronous = FULL")  # a commit that was reported survives a power cut
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    def _version(self, connection: Connection) -> int:
        version = int(self._patiently(connection, "PRAGMA user_version").fetchone()[0])
        if version > len(self._migrations):
            raise RegistryError(
                f"The registry {self.path} has schema {version}, this cryptocast knows up to {len(self._migrations)}. "
                "Upgrade cryptocast, or name another store."
            )
        return version

    def _patiently(self, connection: Connection, statement: str) -> sqlite3.Cursor:
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return connection.execute(statement)
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(RETRY_S)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except Timeout as error:
            raise RegistryError(self._busy_message()) from error
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                raise RegistryError(self._busy_message()) from error
            raise RegistryError(
                f"The registry {self.path} cannot be used: {error}. Check the folder's rights and free space."
            ) from error
        except sqlite3.IntegrityError as error:
            raise RegistryError(f"The registry {self.path} refuses the change: {error}.") from error
        except (sqlite3.DatabaseError, UnicodeDecodeError, IndexError) as error:
            # The last two: a flipped byte in the tables' own description, which sqlite3 cannot decode or name.
            raise RegistryError(
                f"The registry {self.path} is damaged: {error}. Restore a backup, or move it away and train again."
            ) from error
        except OSError as error:
            raise RegistryError(f"The registry {self.path} cannot be opened: {error.strerror or error}.") from error

    def _busy_message(self) -> str:
        return f"Another process has kept the registry {self.path} busy for {self._timeout_s:.0f} s. Try again."


def _apply(connection: Connection, migrations: Sequence[Sequence[str]], *, start: int) -> None:
    for statements in migrations[start:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _only_adds(migrations: Sequence[Sequence[str]]) -> bool:
    """Whether nothing but new tables comes, with what guards and finds their rows."""
    added = ("CREATE TABLE ", "CREATE INDEX ", "CREATE TRIGGER ")
    return all(statement.startswith(added) for statements in migrations for statement in statements)


def _stand_in(connection: Connection, migrations: Sequence[Sequence[str]]) -> None:
    """Empty tables for those that come with these migrations, in memory and seen by this connection alone."""
    for statements in migrations:
        for statement in statements:
            if statement.startswith("CREATE TABLE "):
                connection.execute(statement.replace("CREATE TABLE ", "CREATE TEMP TABLE ", 1))


def file_facts(path: str) -> tuple[int, int] | None:
    """What tells one state of a file from another; None where there is none, or an empty one."""
    try:
        status = os.stat(path)  # noqa: PTH116 - Path.stat takes three times as long
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if status.st_size else None


def _is_busy(error: sqlite3.Error) -> bool:
    return _code(error) in BUSY


def _code(error: sqlite3.Error) -> int:
    # Extended codes carry the primary one in the low byte.
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
