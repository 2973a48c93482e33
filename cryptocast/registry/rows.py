"""Rows of registry.db to and from the nouns of the registry. Every row that is read is checked against its hash."""
# ruff: noqa: S608 - the texts put together here are column names of this package; every value is bound.

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from cryptocast.errors import RegistryError
from cryptocast.registry.database import Connection, Row
from cryptocast.registry.manifest import (
    CoinCalibration,
    FitManifest,
    HoldOut,
    canonical_json,
    decode,
    sha256_hex,
)
from cryptocast.registry.version import Action, Event, Version, VersionKey

__all__ = [
    "FIRST_LINK",
    "Where",
    "append_event",
    "decode_event",
    "decode_fit",
    "decode_version",
    "event_digest",
    "insert_fit",
    "insert_version",
    "next_number",
    "read_aliases",
    "read_events",
    "read_fit",
    "read_keys",
    "read_numbers",
    "read_versions",
    "row_key",
    "set_alias",
    "time_text",
]

KEY = "coin, source, vs, granularity, kind"
KEY_IS = "coin = ? AND source = ? AND vs = ? AND granularity = ? AND kind = ?"
FIRST_LINK = "0" * 64  # what the first row of the history is chained to
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
    return VersionKey(row["coin"], row["source"], row["vs"], row["granularity"], row["kind"])


# Fits


def insert_fit(connection: Connection, fit_id: str, data: bytes, manifest: FitManifest, now: datetime) -> None:
    """Write the manifest, whose hash is the id, and its list of artefacts; nothing if the fit is already there."""
    inserted = connection.execute(
        "INSERT INTO fits (fit_id, kind, source, vs, granularity, recipe, registered_at, manifest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (fit_id) DO NOTHING",
        (
            fit_id,
            manifest.kind,
            manifest.source,
            manifest.vs,
            manifest.granularity,
            manifest.recipe,
            time_text(now),
            data,
        ),
    )
    if inserted.rowcount:
        connection.executemany(
            "INSERT INTO fit_artefacts (fit_id, name, sha256, size) VALUES (?, ?, ?, ?)",
            [(fit_id, file.name, file.sha256, file.size) for file in manifest.artefacts],
        )


def read_fit(connection: Connection, fit_id: str) -> FitManifest:
    """The manifest of a fit, checked against its id. Raises RegistryError if it is not there or damaged."""
    row = connection.execute("SELECT fit_id, manifest FROM fits WHERE fit_id = ?", (fit_id,)).fetchone()
    if row is None:
        raise RegistryError(f"There is no fit {fit_id[:12]!r}. List what there is: cryptocast registry list.")
    return decode_fit(row)


def decode_fit(row: Row) -> FitManifest:
    where = f"The manifest of fit {row['fit_id'][:12]}"
    data = _blob(row["manifest"])
    if sha256_hex(data) != row["fit_id"]:
        raise RegistryError(f"{where} does not match its hash. {DAMAGED}")
    return decode(data, FitManifest, where)


# Versions


def insert_version(
    connection: Connection,
    key: VersionKey,
    number: int,
    fit_id: str,
    contents: tuple[bytes, bytes],
    now: datetime,
) -> None:
    """Write one version; contents are the JSON of its calibration and of its hold-out."""
    calibration, hold_out = contents
    created = time_text(now)
    digest = version_digest(key_values(key), number, fit_id, calibration, hold_out, created)
    connection.execute(
        f"INSERT INTO versions ({KEY}, number, fit_id, calibration, hold_out, created_at, digest)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*key_values(key), number, fit_id, calibration, hold_out, created, digest),
    )


def version_digest(
    key: Iterable[str], number: int, fit_id: str, calibration: bytes, hold_out: bytes, created: str
) -> str:
    """sha256 over all that a version's row says."""
    parts = [*key, number, fit_id, sha256_hex(calibration), sha256_hex(hold_out), created]
    return sha256_hex(canonical_json(parts))


def read_versions(connection: Connection, where: Where, *, alias: str | None = None) -> list[Version]:
    """The versions whose columns have these values, and the alias if one is named; by key and number."""
    text, values = _conditions(where)
    if alias is not None:
        text += f" AND EXISTS (SELECT 1 FROM aliases a WHERE a.alias = ? AND {_SAME_VERSION})"
        values = [*values, alias]
    rows = connection.execute(f"SELECT v.* FROM versions v WHERE {text} ORDER BY {KEY}, number", values).fetchall()
    names = _alias_names(connection, where)
    manifests: dict[str, FitManifest] = {}
    versions = []
    for row in rows:
        manifest = manifests.get(row["fit_id"])
        if manifest is None:
            manifest = manifests.setdefault(row["fit_id"], read_fit(connection, row["fit_id"]))
        versions.append(decode_version(row, manifest, names.get((row_key(row), row["number"]), ())))
    return versions


def decode_version(row: Row, manifest: FitManifest, aliases: tuple[str, ...]) -> Version:
    key, number = row_key(row), row["number"]
    where = f"Version {number} of {key}"
    calibration, hold_out = _blob(row["calibration"]), _blob(row["hold_out"])
    found = version_digest(key_values(key), number, row["fit_id"], calibration, hold_out, row["created_at"])
    if found != row["digest"]:
        raise RegistryError(f"{where} does not match its hash. {DAMAGED}")
    return Version(
        key=key,
        number=number,
        fit_id=row["fit_id"],
        manifest=manifest,
        hold_out=decode(hold_out, HoldOut, f"The hold-out of version {number} of {key}"),
        calibration=decode(calibration, CoinCalibration, f"The calibration of version {number} of {key}"),
        aliases=aliases,
        created_at=datetime.fromisoformat(row["created_at"]),
    )


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
    text, values = _conditions(where)
    rows = connection.execute(f"SELECT DISTINCT {KEY} FROM versions v WHERE {text} ORDER BY {KEY}", values)
    return [row_key(row) for row in rows]


def read_numbers(connection: Connection, key: VersionKey) -> list[int]:
    """The numbers of a key's versions, increasing."""
    rows = connection.execute(f"SELECT number FROM versions WHERE {KEY_IS} ORDER BY number", key_values(key))
    return [row["number"] for row in rows]


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


def _alias_names(connection: Connection, where: Where) -> dict[tuple[VersionKey, int], tuple[str, ...]]:
    known = {column: value for column, value in where.items() if column != "fit_id"}
    text, values = _conditions(known)
    names: dict[tuple[VersionKey, int], tuple[str, ...]] = {}
    for row in connection.execute(f"SELECT v.* FROM aliases v WHERE {text} ORDER BY alias DESC", values):
        place = (row_key(row), row["number"])
        names[place] = (*names.get(place, ()), row["alias"])
    return names


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
    text, values = _conditions(where)
    if until is not None:
        text += " AND at <= ?"
        values = [*values, time_text(until)]
    rows = connection.execute(f"SELECT v.* FROM history v WHERE {text} ORDER BY id", values)
    return [decode_event(row) for row in rows]


def decode_event(row: Row) -> Event:
    """The event of a row. Raises RegistryError if it cannot be one; its hash is counted by verify alone."""
    try:
        evidence: dict[str, Any] = json.loads(_blob(row["evidence"]))
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


def _blob(value: object) -> bytes:
    """The bytes of a column. SQLite may hold anything anywhere; what is no bytes or text cannot match its hash."""
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else b""


def _conditions(where: Where) -> tuple[str, list[object]]:
    """SQL for `column = value and ...`, and the values. Columns are written by this package, never by a user."""
    if not all(re.fullmatch("[a-z_]+", column) for column in where):
        raise ValueError(f"{list(where)} are not columns")
    return " AND ".join(["1", *(f"v.{column} = ?" for column in where)]), list(where.values())
