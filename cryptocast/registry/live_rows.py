"""Matured forecasts as columns: all that live scores are computed from, a hundredth of the work of reading the ledger.

What has matured never changes, so it is kept in parts beside the ledger: as many outcomes each, in the order in which
they were written, as bytes that NumPy reads as they are. Only what came after the last part is read from the ledger.
A part that is damaged, or of a release that kept other columns, is as if it, and those after it, were not there.
"""
# ruff: noqa: S608 - the texts put together here are names of this package's tables; every value is bound.

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from cryptocast.arrays import BoolArray, Int64Array
from cryptocast.models.tails import TAIL_INTERVALS, interval_ends
from cryptocast.registry.database import Connection
from cryptocast.registry.ledger import IDENTITY, LEDGER, OUTCOMES, LedgerOutcome, MaturedRow, identity_of
from cryptocast.registry.lineage import Lineage
from cryptocast.registry.manifest import sha256_hex
from cryptocast.registry.tables import KEY, KEY_IS, blob, key_values, time_text
from cryptocast.registry.version import VersionKey
from cryptocast.times import as_datetime, as_microseconds

INTERVALS: Final = (80, 95)
PERCENTS: Final = (*INTERVALS, *TAIL_INTERVALS)
WIDTH_OF: Final = 80
PART: Final = 32  # outcomes
# Times in microseconds; width: of the 80 % interval, as a share of the price at issue; hits: whether the outcome lay
# inside each interval of PERCENTS.
COLUMNS: Final = np.dtype(
    [
        ("number", "<i4"),
        ("horizon", "<i4"),
        ("issued_at", "<i8"),
        ("written_at", "<i8"),
        ("crps", "<f8"),
        ("pit_low", "<f8"),
        ("pit_high", "<f8"),
        ("width", "<f8"),
        ("hits", "?", (len(PERCENTS),)),
    ]
)
_LAYOUT: Final = repr((COLUMNS.descr, PERCENTS)).encode()
_SAME: Final = " AND ".join(f"v.{column} = ?" for column in IDENTITY)

LiveRows: TypeAlias = npt.NDArray[Any]  # (n,) of COLUMNS


def live_rows(pairs: Sequence[MaturedRow]) -> LiveRows:
    """The columns of forecasts and what came of them, in their order."""
    rows = np.zeros(len(pairs), dtype=COLUMNS)
    if not pairs:
        return rows
    rows["number"] = [row.number for row, _ in pairs]
    rows["horizon"] = [row.horizon for row, _ in pairs]
    rows["issued_at"] = [as_microseconds(row.issued_at) for row, _ in pairs]
    rows["written_at"] = [as_microseconds(row.written_at) for row, _ in pairs]
    for name in ("crps", "pit_low", "pit_high"):
        rows[name] = [getattr(outcome, name) for _, outcome in pairs]
    returns = np.array([outcome.log_return for _, outcome in pairs])
    quantiles = np.array([row.quantiles for row, _ in pairs])
    for place, percent in enumerate(PERCENTS):
        lower, upper = interval_ends(quantiles, percent)
        rows["hits"][:, place] = (lower <= returns) & (returns <= upper)
        if percent == WIDTH_OF:
            rows["width"] = np.exp(upper) - np.exp(lower)
    return rows


def matured_rows(connection: Connection, key: VersionKey, number: int) -> LiveRows:
    """The forecasts of one version whose outcome is known, by issue and horizon."""
    parts, through = _parts(connection, key, number)
    kept = np.frombuffer(b"".join(parts), dtype=COLUMNS)
    rows = np.concatenate([kept, live_rows(_since(connection, key, number, through))])
    return np.asarray(rows[np.lexsort((rows["horizon"], rows["issued_at"]))])


def lineage_rows(connection: Connection, lineage: Lineage, key: VersionKey, number: int) -> LiveRows:
    """The columns of `ledger.live_record`: one row for each bar and horizon, by issue."""
    chain = lineage.chain(number)
    if len(chain) == 1:
        return matured_rows(connection, key, number)
    rows = np.concatenate([matured_rows(connection, key, member) for member in chain])
    in_production, is_own = _in_production(lineage, rows), rows["number"] == number
    first = in_production if number in lineage.tenures else is_own
    rows, rank = rows[in_production | is_own], np.where(first, 0, 1)[in_production | is_own]
    rows = rows[np.lexsort((rows["number"], rows["written_at"], rank, rows["horizon"], rows["issued_at"]))]
    bars = np.stack([rows["issued_at"], rows["horizon"].astype(np.int64)], axis=1)
    return np.asarray(rows[np.append(True, (np.diff(bars, axis=0) != 0).any(axis=1))[: len(rows)]])


def newest_pairs(connection: Connection, key: VersionKey, rows: LiveRows, horizon: int, most: int) -> list[MaturedRow]:
    """The newest forecasts of a horizon among these rows and what came of them, at most so many, by issue: read from
    the ledger, and of it nothing else."""
    newest = rows[rows["horizon"] == horizon][-most:]
    pairs: dict[int, MaturedRow] = {}
    for number in np.unique(newest["number"]).tolist():
        issued = set(newest["issued_at"][newest["number"] == number].tolist())
        members = {**key.columns, "number": number, "horizon": horizon}
        same = " AND ".join(f"v.{column} = ?" for column in members)
        where, values = f"{same} AND v.issued_at >= ?", (*members.values(), time_text(as_datetime(min(issued))))
        outcomes = {as_microseconds(one.issued_at): one for one in OUTCOMES.read(connection, where, values)}
        for row in LEDGER.read(connection, where, values):
            if (at := as_microseconds(row.issued_at)) in issued:
                pairs[at] = (row, outcomes[at])
    return [pairs[at] for at in sorted(pairs)]


def write_parts(connection: Connection, new: Sequence[LedgerOutcome]) -> None:
    """Keep in parts what the versions of outcomes that have just been written have matured."""
    for key, number in dict.fromkeys((outcome.key, outcome.number) for outcome in new):
        if not _fills_part(connection, key, number):
            continue
        parts, through = _parts(connection, key, number)
        rest = _since(connection, key, number, through)
        for part in range(len(rest) // PART):
            pairs = rest[part * PART : (part + 1) * PART]
            _write(connection, key, number, len(parts) + part, pairs)


def _fills_part(connection: Connection, key: VersionKey, number: int) -> bool:
    """Whether there are outcomes enough behind the last part, which is not read for that."""
    where, values = f"{KEY_IS} AND number = ?", (*key_values(key), number)
    last = f"SELECT coalesce(max(through), 0) FROM live_parts WHERE {where}"
    query = f"SELECT count(*) FROM outcomes WHERE {where} AND id > ({last})"
    return int(connection.execute(query, (*values, *values)).fetchone()[0]) >= PART


def _write(connection: Connection, key: VersionKey, number: int, part: int, pairs: Sequence[MaturedRow]) -> None:
    data, values = live_rows(pairs).tobytes(), key_values(key)
    same = " AND ".join(f"{column} = ?" for column in IDENTITY)
    (through,) = connection.execute(f"SELECT id FROM outcomes WHERE {same}", identity_of(pairs[-1][1])).fetchone()
    connection.execute(
        f"INSERT OR REPLACE INTO live_parts ({KEY}, number, part, through, data, digest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, number, part, through, data, _digest(values, number, part, through, data)),
    )


def _parts(connection: Connection, key: VersionKey, number: int) -> tuple[list[bytes], int]:
    """The parts that can be read, and the id of the last outcome in them; 0: there are none."""
    values = key_values(key)
    rows = connection.execute(
        f"SELECT part, through, data, digest FROM live_parts WHERE {KEY_IS} AND number = ? ORDER BY part",
        (*values, number),
    ).fetchall()
    parts, through = list[bytes](), 0
    for part, row in enumerate(rows):
        data = blob(row["data"])
        if row["part"] != part or row["digest"] != _digest(values, number, part, row["through"], data):
            break
        parts.append(data)
        through = row["through"]
    return parts, through


def _digest(key: tuple[str, ...], number: int, part: int, through: int, data: bytes) -> str:
    return sha256_hex(repr((key, number, part, through)).encode() + _LAYOUT + data)


def _since(connection: Connection, key: VersionKey, number: int, through: int) -> list[MaturedRow]:
    """What the outcomes behind an id are of, in the order of their writing."""
    where = (
        f"{' AND '.join(f'v.{column} = ?' for column in KEY.split(', '))} AND v.number = ? AND v.id > ? ORDER BY v.id"
    )
    outcomes = OUTCOMES.read(connection, where, (*key_values(key), number, through))
    return [(row, o) for o in outcomes for row in LEDGER.read(connection, _SAME, identity_of(o))]


def _in_production(lineage: Lineage, rows: LiveRows) -> BoolArray:
    """(n,) whether each row's version was in production when it was written."""
    inside = np.zeros(len(rows), dtype=np.bool_)
    written: Int64Array = rows["written_at"]
    for number, tenures in lineage.tenures.items():
        for start, end in tenures:
            during = written >= _microseconds(start)
            inside |= (rows["number"] == number) & (during if end is None else during & (written <= _microseconds(end)))
    return inside


def _microseconds(text: str) -> int:
    return as_microseconds(datetime.fromisoformat(text))
