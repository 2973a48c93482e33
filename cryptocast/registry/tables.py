"""Rows of registry.db to and from the nouns of the registry. Every row that is read is checked against its hash."""
# ruff: noqa: S608 - the texts put together here are column names of this package; every value is bound.

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from cryptocast.errors import RegistryError
from cryptocast.evaluation.records import HoldOut
from cryptocast.evaluation.stored import read_stored
from cryptocast.market import Market
from cryptocast.registry.database import Connection, Row
from cryptocast.registry.manifest import CoinCalibration, FitManifest, canonical_json, decode, sha256_hex
from cryptocast.registry.version import Action, Event, Version, VersionKey, VersionSummary

KEY = "coin, source, vs, granularity, kind"
KEY_IS = "coin = ? AND source = ? AND vs = ? AND granularity = ? AND kind = ?"
FIRST_LINK = "0" * 64  # what the first row of the history is chained to
FITS_AT_ONCE = 500  # older SQLite takes at most 999 values
DAMAGED = "The registry is damaged here: see cryptocast registry verify, restore a backup, or train again."

Where = Mapping[str, object]  # column -> the value it must have


def time_text(moment: datetime) -> str:
    """UTC with microseconds: texts of this form sort as the moments do. Raises ValueError without a time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def key_values(key: VersionKey) -> tuple[str, str, str, str, str]:
    return (key.coin, key.source, key.vs, key.granularity, key.kind)


def row_key(row: Row) -> VersionKey:
    return VersionKey(row["coin"], Market(row["source"], row["vs"], row["granularity"]), row["kind"])


# Fits


def insert_fit(connection: Connection, fit_id: str, data: bytes, manifest: FitManifest, now: datetime) -> None:
    """Write the manifest, whose hash is the id, and its list of artefacts; nothing if the fit is already there."""
    inserted = connection.execute(
        "INSERT INTO fits (fit_id, kind, source, vs, granularity, recipe, registered_at, manifest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (fit_id) DO NOTHING",
        (fit_id, *fit_columns(manifest), time_text(now), data),
    )
    if inserted.rowcount:
        connection.executemany(
            "INSERT INTO fit_artefacts (fit_id, name, sha256, size) VALUES (?, ?, ?, ?)",
            [(fit_id, file.name, file.sha256, file.size) for file in manifest.artefacts],
        )


def fit_columns(manifest: FitManifest) -> tuple[str, ...]:
    return (manifest.kind, manifest.source, manifest.vs, manifest.granularity, manifest.recipe)


def read_fit(connection: Connection, fit_id: str) -> FitManifest:
    """The manifest of a fit, checked against its id. Raises RegistryError if it is not there or damaged."""
    row = connection.execute("SELECT fit_id, manifest FROM fits WHERE fit_id = ?", (fit_id,)).fetchone()
    if row is None:
        raise RegistryError(f"There is no fit {fit_id[:12]!r}. List what there is: cryptocast registry list.")
    return decode_fit(row)


def decode_fit(row: Row) -> FitManifest:
    """The manifest of a row. RegistryError if it does not match its hash."""
    where = f"The manifest of fit {row['fit_id'][:12]}"
    return decode(matching(row["manifest"], row["fit_id"], where), FitManifest, where)


# Versions


def insert_version(
    connection: Connection,
    key: VersionKey,
    number: int,
    fit: tuple[str, FitManifest],
    contents: tuple[bytes, bytes],
    now: datetime,
) -> None:
    """Write one version of a fit, its id and manifest; contents are the JSON of its calibration and of its hold-out."""
    fit_id, manifest = fit
    calibration, hold_out = contents
    created = time_text(now)
    digest = version_digest(key_values(key), number, fit_id, calibration, hold_out, created)
    connection.execute(
        f"INSERT INTO versions ({KEY}, number, fit_id, calibration, hold_out, created_at, digest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*key_values(key), number, fit_id, calibration, hold_out, created, digest),
    )
    _insert_summary(connection, key, number, manifest)


def write_local_hold_out(connection: Connection, key: VersionKey, number: int, record: bytes) -> bool:
    """Put a hold-out that was made here in the place of the foreign one. False: the version's own is not foreign."""
    row = connection.execute(
        f"SELECT * FROM versions WHERE {KEY_IS} AND number = ?", (*key_values(key), number)
    ).fetchone()
    if row is None or not decode(blob(row["hold_out"]), HoldOut, _of_hold_out(row)).foreign:
        return False
    connection.execute("DELETE FROM local_hold_outs WHERE version_id = ?", (row["id"],))
    connection.execute(
        "INSERT INTO local_hold_outs (version_id, record, digest) VALUES (?, ?, ?)",
        (row["id"], record, _local_digest(row["digest"], record)),
    )
    connection.execute("DELETE FROM summaries WHERE version_id = ?", (row["id"],))
    _insert_summary(connection, key, number, read_fit(connection, row["fit_id"]))
    return True


def _local_hold_out(connection: Connection, row: Row) -> bytes | None:
    """The JSON of the hold-out that was made here for the version of a row; None: there is none."""
    local = connection.execute(
        "SELECT record, digest FROM local_hold_outs WHERE version_id = ?", (row["id"],)
    ).fetchone()
    if local is None:
        return None
    record = blob(local["record"])
    if _local_digest(row["digest"], record) != local["digest"]:
        raise RegistryError(f"{_of_hold_out(row)}, made here, does not match its hash. {DAMAGED}")
    return record


def _local_digest(version_digest: str, record: bytes) -> str:
    return sha256_hex(canonical_json([version_digest, sha256_hex(record)]))


def _insert_summary(connection: Connection, key: VersionKey, number: int, manifest: FitManifest) -> None:
    """Beside the version what a list shows of it. A database that is held at an older schema has no room for it."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'summaries'").fetchone() is None:
        return
    (row,) = connection.execute(
        f"SELECT * FROM versions WHERE {KEY_IS} AND number = ?", (*key_values(key), number)
    ).fetchall()
    summary = canonical_json(decode_version(connection, row, manifest, ()).summary())
    connection.execute(
        "INSERT INTO summaries (version_id, summary, digest) VALUES (?, ?, ?)",
        (row["id"], summary, sha256_hex(summary)),
    )


def version_digest(
    key: Iterable[str], number: int, fit_id: str, calibration: bytes, hold_out: bytes, created: str
) -> str:
    """sha256 over all that a version's row says."""
    parts = [*key, number, fit_id, sha256_hex(calibration), sha256_hex(hold_out), created]
    return sha256_hex(msgspec.json.encode(parts))  # of such plain words the same text as canonical_json, but quicker


def read_versions(connection: Connection, where: Where, *, alias: str | None = None) -> list[Version]:
    """The versions whose columns have these values, and the alias if one is named; by key and number."""
    query, values = _selection("v.*", where, alias)
    rows = connection.execute(query, values).fetchall()
    aliases = _aliases(connection, where)
    manifests = {row["fit_id"]: decode_fit(row) for row in _fit_rows(connection, {row["fit_id"] for row in rows})}
    return [decode_version(connection, row, _fit_of(row, manifests), aliases.get(row["id"], ())) for row in rows]


def _selection(columns: str, where: Where, alias: str | None, join: str = "") -> tuple[str, list[object]]:
    """The query for versions, by key and number, and its values."""
    text, values = conditions(where)
    tables = "versions v"
    if alias is not None:
        # CROSS keeps SQLite from starting at the versions, of which there are many more than aliases.
        tables = f"aliases a CROSS JOIN versions v ON {_SAME_VERSION}"
        text, values = f"{text} AND a.alias = ?", [*values, alias]
    order = "v.coin, v.source, v.vs, v.granularity, v.kind, v.number"
    return f"SELECT {columns} FROM {tables} {join} WHERE {text} ORDER BY {order}", values


def read_listing(connection: Connection, where: Where, *, alias: str | None = None) -> list[VersionSummary]:
    """As read_versions, but only what a list shows, from the summary that was written beside each version.

    A version without a summary, or with one of an older release, is read as a whole.
    """
    query, values = _selection("v.id, s.summary, s.digest", where, alias, _WITH_SUMMARY)
    cursor = connection.cursor()
    cursor.row_factory = None  # plain tuples are read in half the time
    rows: list[tuple[int, bytes | None, str | None]] = cursor.execute(query, values).fetchall()
    texts = [
        matching(summary, digest, f"The summary of row {version_id} of the versions")
        for version_id, summary, digest in rows
        if _is_present(summary)
    ]
    summaries = iter(_summaries(texts))
    aliases = _aliases(connection, where)
    listed = []
    for version_id, summary, _ in rows:
        if _is_present(summary):
            version = next(summaries)
        else:
            row = connection.execute("SELECT * FROM versions WHERE id = ?", (version_id,)).fetchone()
            version = _whole(connection, row)
        names = aliases.get(version_id)
        listed.append(version if names is None else msgspec.structs.replace(version, aliases=names))
    return listed


@dataclass(frozen=True, slots=True)
class Member:
    """What a lineage asks of a version. created_at: as the registry writes times; trained_to: close of the last bar of
    its coin that its fit saw, None where its record is damaged; foreign: it came with an archive."""

    number: int
    created_at: str
    recipe: str
    trained_to: datetime | None
    foreign: bool


def read_members(connection: Connection, key: VersionKey) -> list[Member]:
    """The versions of a key, by number. One whose record is damaged keeps nobody from reading of the others."""
    text, values = conditions({**key.columns})
    rows = connection.execute(
        "SELECT v.*, f.recipe, s.summary, s.digest AS summary_digest FROM versions v"
        f" JOIN fits f ON f.fit_id = v.fit_id {_WITH_SUMMARY} WHERE {text} ORDER BY v.number",
        values,
    ).fetchall()
    return [_member(row, _listed_member(connection, row)) for row in rows]


def _member(row: Row, listed: VersionSummary | None) -> Member:
    trained_to, foreign = (None, False) if listed is None else (listed.trained_to, listed.foreign)
    return Member(row["number"], row["created_at"], row["recipe"], trained_to, foreign)


def _listed_member(connection: Connection, row: Row) -> VersionSummary | None:
    """None where the record is damaged."""
    with contextlib.suppress(RegistryError):
        return _summaries([matching(row["summary"], row["summary_digest"], "")])[0]
    with contextlib.suppress(RegistryError):
        return _whole(connection, row)
    return None


def _aliases(connection: Connection, where: Where) -> dict[int, tuple[str, ...]]:
    """The aliases that stand at each version whose key is asked for, by the id of its row."""
    text, values = conditions(where)
    rows = connection.execute(
        f"SELECT v.id, a.alias FROM aliases a CROSS JOIN versions v ON {_SAME_VERSION} WHERE {text}"
        " ORDER BY a.alias DESC",
        values,
    )
    names: dict[int, tuple[str, ...]] = {}
    for row in rows:
        names[row["id"]] = (*names.get(row["id"], ()), row["alias"])
    return names


def _summaries(texts: Sequence[bytes]) -> list[VersionSummary]:
    """All at once: one decoder call for thousands."""
    try:
        return read_stored(b"[" + b",".join(texts) + b"]", list[VersionSummary])
    except msgspec.DecodeError as error:
        raise RegistryError(f"The summaries of the versions cannot be read: {error}. {DAMAGED}") from error


def _is_present(summary: bytes | None) -> bool:
    """Whether it is of this release: earlier ones had a verdict in the place of the answers."""
    return summary is not None and b'"verdict":' not in summary


def _whole(connection: Connection, row: Row) -> VersionSummary:
    """The summary of a version from all that was written about it."""
    return decode_version(connection, row, read_fit(connection, row["fit_id"]), ()).summary()


def _of_hold_out(row: Row) -> str:
    return f"The hold-out of version {row['number']} of {row_key(row)}"


def summary_faults(connection: Connection) -> list[tuple[str, str]]:
    """Where a summary does not say what its version says."""
    rows = connection.execute(
        "SELECT v.*, s.summary FROM versions v JOIN summaries s ON s.version_id = v.id ORDER BY v.id"
    )
    faults = []
    for row in rows.fetchall():
        try:
            version = _whole(connection, row)
        except RegistryError:
            continue  # the version itself is a fault
        if not _is_present(blob(row["summary"])):
            continue
        summary = None
        with contextlib.suppress(RegistryError):
            summary = _summaries([blob(row["summary"])])[0]
        if version != summary:
            faults.append((f"summary of version {row['number']} of {row_key(row)}", "it is not what the version says"))
    return faults


def _fit_rows(connection: Connection, fit_ids: Iterable[str]) -> list[Row]:
    """The rows of these fits, fetched by the hundred: one by one is slow."""
    ids, rows = sorted(fit_ids), list[Row]()
    for start in range(0, len(ids), FITS_AT_ONCE):
        some = ids[start : start + FITS_AT_ONCE]
        marks = ", ".join("?" * len(some))
        rows += connection.execute(f"SELECT fit_id, manifest FROM fits WHERE fit_id IN ({marks})", some)
    return rows


def _fit_of(row: Row, fits: Mapping[str, FitManifest]) -> FitManifest:
    fit = fits.get(row["fit_id"])
    if fit is None:
        raise RegistryError(f"Version {row['number']} of {row_key(row)} is of a fit that is not there. {DAMAGED}")
    return fit


def decode_version(connection: Connection, row: Row, manifest: FitManifest, aliases: tuple[str, ...]) -> Version:
    """The version of a row, with the hold-out that counts. Raises RegistryError if anything does not match its hash."""
    key, number = row_key(row), row["number"]
    calibration, text = _checked_contents(row)
    hold_out = decode(text, HoldOut, _of_hold_out(row))
    local = _local_hold_out(connection, row) if hold_out.foreign else None
    return Version(
        key=key,
        number=number,
        fit_id=row["fit_id"],
        manifest=manifest,
        hold_out=hold_out if local is None else decode(local, HoldOut, _of_hold_out(row)),
        calibration=decode(calibration, CoinCalibration, f"The calibration of version {number} of {key}"),
        aliases=aliases,
        created_at=datetime.fromisoformat(row["created_at"]),
    )


def _checked_contents(row: Row) -> tuple[bytes, bytes]:
    """The JSON of a version's calibration and hold-out. Raises RegistryError if the row does not match its hash."""
    calibration, hold_out = blob(row["calibration"]), blob(row["hold_out"])
    key = (row["coin"], row["source"], row["vs"], row["granularity"], row["kind"])
    digest = version_digest(key, row["number"], row["fit_id"], calibration, hold_out, row["created_at"])
    if digest != row["digest"]:
        raise RegistryError(f"Version {row['number']} of {row_key(row)} does not match its hash. {DAMAGED}")
    return calibration, hold_out


def next_number(connection: Connection, key: VersionKey) -> int:
    """One more than any number that the key ever had, also if that version is gone."""
    row = connection.execute(
        f"SELECT max(n) FROM (SELECT max(number) AS n FROM versions WHERE {KEY_IS}"
        f" UNION ALL SELECT max(number) FROM history WHERE {KEY_IS})",
        key_values(key) * 2,
    ).fetchone()
    return int(row[0] or 0) + 1


def read_keys(connection: Connection, where: Where) -> list[VersionKey]:
    """The keys that have versions, sorted."""
    text, values = conditions(where)
    rows = connection.execute(f"SELECT DISTINCT {KEY} FROM versions v WHERE {text} ORDER BY {KEY}", values)
    return [row_key(row) for row in rows]


def read_numbers(connection: Connection, key: VersionKey) -> list[int]:
    """The numbers of a key's versions, increasing."""
    rows = connection.execute(f"SELECT number FROM versions WHERE {KEY_IS} ORDER BY number", key_values(key))
    return [row["number"] for row in rows]


_WITH_SUMMARY = "LEFT JOIN summaries s ON s.version_id = v.id"

# Aliases

_SAME_VERSION = (
    "a.coin = v.coin AND a.source = v.source AND a.vs = v.vs AND a.granularity = v.granularity"
    " AND a.kind = v.kind AND a.number = v.number"
)


def read_aliases(connection: Connection, key: VersionKey) -> dict[str, int]:
    """The number that each alias of the key stands at."""
    rows = connection.execute(f"SELECT alias, number FROM aliases WHERE {KEY_IS}", key_values(key))
    return {row["alias"]: row["number"] for row in rows}


def set_alias(connection: Connection, key: VersionKey, alias: str, number: int) -> None:
    """Let the alias stand at the version, which must be there."""
    connection.execute(
        f"INSERT INTO aliases ({KEY}, alias, number) VALUES (?, ?, ?, ?, ?, ?, ?)"
        f" ON CONFLICT ({KEY}, alias) DO UPDATE SET number = excluded.number",
        (*key_values(key), alias, number),
    )


# History


def append_event(connection: Connection, event: Event) -> None:
    """Write one row of the history, chained to the row before it. The event's id is not used."""
    last = connection.execute("SELECT digest FROM history ORDER BY id DESC LIMIT 1").fetchone()
    evidence = canonical_json(event.evidence)
    values = (
        time_text(event.at),
        event.who,
        event.action,
        *key_values(event.key),
        event.alias,
        event.number,
        event.previous,
        event.why,
        evidence,
    )
    digest = event_digest(last["digest"] if last else FIRST_LINK, values)
    connection.execute(
        f"INSERT INTO history (at, who, action, {KEY}, alias, number, previous, why, evidence, digest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*values, digest),
    )


def event_digest(before: str, values: Iterable[object]) -> str:
    """sha256 over the digest of the row before and all columns of this one but id and digest."""
    # Evidence is ASCII; Latin-1 reads any byte, so that a damaged one ends as another digest.
    plain = [value.decode("latin-1") if isinstance(value, bytes) else value for value in values]
    return sha256_hex(canonical_json([before, *plain]))


def read_events(connection: Connection, where: Where, *, until: datetime | None = None) -> list[Event]:
    """The history, oldest first; `until` leaves out what was written later."""
    text, values = conditions(where)
    if until is not None:
        text += " AND at <= ?"
        values = [*values, time_text(until)]
    rows = connection.execute(f"SELECT v.* FROM history v WHERE {text} ORDER BY id", values)
    return [decode_event(row) for row in rows]


def decode_event(row: Row) -> Event:
    """The event of a row. Raises RegistryError if it cannot be one; its hash is counted by verify alone."""
    try:
        evidence: dict[str, Any] = json.loads(blob(row["evidence"]))
        at = datetime.fromisoformat(row["at"])
        number = int(row["number"])
    except (ValueError, TypeError) as error:
        raise RegistryError(f"Row {row['id']} of the history cannot be read: {error}. {DAMAGED}") from error
    action: Action = row["action"]
    return Event(
        id=int(row["id"]),
        at=at,
        who=row["who"],
        action=action,
        key=row_key(row),
        alias=row["alias"],
        number=number,
        previous=row["previous"],
        why=row["why"],
        evidence=evidence,
    )


def blob(value: object) -> bytes:
    """The bytes of a column. SQLite may hold anything anywhere; what is no bytes or text cannot match its hash."""
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else b""


def matching(value: object, digest: object, where: str, remedy: str = DAMAGED) -> bytes:
    """The bytes of a column. Raises RegistryError that says where they stood if they do not match their hash."""
    data = blob(value)
    if sha256_hex(data) != digest:
        raise RegistryError(f"{where} does not match its hash. {remedy}")
    return data


def conditions(where: Where) -> tuple[str, list[object]]:
    """SQL for `column = value and ...`, and the values. Columns are written by this package, never by a user."""
    if not all(re.fullmatch("[a-z_]+", column) for column in where):
        raise ValueError(f"{list(where)} are not columns")
    return " AND ".join(["1", *(f"v.{column} = ?" for column in where)]), list(where.values())


def served_state(connection: Connection) -> tuple[object, ...]:
    """See Registry.served_state."""
    newest = [
        connection.execute(f"SELECT max(id) FROM {table}").fetchone()[0]
        for table in ("history", "versions", "ab_tests", "evidence", "local_hold_outs", "source_moves")
    ]
    # What came of the baseline moves no model.
    newest.append(connection.execute("SELECT max(id) FROM outcomes WHERE number > 0").fetchone()[0])
    digests = connection.execute("SELECT digest FROM calibration_states ORDER BY rowid").fetchall()
    return (*newest, sha256_hex("".join(row["digest"] for row in digests).encode()))
