"""The ledger: each version's forecast of each bar and horizon, what came of it, and the online calibration.

A row is what was, or would have been, served: one for each (version, bar, horizon), however many asked for it. The
first one that is written stands. Outcomes are rows of their own, so that nothing that was forecast is ever touched.
"""
# ruff: noqa: S608 - the texts put together here are names of this package's tables; every value is bound.

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeAlias, TypedDict, TypeVar

from msgspec import Meta

from cryptocast.errors import ModelError, RegistryError
from cryptocast.evaluation.records import Record
from cryptocast.registry.append_only import Journal
from cryptocast.registry.database import Connection
from cryptocast.registry.lineage import Lineage, read_lineage
from cryptocast.registry.manifest import Bars, Probability, canonical_json, decode, sha256_hex
from cryptocast.registry.tables import DAMAGED, KEY, KEY_IS, Where, conditions, key_values, matching, row_key, time_text
from cryptocast.registry.version import KeyedRecord, VersionKey
from cryptocast.times import Moment


class LedgerRecord(KeyedRecord, frozen=True, kw_only=True):
    """One forecast, by version, bar and horizon."""

    number: Annotated[int, Meta(ge=0)]  # 0: the baseline, which has no versions
    issued_at: Moment  # close of the last bar that was known
    horizon: Bars


class LedgerRow(LedgerRecord, frozen=True, kw_only=True):
    """One forecast. quantiles: of the log return, at the levels of `scoring.LEVELS`, as served; base: before the online
    calibration moved them, None where it did not. by_baseline: the version leaves this horizon to the baseline, whose
    forecast it is. Raises ValueError for quantiles that cross."""

    schema: Literal["cryptocast.ledger/1"] = "cryptocast.ledger/1"
    target_at: Moment
    price: Annotated[float, Meta(gt=0.0)]
    volatility: Annotated[float, Meta(ge=0.0)]
    p_up: Probability
    quantiles: Annotated[tuple[float, ...], Meta(min_length=13, max_length=13)]
    base: Annotated[tuple[float, ...], Meta(min_length=13, max_length=13)] | None = None
    by_baseline: bool = False
    written_at: Moment

    def __post_init__(self) -> None:
        if list(self.quantiles) != sorted(self.quantiles):
            raise ValueError("the quantiles cross")
        if self.target_at <= self.issued_at:
            raise ValueError(f"the target {self.target_at} is not after the issue {self.issued_at}")


class LedgerOutcome(LedgerRecord, frozen=True, kw_only=True):
    """What came of a row of the ledger. crps: relative to the price at issue; pit_*: see scoring.pit_cells. paid: False
    where one of its prices was a bad print, or they are of two units: it scores, and nothing is learned from it."""

    schema: Literal["cryptocast.outcome/1"] = "cryptocast.outcome/1"
    log_return: float
    crps: Annotated[float, Meta(ge=0.0)]
    pit_low: Probability
    pit_high: Probability
    paid: bool = True
    recorded_at: Moment


MaturedRow: TypeAlias = tuple[LedgerRow, LedgerOutcome]
IssuedRow: TypeAlias = tuple[LedgerRow, LedgerOutcome | None]
Outcome = TypeVar("Outcome", bound=LedgerOutcome | None)


class CalibrationState(Record, frozen=True, kw_only=True):
    """The online calibration of one version at one horizon: a blob of its own making, and the last issue time whose
    outcome has entered it."""

    key_number: Annotated[int, Meta(ge=1)]
    horizon: Annotated[int, Meta(ge=1)]
    through: Moment
    state: Mapping[str, Any]


# The states behind these forecasts and outcomes, in any order: the version's number, the states before, the rows, of
# which those with another number were issued by versions before it.
Learn: TypeAlias = Callable[[int, Mapping[int, CalibrationState], Sequence[MaturedRow]], Sequence[CalibrationState]]


def _columns(row: LedgerRecord) -> dict[str, object]:
    identity = {"number": row.number, "issued_at": time_text(row.issued_at), "horizon": row.horizon}
    return {**row.columns, **identity}


IDENTITY: Final = ("coin", "source", "vs", "granularity", "kind", "number", "horizon", "issued_at")
LEDGER: Final = Journal("ledger", LedgerRow, _columns, IDENTITY, "written_at")
OUTCOMES: Final = Journal("outcomes", LedgerOutcome, _columns, IDENTITY, "recorded_at")
_SAME: Final = " AND ".join(f"o.{column} = v.{column}" for column in IDENTITY)
_UNSCORED: Final = (
    "v.id IN (SELECT ledger_id FROM waiting UNION ALL"
    " SELECT id FROM ledger WHERE id > (SELECT coalesce(max(through), 0) FROM settled))"
    f" AND NOT EXISTS (SELECT 1 FROM outcomes o WHERE {_SAME})"
)


def identity_of(record: LedgerRecord) -> list[object]:
    """The values of the columns IDENTITY."""
    columns = _columns(record)
    return [columns[column] for column in IDENTITY]


def unscored(connection: Connection) -> list[LedgerRow]:
    """The rows whose outcome has not been written, oldest issue first."""
    return LEDGER.read(connection, f"{_UNSCORED} ORDER BY v.issued_at, v.id", ())


def count_waiting(connection: Connection) -> int:
    """How many rows have no outcome yet."""
    return int(connection.execute(f"SELECT count(*) FROM ledger v WHERE {_UNSCORED}").fetchone()[0])


def settle(connection: Connection) -> None:
    """Note which rows wait for an outcome, so that the next question looks at these and at newer ones alone."""
    waiting = connection.execute(f"SELECT v.id FROM ledger v WHERE {_UNSCORED}").fetchall()
    connection.execute("DELETE FROM waiting")
    connection.executemany("INSERT INTO waiting VALUES (?)", [(row["id"],) for row in waiting])
    connection.execute("INSERT OR REPLACE INTO settled SELECT 1, coalesce(max(id), 0) FROM ledger")


def matured(connection: Connection, where: Where) -> list[MaturedRow]:
    """The forecasts with these columns whose outcome is known, by issue and horizon."""
    outcomes = {tuple(_columns(o).values()): o for o in OUTCOMES.matching(connection, where)}
    rows = LEDGER.matching(connection, where) if outcomes else []
    pairs = [(row, outcomes[identity]) for row in rows if (identity := tuple(_columns(row).values())) in outcomes]
    return sorted(pairs, key=lambda pair: (pair[0].issued_at, pair[0].horizon))


def issued(connection: Connection, where: Where) -> list[IssuedRow]:
    """The forecasts with these columns, with what came of them so far, by issue and horizon."""
    outcomes = {tuple(_columns(o).values()): o for o in OUTCOMES.matching(connection, where)}
    pairs = [(row, outcomes.get(tuple(_columns(row).values()))) for row in LEDGER.matching(connection, where)]
    return sorted(pairs, key=lambda pair: (pair[0].issued_at, pair[0].horizon))


def ledger_keys(connection: Connection, where: Where) -> list[VersionKey]:
    """The keys with these columns of which anything was forecast live, the baseline's among them; sorted."""
    text, values = conditions(where)
    return sorted(map(row_key, connection.execute(f"SELECT DISTINCT {KEY} FROM ledger v WHERE {text}", values)))


def live_record(connection: Connection, lineage: Lineage, key: VersionKey, number: int) -> list[MaturedRow]:
    """What a version's lineage forecast live and what came of it: one row for each bar and horizon, by issue.

    Of each bar the forecast of the version that was in production when it was written; where none of the lineage was,
    the version's own. Of a version that never was in production, its own go before those of the versions before it.
    """
    chain = lineage.chain(number)
    pairs = [pair for member in chain for pair in matured(connection, {**key.columns, "number": member})]
    return _of_lineage(pairs, lineage, number)


def live_history(connection: Connection, lineage: Lineage, key: VersionKey, number: int) -> list[IssuedRow]:
    """As `live_record`, and the forecasts too of which nothing is known yet."""
    chain = lineage.chain(number)
    pairs = [pair for member in chain for pair in issued(connection, {**key.columns, "number": member})]
    return _of_lineage(pairs, lineage, number)


def newest_history(
    connection: Connection, lineage: Lineage, key: VersionKey, number: int, most: int
) -> list[LedgerRow]:
    """The newest forecasts of the shortest horizon in `live_history`, at most so many, by issue."""
    chain = lineage.chain(number)
    where = " AND ".join(f"v.{column} = ?" for column in (*KEY.split(", "), "number"))
    members = [(*key_values(key), member) for member in chain]
    shortest = f"SELECT min(v.horizon) FROM ledger v WHERE {where}"
    horizons = [connection.execute(shortest, member).fetchone()[0] for member in members]
    horizon = min((one for one in horizons if one is not None), default=0)
    # Twice as many, since those that were written by a version that was not in production do not count.
    order = f"{where} AND v.horizon = ? ORDER BY v.issued_at DESC LIMIT {most if len(chain) == 1 else 2 * most}"
    rows = [(row, None) for member in members for row in LEDGER.read(connection, order, (*member, horizon))]
    return [row for row, _ in (_of_lineage(rows, lineage, number) if number else rows[::-1])][-most:]


def _of_lineage(
    pairs: Sequence[tuple[LedgerRow, Outcome]], lineage: Lineage, number: int
) -> list[tuple[LedgerRow, Outcome]]:
    in_production = [pair for pair in pairs if lineage.in_production(pair[0].number, time_text(pair[0].written_at))]
    in_production.sort(key=lambda pair: (pair[0].written_at, pair[0].number))
    own = [pair for pair in pairs if pair[0].number == number]
    return _one_a_bar([*in_production, *own] if number in lineage.tenures else [*own, *in_production])


def calibration_rows(
    connection: Connection, lineage: Lineage, key: VersionKey, number: int, horizon: int | None = None
) -> list[MaturedRow]:
    """What the online calibration of a version rests on, by issue: what it inherited (see `Lineage.inherits`), and its
    own; of a bar that both forecast, its own."""
    columns = {} if horizon is None else {"horizon": horizon}
    own = matured(connection, {**key.columns, "number": number, **columns})
    inherited = [
        pair
        for member in lineage.chain(number)[1:]
        for pair in matured(connection, {**key.columns, "number": member, **columns})
        if lineage.inherits(number, member, **_times(pair[0]))
    ]
    inherited.sort(key=lambda pair: (pair[0].written_at, pair[0].number))
    return _one_a_bar([*own, *inherited])


def _one_a_bar(pairs: Sequence[tuple[LedgerRow, Outcome]]) -> list[tuple[LedgerRow, Outcome]]:
    """The first of each bar and horizon, by issue and horizon."""
    first: dict[tuple[datetime, int], tuple[LedgerRow, Outcome]] = {}
    for pair in pairs:
        first.setdefault((pair[0].issued_at, pair[0].horizon), pair)
    return [first[bar] for bar in sorted(first)]


class _Times(TypedDict):
    at: str
    target: datetime


def _times(row: LedgerRow) -> _Times:
    return {"at": time_text(row.written_at), "target": row.target_at}


def advance_states(connection: Connection, new: Sequence[LedgerOutcome], learn: Learn) -> None:
    """Bring the online calibration of each version up to date with outcomes that have just been written: its own, and
    those that it inherits.

    A horizon whose state is not there, cannot be read, or has seen what comes later, is counted anew from the ledger:
    what stands is always the state of all its outcomes in the order of issue.
    """
    for key in dict.fromkeys(o.key for o in new if o.number):
        lineage = read_lineage(connection, key)
        for (number, horizon), pairs in _lessons(connection, lineage, [o for o in new if o.key == key]).items():
            state, states = _readable_states(connection, key, number).get(horizon), None
            if state is not None and all(row.issued_at > state.through for row, _ in pairs):
                # One that is whole and says nothing to this release is as if it were damaged.
                with contextlib.suppress(ModelError):
                    states = learn(number, {horizon: state}, pairs)
            if states is None:
                states = learn(number, {}, calibration_rows(connection, lineage, key, number, horizon))
            write_states(connection, key, number, states)


def _lessons(
    connection: Connection, lineage: Lineage, new: Sequence[LedgerOutcome]
) -> dict[tuple[int, int], list[MaturedRow]]:
    """By version and horizon what these outcomes, all of one key, teach it."""
    lessons: dict[tuple[int, int], list[MaturedRow]] = {}
    for outcome in new:
        same = dict(zip(IDENTITY, (_columns(outcome)[column] for column in IDENTITY), strict=True))
        for pair in matured(connection, same):
            row = pair[0]
            lessons.setdefault((row.number, row.horizon), []).append(pair)
            for heir in lineage.heirs(row.number, **_times(row)):
                if not LEDGER.matching(connection, {**same, "number": heir}):
                    lessons.setdefault((heir, row.horizon), []).append(pair)
    return {to: _one_a_bar(pairs) for to, pairs in lessons.items()}


def _readable_states(connection: Connection, key: VersionKey, number: int) -> dict[int, CalibrationState]:
    """The states that can be read: a damaged one is made anew, so it is as if it were not there."""
    states = {}
    query = f"SELECT * FROM calibration_states WHERE {KEY_IS} AND number = ?"
    for row in connection.execute(query, (*key_values(key), number)).fetchall():
        with contextlib.suppress(RegistryError):
            states[int(row["horizon"])] = _state(row)
    return states


def recount_states(connection: Connection, key: VersionKey, number: int, learn: Learn) -> None:
    """Count the states of a version anew from what it learned from, and put them in the place of what stands."""
    connection.execute(f"DELETE FROM calibration_states WHERE {KEY_IS} AND number = ?", (*key_values(key), number))
    pairs = calibration_rows(connection, read_lineage(connection, key), key, number)
    write_states(connection, key, number, learn(number, {}, pairs))


def read_states(connection: Connection, key: VersionKey, number: int) -> dict[int, CalibrationState]:
    """The online calibration of a version, by horizon; empty before its first outcome. RegistryError if damaged."""
    rows = connection.execute(
        f"SELECT * FROM calibration_states WHERE {KEY_IS} AND number = ?", (*key_values(key), number)
    )
    return {row["horizon"]: _state(row) for row in rows.fetchall()}


def write_states(connection: Connection, key: VersionKey, number: int, states: Sequence[CalibrationState]) -> None:
    """Put them in the place of those that stand."""
    for state in states:
        data = canonical_json(state)
        connection.execute(
            f"INSERT OR REPLACE INTO calibration_states ({KEY}, number, horizon, through, state, digest)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*key_values(key), number, state.horizon, time_text(state.through), data, sha256_hex(data)),
        )


def state_faults(connection: Connection) -> Iterator[tuple[str, str]]:
    """Where a state is not what was written."""
    for row in connection.execute("SELECT * FROM calibration_states").fetchall():
        try:
            _state(row)
        except RegistryError as error:
            yield f"calibration of version {row['number']} of {row_key(row)}, {row['horizon']} bars", str(error)


def _state(row: Any) -> CalibrationState:
    where = f"The calibration state of version {row['number']} of {row_key(row)}"
    remedy = "It can be counted again: cryptocast registry score."
    state = decode(matching(row["state"], row["digest"], where, remedy), CalibrationState, where)
    if (state.key_number, state.horizon, time_text(state.through)) != (row["number"], row["horizon"], row["through"]):
        raise RegistryError(f"{where} is another one's. {DAMAGED}")
    return state
