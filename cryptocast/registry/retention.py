"""What may go: old versions that nothing needs any more, and artefacts that belong to no fit."""
# ruff: noqa: S608 - the texts put together here are column names of this package; every value is bound.

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from cryptocast.registry.database import Connection, Database
from cryptocast.registry.experiments import all_tests
from cryptocast.registry.objects import Objects
from cryptocast.registry.tables import KEY, row_key
from cryptocast.registry.version import PRODUCTION, VersionKey

StrayFile: TypeAlias = tuple[Path, int]  # and its bytes
EachStray: TypeAlias = Callable[[Sequence[StrayFile]], Iterable[StrayFile]]
HALF_WRITTEN_S: Final = 3600.0  # an artefact that is being written is younger than that


class Deletion(msgspec.Struct, frozen=True, kw_only=True):
    """What was deleted, or would be. `bytes` counts the artefacts alone."""

    versions: tuple[tuple[VersionKey, int], ...]
    fits: int
    objects: int
    bytes: int


def collect(database: Database, objects: Objects, keep: int, *, dry_run: bool, each: EachStray = iter) -> Deletion:
    """Delete all but the newest `keep` versions of each key, then fits without versions, then their artefacts.

    What an alias stands at, what production would be rolled back to, what a running A/B test compares and what has rows
    in the ledger stays, whatever its age. The versions go in one transaction; the artefacts after it, while no other
    process can register: a kill in between leaves files that nothing refers to, for the next time. each: passes the
    files on as they are deleted. Raises ValueError for keep below 1.
    """
    if keep < 1:
        raise ValueError(f"keep is {keep}, expected 1 or more")
    if dry_run:
        with database.read() as connection:
            leaving, fits, referenced = _plan(connection, keep)
            strays = objects.strays(referenced, before=time.time() - HALF_WRITTEN_S)
        return _deletion(leaving, fits, strays)
    with database.write() as connection:
        leaving, fits, _ = _plan(connection, keep)
        connection.executemany("DELETE FROM versions WHERE id = ?", [(version_id,) for version_id, _, _ in leaving])
        connection.executemany("DELETE FROM fits WHERE fit_id = ?", [(fit,) for fit in fits])
    with database.write() as connection:  # nothing can be registered meanwhile: `register` puts its files inside one
        referenced = {row[0] for row in connection.execute("SELECT DISTINCT sha256 FROM fit_artefacts")}
        strays = objects.strays(referenced, before=time.time() - HALF_WRITTEN_S)
        for path, _ in each(strays):
            objects.remove(path)
    return _deletion(leaving, fits, strays)


def _deletion(
    versions: list[tuple[int, VersionKey, int]], fits: set[str], strays: Sequence[tuple[Path, int]]
) -> Deletion:
    return Deletion(
        versions=tuple((key, number) for _, key, number in versions),
        fits=len(fits),
        objects=len(strays),
        bytes=sum(size for _, size in strays),
    )


def _plan(connection: Connection, keep: int) -> tuple[list[tuple[int, VersionKey, int]], set[str], set[str]]:
    """The rows of versions to go, the fits that go with them, and the hashes that are still wanted afterwards."""
    needs = _needs(connection)
    rows = connection.execute(f"SELECT id, {KEY}, number, fit_id FROM versions ORDER BY {KEY}, number DESC").fetchall()
    counts: dict[VersionKey, int] = {}
    leaving, fits, staying = list[tuple[int, VersionKey, int]](), set[str](), set[str]()
    for row in rows:
        key = row_key(row)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] > keep and (key, row["number"]) not in needs:
            leaving.append((row["id"], key, row["number"]))
            fits.add(row["fit_id"])
        else:
            staying.add(row["fit_id"])
    fits -= staying
    referenced = {
        row["sha256"]
        for row in connection.execute("SELECT fit_id, sha256 FROM fit_artefacts")
        if row["fit_id"] not in fits
    }
    return leaving, fits, referenced


def _needs(connection: Connection) -> set[tuple[VersionKey, int]]:
    tables = ("aliases", "ledger", "calibration_states")
    needs = {
        (row_key(row), row["number"])
        for table in tables
        for row in connection.execute(f"SELECT DISTINCT {KEY}, number FROM {table}")
    }
    before = connection.execute(
        f"SELECT {KEY}, previous FROM history WHERE alias = ? AND previous IS NOT NULL", (PRODUCTION,)
    )
    needs |= {(row_key(row), row["previous"]) for row in before}
    for test in all_tests(connection):
        if test.end is None:
            needs |= {(test.start.key, test.start.production), (test.start.key, test.start.challenger)}
    return needs
