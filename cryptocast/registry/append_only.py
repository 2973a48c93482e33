"""Append-only tables of records: evidence and trials. What is read is checked against its hash and its columns."""
# ruff: noqa: S608 - the texts put together here are names of this package's tables; every value is bound.

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, TypeVar

import msgspec

from cryptocast.errors import RegistryError
from cryptocast.evaluation.records import Evidence, Record, Trial, TrialCommand
from cryptocast.registry.database import Connection, Row
from cryptocast.registry.manifest import canonical_json, decode, sha256_hex
from cryptocast.registry.tables import DAMAGED, Where, conditions, matching, time_text
from cryptocast.registry.version import VersionKey

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Journal(Generic[R]):
    """One such table: its name, what its records are, the columns to find them by, and those that identify a row.

    moment: the field that says when a record was made, which does not make it another one.
    """

    table: str
    kind: type[R]
    columns: Callable[[R], Mapping[str, object]]
    identity: tuple[str, ...]
    moment: str

    def append(self, connection: Connection, records: Sequence[R]) -> list[R]:
        """Write those that are not there yet, and return them. One that is there stands, whatever the new one says."""
        new = []
        same = " AND ".join(f"v.{column} = ?" for column in self.identity)
        for record in records:
            columns = self.columns(record)
            identity = [columns[column] for column in self.identity]
            stands = self.read(connection, same, identity)
            if not stands:
                data = canonical_json(record)
                self._insert(connection, {**columns, "record": data, "digest": sha256_hex(data)})
                new.append(record)
            elif msgspec.structs.replace(stands[0], **{self.moment: getattr(record, self.moment)}) != record:
                name = ", ".join(map(str, identity))
                log.warning("%s: %s was recorded before with other contents, which stand", self.table, name)
        return new

    def read(self, connection: Connection, where: str, values: Sequence[object]) -> list[R]:
        """The records of the rows `v` that an SQL condition (and order) selects. Raises RegistryError if damaged."""
        rows = connection.execute(f"SELECT v.* FROM {self.table} v WHERE {where}", values)
        return [self.decode(row) for row in rows]

    def matching(self, connection: Connection, where: Where) -> list[R]:
        """The records whose columns have these values, in the order in which they were written."""
        text, values = conditions(where)
        return self.read(connection, f"{text} ORDER BY id", values)

    def decode(self, row: Row) -> R:
        """The record of a row. Raises RegistryError if it is not what was written."""
        where = f"Row {row['id']} of the {self.table}"
        record = decode(matching(row["record"], row["digest"], where), self.kind, where)
        if any(row[column] != value for column, value in self.columns(record).items()):
            raise RegistryError(f"{where} has other columns than its record says. {DAMAGED}")
        return record

    def faults(self, connection: Connection) -> Iterator[tuple[str, str]]:
        """Where something is wrong, and what: damaged rows, and rows that were taken away."""
        expected = 1
        for row in connection.execute(f"SELECT * FROM {self.table} ORDER BY id").fetchall():
            if row["id"] != expected:
                yield self._gap(expected, row["id"] - 1)
            expected = row["id"] + 1
            try:
                self.decode(row)
            except RegistryError as error:
                yield f"row {row['id']} of the {self.table}", str(error)
        last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (self.table,)).fetchone()
        if (last["seq"] if last else 0) != expected - 1:
            yield self._gap(expected, last["seq"] if last else "?")

    def _gap(self, first: int, last: object) -> tuple[str, str]:
        return f"rows {first} to {last} of the {self.table}", "they are missing, and rows are never taken away"

    def _insert(self, connection: Connection, row: Mapping[str, object]) -> None:
        marks = ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO {self.table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def _evidence_columns(record: Evidence) -> dict[str, object]:
    return {
        "run": record.run,
        "recipe": record.recipe,
        "coin": record.coin or "",
        "kind": record.kind,
        "source": record.source,
        "vs": record.vs,
        "granularity": record.granularity,
        "coins": f",{','.join(record.coins)},",
        "end_at": time_text(record.end),
        "recorded_at": time_text(record.recorded_at),
    }


def _trial_columns(record: Trial) -> dict[str, object]:
    return {
        "run": record.run,
        "series": record.series,
        "name": record.name,
        "command": record.command,
        "start_at": time_text(record.start),
        "end_at": time_text(record.end),
    }


EVIDENCE: Final = Journal("evidence", Evidence, _evidence_columns, ("run", "recipe", "coin"), "recorded_at")
TRIALS: Final = Journal("trials", Trial, _trial_columns, ("run", "series", "name"), "at")


def evidence_for(connection: Connection, key: VersionKey, recipe: str, within: timedelta) -> Evidence | None:
    """The evidence about a recipe on a coin, else that which was pooled over coins with it among them: `most_telling`
    of the walks that ended no longer than `within` before the newest."""
    where = "v.recipe = ? AND v.source = ? AND v.vs = ? AND v.granularity = ? AND v.coin = ?"
    series = (recipe, key.source, key.vs, key.granularity)
    walks = _recent(connection, where, (*series, key.coin), within)
    if not walks:
        values = (*series, "", f",{key.coin},")
        walks = _recent(connection, f"{where} AND instr(v.coins, ?) > 0", values, within)
    return most_telling(walks, origins=_origins)


def most_telling(newest_first: Sequence[T], *, origins: Callable[[T], int]) -> T | None:
    """The newest with at least half as many origins as the one that has most; None of none.

    A short walk over the last weeks says less than the long one it follows, and may not stand in its place; one that
    is nearly as long and newer may.
    """
    most = max(map(origins, newest_first), default=0)
    return next((walk for walk in newest_first if 2 * origins(walk) >= most), None)


def _recent(connection: Connection, where: str, values: Sequence[object], within: timedelta) -> list[Evidence]:
    """Newest first, without those that ended longer than that before the first."""
    newest = connection.execute(f"SELECT max(v.end_at) AS end_at FROM evidence v WHERE {where}", values).fetchone()
    if newest["end_at"] is None:
        return []
    order = "ORDER BY v.end_at DESC, v.recorded_at DESC, v.id DESC"
    try:
        since = time_text(datetime.fromisoformat(newest["end_at"]) - within)
    except ValueError as error:
        raise RegistryError(f"The evidence ends at {newest['end_at'][:40]!a}. {DAMAGED}") from error
    return EVIDENCE.read(connection, f"{where} AND v.end_at >= ? {order}", (*values, since))


def _origins(walk: Evidence) -> int:
    return max(score.dates for score in walk.scores)


def trials_on(
    connection: Connection, series: str, start: datetime, end: datetime, command: TrialCommand | None
) -> list[Trial]:
    """The trials on a series whose span shares at least a moment with this one, in the order of their recording."""
    text, values = conditions({"series": series} if command is None else {"series": series, "command": command})
    where = f"{text} AND v.end_at >= ? AND v.start_at <= ? ORDER BY v.id"
    return TRIALS.read(connection, where, (*values, time_text(start), time_text(end)))
