"""Append-only tables of records: evidence and trials. What is read is checked against its hash and its columns."""
# ruff: noqa: S608 - the texts put together here are names of this package's tables; every value is bound.

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from cryptocast.config import Granularity
from cryptocast.errors import RegistryError
from cryptocast.evaluation.records import Evidence, Record, Trial, TrialCommand
from cryptocast.registry.database import Connection, Row
from cryptocast.registry.manifest import canonical_json, decode, sha256_hex
from cryptocast.registry.rows import DAMAGED, Where, blob, conditions, time_text

__all__ = ["EVIDENCE", "TRIALS", "Journal", "SeriesLike", "evidence_for", "series_name", "trials_on"]

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)


class SeriesLike(Protocol):
    """Anything that names a series of candles, such as a VersionKey."""

    @property
    def coin(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def vs(self) -> str: ...
    @property
    def granularity(self) -> Granularity: ...


def series_name(key: SeriesLike) -> str:
    """The series as trials name it: sample/usd/daily/bitcoin."""
    return f"{key.source}/{key.vs}/{key.granularity}/{key.coin}"


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
        written = []
        same = " AND ".join(f"v.{column} = ?" for column in self.identity)
        for record in records:
            columns = self.columns(record)
            identity = [columns[column] for column in self.identity]
            stands = self.read(connection, same, identity)
            if not stands:
                data = canonical_json(record)
                self._insert(connection, {**columns, "record": data, "digest": sha256_hex(data)})
                written.append(record)
            elif msgspec.structs.replace(stands[0], **{self.moment: getattr(record, self.moment)}) != record:
                told = ", ".join(map(str, identity))
                log.warning("%s: %s was recorded before with other contents, which stand", self.table, told)
        return written

    def read(self, connection: Connection, where: str, values: Sequence[object]) -> list[R]:
        """The records of the rows `v` that an SQL condition (and order) selects. Raises RegistryError if damaged."""
        found = connection.execute(f"SELECT v.* FROM {self.table} v WHERE {where}", values)
        return [self.decode(row) for row in found]

    def matching(self, connection: Connection, where: Where) -> list[R]:
        """The records whose columns have these values, in the order in which they were written."""
        text, values = conditions(where)
        return self.read(connection, f"{text} ORDER BY id", values)

    def decode(self, row: Row) -> R:
        """The record of a row. Raises RegistryError if it is not what was written."""
        where = f"Row {row['id']} of the {self.table}"
        data = blob(row["record"])
        if sha256_hex(data) != row["digest"]:
            raise RegistryError(f"{where} does not match its hash. {DAMAGED}")
        record = decode(data, self.kind, where)
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


def evidence_for(connection: Connection, key: SeriesLike, recipe: str) -> Evidence | None:
    """The newest evidence about a recipe on a coin, else the newest that was pooled over coins with it among them."""
    where = "v.recipe = ? AND v.source = ? AND v.vs = ? AND v.granularity = ? AND v.coin = ?"
    series = (recipe, key.source, key.vs, key.granularity)
    newest = "ORDER BY v.end_at DESC, v.recorded_at DESC, v.id DESC LIMIT 1"
    found = EVIDENCE.read(connection, f"{where} {newest}", (*series, key.coin))
    if not found:
        values = (*series, "", f",{key.coin},")
        found = EVIDENCE.read(connection, f"{where} AND instr(v.coins, ?) > 0 {newest}", values)
    return found[0] if found else None


def trials_on(
    connection: Connection, series: str, start: datetime, end: datetime, command: TrialCommand | None
) -> list[Trial]:
    """The trials on a series whose span shares at least a moment with this one, in the order of their recording."""
    text, values = conditions({"series": series} if command is None else {"series": series, "command": command})
    where = f"{text} AND v.end_at >= ? AND v.start_at <= ? ORDER BY v.id"
    return TRIALS.read(connection, where, (*values, time_text(start), time_text(end)))
