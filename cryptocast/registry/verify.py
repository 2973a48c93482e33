"""Whether the registry is whole: every hash counted again, every reference followed, the history replayed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from cryptocast.errors import RegistryError
from cryptocast.registry.append_only import EVIDENCE, TRIALS
from cryptocast.registry.database import Connection, Database
from cryptocast.registry.experiments import AB_EVENTS
from cryptocast.registry.ledger import LEDGER, OUTCOMES, state_faults
from cryptocast.registry.live_status import mark_faults
from cryptocast.registry.manifest import Artefact
from cryptocast.registry.notices import notice_faults
from cryptocast.registry.objects import Objects
from cryptocast.registry.source_moves import SOURCE_MOVES
from cryptocast.registry.tables import (
    FIRST_LINK,
    decode_event,
    decode_fit,
    decode_version,
    event_digest,
    fit_columns,
    row_key,
    summary_faults,
)
from cryptocast.registry.version import VersionKey

ObjectSize: TypeAlias = tuple[str, int]  # hash and bytes
EachObject: TypeAlias = Callable[[Sequence[ObjectSize]], Iterable[ObjectSize]]
# In the order in which a row of the history is hashed.
EVENT_COLUMNS = (
    *("at", "who", "action"),
    *("coin", "source", "vs", "granularity", "kind"),
    *("alias", "number", "previous", "why", "evidence"),
)


@dataclass(frozen=True, slots=True)
class RegistryFault:
    """Something that is not as it must be: where, and what is wrong."""

    where: str
    problem: str


def verify_registry(database: Database, objects: Objects, each: EachObject = iter) -> tuple[RegistryFault, ...]:
    """All that is wrong; empty if nothing. An object that nothing refers to is what a kill leaves, and no finding.

    each: passes the objects on as they are read.
    """
    broken = [RegistryFault(str(database.path), problem) for problem in database.check()]
    if broken:  # a damaged file answers queries at random
        return tuple(broken)
    try:
        with database.read() as connection:
            findings = [*_fits(connection), *_versions(connection), *_history(connection), *_aliases(connection)]
            journals = (EVIDENCE, TRIALS, LEDGER, OUTCOMES, AB_EVENTS, SOURCE_MOVES)
            findings += [RegistryFault(*fault) for journal in journals for fault in journal.faults(connection)]
            faults = (summary_faults, state_faults, mark_faults, notice_faults)
            findings += [RegistryFault(*fault) for find in faults for fault in find(connection)]
            rows = connection.execute("SELECT DISTINCT sha256, size FROM fit_artefacts ORDER BY sha256").fetchall()
    except RegistryError as error:  # such as a text that is no longer UTF-8
        return (RegistryFault(str(database.path), str(error)),)
    findings += _objects(objects, each([(row["sha256"], int(row["size"])) for row in rows]))
    return tuple(findings)


def _fits(connection: Connection) -> Iterator[RegistryFault]:
    for row in connection.execute("SELECT * FROM fits ORDER BY fit_id").fetchall():
        where = f"fit {row['fit_id'][:12]}"
        try:
            manifest = decode_fit(row)
        except RegistryError as error:
            yield RegistryFault(where, str(error))
            continue
        columns = (row["kind"], row["source"], row["vs"], row["granularity"], row["recipe"])
        if columns != fit_columns(manifest):
            yield RegistryFault(where, "its columns are not what its manifest says")
        listed = connection.execute("SELECT * FROM fit_artefacts WHERE fit_id = ?", (row["fit_id"],)).fetchall()
        if {(a["name"], a["sha256"], a["size"]) for a in listed} != set(map(_as_row, manifest.artefacts)):
            yield RegistryFault(where, "its list of artefacts is not what its manifest says")


def _as_row(artefact: Artefact) -> tuple[str, str, int]:
    return (artefact.name, artefact.sha256, artefact.size)


def _objects(objects: Objects, expected: Iterable[ObjectSize]) -> Iterator[RegistryFault]:
    for sha256, size in expected:
        try:
            objects.get(sha256, size)
        except RegistryError as error:
            yield RegistryFault(f"object {sha256[:12]}", str(error))


def _versions(connection: Connection) -> Iterator[RegistryFault]:
    for row in connection.execute("SELECT * FROM versions ORDER BY id").fetchall():
        where = f"version {row['number']} of {row_key(row)}"
        fit = connection.execute("SELECT * FROM fits WHERE fit_id = ?", (row["fit_id"],)).fetchone()
        try:
            version = decode_version(connection, row, decode_fit(fit), ())
        except RegistryError as error:
            yield RegistryFault(where, str(error))
            continue
        fit_key = (version.manifest.source, version.manifest.vs, version.manifest.granularity, version.manifest.kind)
        if fit_key != (version.key.source, version.key.vs, version.key.granularity, version.key.kind):
            yield RegistryFault(
                where, f"its fit {version.fit_id[:12]} is of another source, currency, granularity or kind"
            )


def _history(connection: Connection) -> Iterator[RegistryFault]:
    before = FIRST_LINK
    stands: dict[tuple[VersionKey, str], int] = {}
    for row in connection.execute("SELECT * FROM history ORDER BY id").fetchall():
        where = f"row {row['id']} of the history"
        if event_digest(before, [row[column] for column in EVENT_COLUMNS]) != row["digest"]:
            yield RegistryFault(
                where, "it, or a row before it, was changed after it was written: its hash does not match"
            )
            return
        before = row["digest"]
        event = decode_event(row)
        if stands.get((event.key, event.alias)) != event.previous:
            yield RegistryFault(
                where, f"it says that {event.alias} of {event.key} stood at {event.previous}, and it did not"
            )
        stands[event.key, event.alias] = event.number
    aliases = {(row_key(row), row["alias"]): row["number"] for row in connection.execute("SELECT * FROM aliases")}
    for key, alias in sorted(set(stands) | set(aliases)):
        replayed, stood = stands.get((key, alias)), aliases.get((key, alias))
        if replayed != stood:
            yield RegistryFault(f"{alias} of {key}", f"it is at {stood}, but the history says {replayed}")


def _aliases(connection: Connection) -> Iterator[RegistryFault]:
    rows = connection.execute(
        "SELECT DISTINCT coin, source, vs, granularity, kind FROM versions v WHERE NOT EXISTS (SELECT 1 FROM aliases a"
        " WHERE a.coin = v.coin AND a.source = v.source AND a.vs = v.vs AND a.granularity = v.granularity"
        " AND a.kind = v.kind AND a.alias = 'challenger')"
    )
    for row in rows:
        yield RegistryFault(f"challenger of {row_key(row)}", "there are versions, and none is the challenger")
