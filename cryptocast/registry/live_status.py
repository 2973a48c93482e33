"""What was last found about a version live: whether it is degraded, which features drifted, and since when.

Written by scoring, read with every forecast: one row of one version. The row can be made anew at any time, so it is
replaced and not kept; what it rests on, ledger and outcomes, is.
"""
# ruff: noqa: S608 - the texts put together here are names of this package's tables; every value is bound.

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cryptocast.errors import RegistryError
from cryptocast.evaluation.records import Record
from cryptocast.registry.database import Connection
from cryptocast.registry.manifest import canonical_json, decode, sha256_hex
from cryptocast.registry.reasons import Reason
from cryptocast.registry.tables import DAMAGED, KEY, KEY_IS, key_values, matching, row_key
from cryptocast.registry.version import VersionKey
from cryptocast.times import Moment


class Drift(Record, frozen=True, kw_only=True):
    """A feature whose values since the training are not spread as in it: its population stability index, and the
    largest one that stretches as long had within the training."""

    feature: str
    psi: float
    usual: float


class LiveMark(Record, frozen=True, kw_only=True):
    """How a version stood at a bar. number: the version's; at: close of the last bar known.

    bars: that have matured, at the horizon with most. degraded: why it should not be trusted as it was;
    degraded_since: the bar at which that was first so, and has been since. drift: the worst first; drift_bars: bars
    since the training, 0: too few to tell; drift_since likewise.
    """

    number: Annotated[int, Meta(ge=1)]
    at: Moment
    bars: Annotated[int, Meta(ge=0)] = 0
    degraded: tuple[Reason | str, ...] = ()  # texts: of an earlier release
    degraded_since: Moment | None = None
    drift: tuple[Drift, ...] = ()
    drift_bars: Annotated[int, Meta(ge=0)] = 0
    drift_since: Moment | None = None


def read_mark(connection: Connection, key: VersionKey, number: int) -> LiveMark | None:
    """None: the version was never judged live. Raises RegistryError if the row is damaged."""
    row = connection.execute(
        f"SELECT * FROM live_marks WHERE {KEY_IS} AND number = ?", (*key_values(key), number)
    ).fetchone()
    return None if row is None else _mark(row)


def latest_mark(connection: Connection, key: VersionKey, chain: Sequence[int]) -> LiveMark | None:
    """That of the first of these versions that has one: what was last found about a lineage, its youngest first."""
    marks = (read_mark(connection, key, number) for number in chain)
    return next((mark for mark in marks if mark is not None), None)


def write_mark(connection: Connection, key: VersionKey, mark: LiveMark, chain: Sequence[int]) -> None:
    """In the place of the one that stands, unless that was made at a later bar; `since` goes on while it lasts.

    chain: the version and those before it (see `Lineage.chain`), whose `since` the first mark of a version takes over.
    """
    try:
        before = latest_mark(connection, key, chain)
    except RegistryError:
        before = None
    if before is not None and before.number == mark.number and before.at > mark.at:
        return
    version = connection.execute(
        f"SELECT 1 FROM versions WHERE {KEY_IS} AND number = ?", (*key_values(key), mark.number)
    ).fetchone()
    if version is None:  # somebody has tidied up meanwhile
        return
    data = canonical_json(
        msgspec.structs.replace(
            mark,
            degraded_since=_since(mark.at, mark.degraded, before.degraded_since if before else None),
            drift_since=_since(mark.at, mark.drift, before.drift_since if before else None),
        )
    )
    connection.execute(
        f"INSERT OR REPLACE INTO live_marks ({KEY}, number, record, digest) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (*key_values(key), mark.number, data, sha256_hex(data)),
    )


def _since(at: datetime, faults: tuple[object, ...], before: datetime | None) -> datetime | None:
    return (before or at) if faults else None


def live_state(connection: Connection) -> list[tuple[object, ...]]:
    """What forecasts say of each version that has a mark: not the bar that it was made at."""
    marks: list[tuple[object, ...]] = []
    for row in connection.execute(f"SELECT * FROM live_marks ORDER BY {KEY}, number").fetchall():
        try:
            mark = _mark(row)
            marks.append((*key_values(row_key(row)), mark.number, str(mark.degraded), mark.degraded_since))
        except RegistryError:
            marks.append((row["digest"],))
    return marks


def mark_faults(connection: Connection) -> Iterator[tuple[str, str]]:
    """Where a mark is not what was written."""
    for row in connection.execute("SELECT * FROM live_marks").fetchall():
        try:
            _mark(row)
        except RegistryError as error:
            yield f"live mark of version {row['number']} of {row_key(row)}", str(error)


def _mark(row: Any) -> LiveMark:
    where = f"The live mark of version {row['number']} of {row_key(row)}"
    remedy = "It can be made again: cryptocast registry score."
    mark = decode(matching(row["record"], row["digest"], where, remedy), LiveMark, where)
    if mark.number != row["number"]:
        raise RegistryError(f"{where} is another one's. {DAMAGED}")
    return mark
