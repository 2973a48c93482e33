"""The registry: what was fitted, which version answers, and how it came to that."""

import logging
from collections.abc import Collection, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, TypeVar, Unpack

import msgspec
from msgspec.structs import asdict, replace

from cryptocast.choices import Granularity
from cryptocast.config import GateConfig
from cryptocast.errors import RegistryError, UsageError
from cryptocast.evaluation.records import Evidence, HoldOut, Record, Trial, TrialCommand
from cryptocast.kinds import SHIPPED
from cryptocast.market import Market
from cryptocast.registry import append_only, experiments, ledger, live_rows, live_status, notices, tables
from cryptocast.registry.append_only import EVIDENCE, TRIALS, Journal
from cryptocast.registry.database import Connection, Database
from cryptocast.registry.experiments import AbEvent, AbTest
from cryptocast.registry.gate import Standing, best_of, first_version, standings, successor
from cryptocast.registry.ledger import (
    LEDGER,
    OUTCOMES,
    CalibrationState,
    IssuedRow,
    Learn,
    LedgerOutcome,
    LedgerRow,
    MaturedRow,
)
from cryptocast.registry.lineage import Member, read_lineage
from cryptocast.registry.live_rows import LiveRows
from cryptocast.registry.live_status import LiveMark
from cryptocast.registry.manifest import FitManifest, artefacts_of, canonical_json, recipe_hash, settled, sha256_hex
from cryptocast.registry.notices import Condition, NoticeCode, OutboxEntry
from cryptocast.registry.objects import Objects
from cryptocast.registry.reasons import Reason
from cryptocast.registry.references import BEST, VersionReference, nearest, parse_reference
from cryptocast.registry.retention import Deletion, EachStray, collect
from cryptocast.registry.source_moves import SOURCE_MOVES, SettledSources, SourceMove, settled_sources
from cryptocast.registry.verify import EachObject, RegistryFault, verify_registry
from cryptocast.registry.version import (
    CHALLENGER,
    PRODUCTION,
    Action,
    Event,
    KeyFilter,
    NewVersion,
    Version,
    VersionKey,
    VersionSummary,
)

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)


class ProductionMovedError(RegistryError):
    """Production moved between a decision and the attempt to carry it out. Decide again."""


class Registry:
    """The registry of one store. Holds no connection: every call opens one, so threads and processes may share it.

    Every change is one transaction with a row in the history for each alias that it moves. All times are UTC.
    """

    def __init__(self, database: Database, objects: Objects, gate: GateConfig) -> None:
        self._database, self._objects, self._gate = database, objects, gate
        self._evidence_age = timedelta(days=gate.max_evidence_age_days)

    @classmethod
    def open(cls, store_root: Path, *, create: bool = True, gate: GateConfig | None = None) -> Self:
        """The registry under the store folder. A missing one reads as empty; with `create` the first change makes it.

        Raises RegistryError if it could not be made, is damaged, or was written by a newer cryptocast.
        """
        folder = store_root / "registry"
        database = Database(folder / "registry.db", is_made=create)
        if create:
            database.prepare()
        else:
            with database.read():  # a newer or damaged one is refused here, not at the first question
                pass
        return cls(database, Objects(folder / "objects"), gate or GateConfig())

    # Changes

    def register(
        self,
        manifest: FitManifest,
        files: Mapping[str, bytes],
        versions: Sequence[NewVersion],
        *,
        now: datetime,
        who: str,
        learn: Learn | None = None,
        outdated: Mapping[str, int] = MappingProxyType({}),
        contested: Collection[str] = (),
    ) -> tuple[Version, ...]:
        """Keep a fit and give each of the coins its next version, which becomes the challenger.

        The first version of a key becomes production too, if the gate lets it, which it never does on foreign scores:
        what comes with an archive waits as a challenger. So does the next one where production is `outdated` (by coin,
        the number that nobody can ask any more). A first version of the coins that are `contested` waits too: a model
        for every coin answers there, which it has to beat. Files are stored first, then everything else in one
        transaction: a kill leaves all of it or nothing that is referred to. Registering the same fit again returns the
        versions that it has. learn: the online calibration of a refresh begins with the outcomes that it
        inherits, as far as they are known. Raises ValueError if manifest, files and versions do not belong together.
        """
        manifest = settled(manifest)
        versions = [_settled_version(version) for version in versions]
        _check_fit(manifest, files, versions)
        for data in files.values():
            self._objects.put(data)
        text = canonical_json(manifest)
        fit_id = sha256_hex(text)
        with self._database.write() as connection:
            for data in files.values():  # once more: `collect` may have taken what nothing referred to yet
                self._objects.put(data)
            tables.insert_fit(connection, fit_id, text, manifest, now)
            for version in versions:
                self._register_version(connection, manifest, fit_id, version, now, who, outdated, contested)
            registered = {version.key.coin: version for version in tables.read_versions(connection, {"fit_id": fit_id})}
            if learn is not None:
                for version in versions:
                    refresh = registered[version.coin]
                    ledger.recount_states(connection, refresh.key, refresh.number, learn)
        return tuple(registered[version.coin] for version in versions)

    def promote(
        self,
        key: VersionKey,
        number: int,
        *,
        now: datetime,
        who: str,
        why: str,
        evidence: Mapping[str, Any] | None = None,
        action: Action = "promote",
        expected: int | msgspec.UnsetType | None = msgspec.UNSET,
    ) -> Version:
        """Make a version the production of its key, in one transaction. Nothing changes if it is that already.

        expected: where production stood when this was decided (None: nowhere). ProductionMovedError if it moved since.
        Raises RegistryError if there is no such version. The gate is not asked here: callers bring its decision.
        """
        move = Promotion(key, number, why, evidence or {}, action, expected)
        return self.promote_all([move], now=now, who=who)[0]

    def promote_all(self, moves: Sequence["Promotion"], *, now: datetime, who: str) -> tuple[Version, ...]:
        """Make each of these versions the production of its key: all of them in one transaction, or none.

        Raises as `promote` does.
        """
        with self._database.write() as connection:
            return tuple(_promoted(connection, move, now, who) for move in moves)

    def score_again(self, key: VersionKey, number: int, hold_out: HoldOut) -> bool:
        """Keep a hold-out that was made here for a version that came with an archive: it counts in the foreign one's
        place. False, and nothing is changed, if the version was trained here, or there is none.

        Raises ValueError for a foreign hold-out.
        """
        record = settled(hold_out)
        if record.foreign:
            raise ValueError("a foreign hold-out was not made here")
        with self._database.write() as connection:
            return tables.write_local_hold_out(connection, key, number, canonical_json(record))

    def write_ledger(self, rows: Sequence[LedgerRow]) -> int:
        """Keep forecasts that were, or would have been, served, in one transaction. What was kept before stands.

        Returns how many are new.
        """
        return self._append(LEDGER, rows)

    def write_outcomes(self, rows: Sequence[LedgerOutcome], learn: Learn | None = None) -> int:
        """Keep what came of forecasts, and the online calibration that has learned from it, in one transaction.

        Returns how many are new.
        """
        records = [settled(row) for row in rows]
        if not records:
            return 0
        with self._database.write() as connection:
            new = OUTCOMES.append(connection, records)
            if learn is not None:
                ledger.advance_states(connection, new, learn)
            ledger.settle(connection)
            live_rows.write_parts(connection, new)
            return len(new)

    def recount_states(self, key: VersionKey, number: int, learn: Learn) -> None:
        """Count the online calibration of a version anew from its ledger, whatever stands."""
        with self._database.write() as connection:
            ledger.recount_states(connection, key, number, learn)

    def write_mark(self, key: VersionKey, mark: LiveMark) -> None:
        """Keep how a version stands live, in the place of what was found at an earlier bar."""
        self.write_marks([(key, mark)])

    def write_marks(self, marks: Sequence[tuple[VersionKey, LiveMark]]) -> None:
        """As `write_mark`, of many in one transaction."""
        records = [(key, settled(mark)) for key, mark in marks]
        if not records:
            return
        with self._database.write() as connection:
            for key, record in records:
                live_status.write_mark(connection, key, record, read_lineage(connection, key).chain(record.number))

    def collect(self, keep: int, *, dry_run: bool = False, each: EachStray = iter) -> Deletion:
        """Delete old versions, and artefacts that nothing refers to any more (see registry.retention).

        each: passes the files on as they are deleted. Raises ValueError for keep below 1.
        """
        return collect(self._database, self._objects, keep, dry_run=dry_run, each=each)

    def start_ab(self, event: AbEvent) -> None:
        """Begin an A/B test. RegistryError if one of the same key is running."""
        with self._database.write() as connection:
            experiments.start_test(connection, settled(event))

    def end_ab(self, event: AbEvent) -> None:
        """End an A/B test. RegistryError if it has ended."""
        with self._database.write() as connection:
            experiments.end_test(connection, settled(event))

    def record_evidence(self, rows: Sequence[Evidence]) -> None:
        """Keep what a walk through history found, all of it in one transaction. Kept for good.

        What the same run has said before about a recipe and a coin (or the pool) stands: recording it again changes
        nothing. Raises ValueError for a row that breaks its own rules, such as a score that is no number.
        """
        self._append(EVIDENCE, rows)

    def record_trials(self, rows: Sequence[Trial]) -> None:
        """Keep what was tried, all of it in one transaction, so that it can be counted. Kept for good.

        What the same run has said before about a series under the same name stands. Raises ValueError for a row that
        breaks its own rules.
        """
        self._append(TRIALS, rows)

    def record_moves(self, moves: Sequence[SourceMove]) -> None:
        """Coins have another source from now on. Kept for good."""
        self._append(SOURCE_MOVES, moves)

    def held(self, *, made: bool = False) -> AbstractContextManager[None]:
        """While this lasts, many questions and changes cost less (see Database.held)."""
        return self._database.held(made=made)

    def observe(self, conditions: Sequence[Condition], now: datetime) -> int:
        """Tell once of the conditions that have begun, and note those that have ended (see registry.notices). Returns
        how many are new. Nothing is written, and no registry made, where everything stands as it was told."""
        with self._database.read() as connection:
            if not notices.changed(connection, conditions):
                return 0
        with self._database.write() as connection:
            return notices.observe(connection, conditions, now)

    def take_notices(self, now: datetime, *, most: int, max_age: timedelta) -> tuple[OutboxEntry, ...]:
        """The notices to send now, which no other process gets for a while (see notices.take)."""
        with self._database.read() as connection:
            if not notices.has_due(connection, now):
                return ()
        with self._database.write() as connection:
            return tuple(notices.take(connection, now, most=most, max_age=max_age))

    def mark_sent(self, numbers: Sequence[int]) -> None:
        """These notices, by their numbers, went."""
        with self._database.write() as connection:
            notices.mark_sent(connection, numbers)

    def _append(self, journal: Journal[R], rows: Sequence[R]) -> int:
        records = [settled(row) for row in rows]
        if not records:
            return 0
        with self._database.write() as connection:
            return len(journal.append(connection, records))

    # Questions

    def served_state(self) -> Hashable:
        """What changes whenever what forecasts rest on or say does: aliases, A/B tests, evidence, calibration, outcomes
        of models, marks. Forecasts that are written into the ledger do not change it."""
        with self._database.read() as connection:
            return tables.served_state(connection), tuple(live_status.live_state(connection))

    def snapshot(self) -> bytes | None:
        """The database at one moment, as the bytes of its file; None where there is none."""
        if not self._database.path.is_file():
            return None
        with self._database.read() as connection:
            return connection.serialize()

    def outbox(self) -> tuple[OutboxEntry, ...]:
        """The notices of the last weeks, oldest first, with what became of each."""
        with self._database.read() as connection:
            return tuple(notices.read_outbox(connection))

    def settled_sources(self, vs: str, granularity: Granularity) -> SettledSources:
        """Which sources coins were moved to, and which their versions in production rest on."""
        with self._database.read() as connection:
            return settled_sources(connection, vs, granularity)

    def source_moves(self, coin: str | None = None) -> tuple[SourceMove, ...]:
        """Of a coin or of all, oldest first."""
        with self._database.read() as connection:
            return tuple(SOURCE_MOVES.matching(connection, _where(coin=coin)))

    def unscored(self) -> tuple[LedgerRow, ...]:
        """The forecasts of the ledger whose outcome is not written yet, oldest first."""
        with self._database.read() as connection:
            return tuple(ledger.unscored(connection))

    def ledger(self, key: VersionKey, number: int) -> tuple[LedgerRow, ...]:
        """What a version forecast, in the order of writing; number 0: the baseline."""
        with self._database.read() as connection:
            return tuple(LEDGER.matching(connection, {**key.columns, "number": number}))

    def matured(self, key: VersionKey, number: int) -> tuple[MaturedRow, ...]:
        """What a version forecast and what came of it, where that is known; by issue and horizon."""
        with self._database.read() as connection:
            return tuple(ledger.matured(connection, {**key.columns, "number": number}))

    def calibration_states(self, key: VersionKey, number: int) -> dict[int, CalibrationState]:
        """The online calibration of a version, by horizon; empty before its first outcome."""
        with self._database.read() as connection:
            return ledger.read_states(connection, key, number)

    def calibration_rows(self, key: VersionKey, number: int) -> tuple[MaturedRow, ...]:
        """What the online calibration of a version rests on (see ledger.calibration_rows); by issue and horizon."""
        with self._database.read() as connection:
            return tuple(ledger.calibration_rows(connection, read_lineage(connection, key), key, number))

    def live_record(self, key: VersionKey, number: int) -> tuple[MaturedRow, ...]:
        """What a version's lineage forecast live (see ledger.live_record); by issue and horizon."""
        with self._database.read() as connection:
            return tuple(ledger.live_record(connection, read_lineage(connection, key), key, number))

    def live_columns(self, key: VersionKey, number: int) -> LiveRows:
        """As `live_record`, as columns: of a long ledger only what is new is read."""
        with self._database.read() as connection:
            if number == 0:
                return live_rows.matured_rows(connection, key, number)
            return live_rows.lineage_rows(connection, read_lineage(connection, key), key, number)

    def newest_matured(self, key: VersionKey, rows: LiveRows, horizon: int, most: int) -> Sequence[MaturedRow]:
        """The newest of `live_columns` at a horizon, at most so many, as the ledger has them."""
        with self._database.read() as connection:
            return live_rows.newest_pairs(connection, key, rows, horizon, most)

    def count_waiting(self) -> int:
        """How many forecasts of the ledger have no outcome yet."""
        with self._database.read() as connection:
            return ledger.count_waiting(connection)

    def live_history(self, key: VersionKey, number: int, *, alone: bool = False) -> tuple[IssuedRow, ...]:
        """As `live_record`, with the forecasts whose outcome is not known yet. alone: the version's own only; those of
        the baseline, number 0, always are."""
        with self._database.read() as connection:
            if alone or number == 0:
                return tuple(ledger.issued(connection, {**key.columns, "number": number}))
            return tuple(ledger.live_history(connection, read_lineage(connection, key), key, number))

    def newest_history(self, key: VersionKey, number: int, most: int) -> tuple[LedgerRow, ...]:
        """The newest forecasts of the shortest horizon in `live_history`, at most so many, by issue."""
        with self._database.read() as connection:
            return tuple(ledger.newest_history(connection, read_lineage(connection, key), key, number, most))

    def ledger_keys(self, **key: Unpack[KeyFilter]) -> tuple[VersionKey, ...]:
        """The keys of which anything was forecast live, the baseline's among them, sorted."""
        with self._database.read() as connection:
            return tuple(ledger.ledger_keys(connection, _where(**key)))

    def lineage(self, key: VersionKey, number: int) -> tuple[Member, ...]:
        """The version and those before it of which it is a refresh (see registry.lineage), the youngest first."""
        with self._database.read() as connection:
            lineage = read_lineage(connection, key)
        return tuple(lineage.members[member] for member in lineage.chain(number) if member in lineage.members)

    def live_mark(self, key: VersionKey, number: int) -> LiveMark | None:
        """How a version stood when it was last judged live, or the one before it of which it is a refresh; None: they
        never were."""
        with self._database.read() as connection:
            own = live_status.read_mark(connection, key, number)
            return own or live_status.latest_mark(connection, key, read_lineage(connection, key).chain(number)[1:])

    def ab_tests(self, key: VersionKey | None = None) -> tuple[AbTest, ...]:
        """The A/B tests of a key, or all of them, oldest first."""
        with self._database.read() as connection:
            return tuple(experiments.all_tests(connection, key))

    def evidence_for(self, key: VersionKey, recipe: str) -> Evidence | None:
        """What a walk forward found about a recipe on a series; None: not backtested.

        Of the walks within `gate.max_evidence_age_days` of the newest it is the newest that has at least half the
        origins of the longest. Evidence on the coin itself goes before evidence that was pooled over coins with it.
        """
        with self._database.read() as connection:
            return append_only.evidence_for(connection, key, recipe, self._evidence_age)

    def evidence(
        self, *, run: str | None = None, recipe: str | None = None, **key: Unpack[KeyFilter]
    ) -> tuple[Evidence, ...]:
        """The evidence that matches, in the order of its recording. coin "": only what was pooled over coins."""
        with self._database.read() as connection:
            return tuple(EVIDENCE.matching(connection, _where(run=run, recipe=recipe, **key)))

    def trials_on(
        self, series: str, start: datetime, end: datetime, command: TrialCommand | None = None
    ) -> tuple[Trial, ...]:
        """What was tried on a series (sample/usd/daily/bitcoin) between two moments, both included; oldest first.

        A trial counts if its span shares at least one moment with the one asked for. The same configuration tried in
        several runs comes once for each: whether those are one trial is for the caller to say.
        """
        if end < start:
            raise ValueError(f"the span ends at {end}, before it starts at {start}")
        with self._database.read() as connection:
            return tuple(append_only.trials_on(connection, series, start, end, command))

    def tuning_trials(self) -> tuple[Trial, ...]:
        """What every search for settings tried, in the order of its recording: a row for each coin that it was for."""
        with self._database.read() as connection:
            return tuple(TRIALS.matching(connection, {"command": "tune"}))

    def versions(
        self, *, alias: str | None = None, fit_id: str | None = None, **key: Unpack[KeyFilter]
    ) -> tuple[Version, ...]:
        """The versions that match, sorted by key and number."""
        with self._database.read() as connection:
            return tuple(tables.read_versions(connection, _where(fit_id=fit_id, **key), alias=alias))

    def listing(self, *, alias: str | None = None, **key: Unpack[KeyFilter]) -> tuple[VersionSummary, ...]:
        """The versions that match as a list shows them, sorted by key and number; quicker than `versions`."""
        with self._database.read() as connection:
            return tuple(tables.read_listing(connection, _where(**key), alias=alias))

    def keys(self, **key: Unpack[KeyFilter]) -> tuple[VersionKey, ...]:
        """The keys that have versions, sorted."""
        with self._database.read() as connection:
            return tuple(tables.read_keys(connection, _where(**key)))

    def get(self, reference: str | VersionReference, market: Market) -> Version:
        """The version that a reference means in a market; the market that it names itself goes before.

        A coin alone is its best version; where none is in production, that of its only kind. Raises UsageError for a
        reference that is malformed or could be of several kinds, RegistryError that says what there is if there is no
        such version.
        """
        if isinstance(reference, str):
            reference = parse_reference(reference)
        market = reference.within(market)
        kind = reference.kind
        if kind is None:
            if reference.number is None and reference.alias in (None, BEST):
                best = self.best(reference.coin, market)
                if best is not None:
                    return best
            kind = self._only_kind(reference, market)
        key = VersionKey(reference.coin, market, kind)
        with self._database.read() as connection:
            number = _resolve(reference, tables.read_aliases(connection, key))
            versions = tables.read_versions(connection, {**key.columns, "number": number})
            if not versions:
                raise RegistryError(
                    f"There is no {reference} on {market.source} bars in {market.vs}. "
                    f"{_alternatives(connection, key.coin, kind, key)}"
                )
            return versions[0]

    def version(self, key: VersionKey, number: int) -> Version:
        """The version of a key with this number. RegistryError if there is none."""
        return self.get(VersionReference(key.coin, key.kind, number=number), key.market)

    def _only_kind(self, reference: VersionReference, market: Market) -> str:
        kinds = [key.kind for key in self.keys(coin=reference.coin, **asdict(market))]
        if not kinds:
            raise self.no_such(reference, **asdict(market))
        if reference.alias == BEST:
            raise RegistryError(
                f"{reference.coin} has no production version with sound calibration on {market.source} "
                f"{market.granularity} bars: the baseline answers. Train: cryptocast train."
            )
        if len(kinds) > 1:
            raise UsageError(f"{reference} could be of {', '.join(f'{reference.coin}/{kind}' for kind in kinds)}.")
        return kinds[0]

    def no_such(
        self,
        reference: VersionReference,
        *,
        source: str | None = None,
        vs: str | None = None,
        granularity: Granularity | None = None,
    ) -> RegistryError:
        """The error that says that nothing here is called that on these bars, what there is, and what is nearest."""
        bars = " ".join(part for part in (source, granularity, "bars") if part)
        where = f" on {bars}" if source or granularity else ""
        message = f"There is no version of {reference}{where}{f' in {vs}' if vs else ''}."
        with self._database.read() as connection:
            return RegistryError(f"{message} {_alternatives(connection, reference.coin, reference.kind)}")

    def alias(self, key: VersionKey, name: str) -> Version | None:
        """The version that an alias (production, challenger) of the key stands at; None if it stands nowhere."""
        return next(iter(self.versions(**key.columns, alias=name)), None)

    def best(self, coin: str, market: Market) -> Version | None:
        """The best of the coin's production versions over all kinds (see gate.best_of); None: the baseline answers."""
        versions, evidence = self._contenders(coin, market)
        return best_of(versions, evidence)

    def standings(self, coin: str, market: Market) -> tuple[Standing, ...]:
        """The coin's production versions of all kinds, best first (see gate.standings)."""
        versions, evidence = self._contenders(coin, market)
        return standings(versions, evidence)

    def _contenders(self, coin: str, market: Market) -> tuple[tuple[Version, ...], dict[str, Evidence]]:
        """Production of every kind, and by kind the newest walk forward of its recipe."""
        where = _where(coin=coin, **asdict(market))
        with self._database.read() as connection:
            versions = tuple(tables.read_versions(connection, where, alias=PRODUCTION))
            age = self._evidence_age
            walks = {
                v.key.kind: append_only.evidence_for(connection, v.key, v.manifest.evidence_recipe, age)
                for v in versions
            }
        return versions, {kind: walk for kind, walk in walks.items() if walk is not None}

    def load_files(self, fit_id: str) -> dict[str, bytes]:
        """The artefacts of a fit by name, each checked against its size and hash. Raises RegistryError."""
        with self._database.read() as connection:
            manifest = tables.read_fit(connection, fit_id)
        return {file.name: self._objects.get(file.sha256, file.size) for file in manifest.artefacts}

    def history(
        self, *, alias: str | None = None, until: datetime | None = None, **key: Unpack[KeyFilter]
    ) -> tuple[Event, ...]:
        """What moved, oldest first; `until` leaves out what was written later."""
        with self._database.read() as connection:
            return tuple(tables.read_events(connection, _where(alias=alias, **key), until=until))

    def production_at(self, key: VersionKey, moment: datetime) -> int | None:
        """The number that served at a moment; None if there was none yet."""
        events = self.history(**key.columns, alias=PRODUCTION, until=moment)
        return events[-1].number if events else None

    def verify(self, each: EachObject = iter) -> tuple[RegistryFault, ...]:
        """Everything hashed again and every reference followed; empty if the registry is whole.

        each: passes the artefacts on as they are read.
        """
        return verify_registry(self._database, self._objects, each)

    # Inside one transaction

    def _register_version(
        self,
        connection: Connection,
        manifest: FitManifest,
        fit_id: str,
        version: NewVersion,
        now: datetime,
        who: str,
        outdated: Mapping[str, int],
        contested: Collection[str],
    ) -> None:
        key = VersionKey(version.coin, Market(manifest.source, manifest.vs, manifest.granularity), manifest.kind)
        if tables.read_versions(connection, {**key.columns, "fit_id": fit_id}):
            return
        number = tables.next_number(connection, key)
        contents = (canonical_json(version.calibration), canonical_json(version.hold_out))
        tables.insert_version(connection, key, number, (fit_id, manifest), contents, now)
        production = tables.read_aliases(connection, key).get(PRODUCTION)
        decision = None
        if production is None and version.coin not in contested and not manifest.is_pretrained:
            decision = first_version(version.hold_out)
        elif production is not None and production == outdated.get(version.coin):
            decision = successor(production, version.hold_out)
        evidence = {} if decision is None else {"decision": msgspec.to_builtins(decision)}
        is_refused = decision is not None and not decision.accepted
        why = "registered, but not fit for production" if is_refused else "registered"
        event = Event(
            at=now,
            who=who,
            action="register",
            key=key,
            alias=CHALLENGER,
            number=number,
            why=why,
            evidence={"fit": fit_id, **evidence},
        )
        _record(connection, event)
        if manifest.is_pretrained:
            _record(connection, replace(event, alias=SHIPPED))
        if decision is not None and decision.accepted:
            is_first = decision.rule == "first"
            why = (
                "the first version, and the gate lets it through" if is_first else "takes the place of an outdated one"
            )
            _record(connection, replace(event, action="promote", alias=PRODUCTION, why=why, evidence=evidence))
        elif decision is not None:
            notices.observe(connection, [refusal(key, number, decision.reasons)], now)


@dataclass(frozen=True, slots=True)
class Promotion:
    """One change of production: see `Registry.promote`."""

    key: VersionKey
    number: int
    why: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    action: Action = "promote"
    expected: int | msgspec.UnsetType | None = msgspec.UNSET


def _promoted(connection: Connection, move: Promotion, now: datetime, who: str) -> Version:
    key, number, expected = move.key, move.number, move.expected
    if number not in tables.read_numbers(connection, key):
        raise RegistryError(
            f"There is no version {number} of {key}. {_alternatives(connection, key.coin, key.kind, key)}"
        )
    previous = tables.read_aliases(connection, key).get(PRODUCTION)
    if expected is not msgspec.UNSET and previous != expected:
        raise ProductionMovedError(
            f"Production of {key} moved from {expected} to {previous} while its promotion was decided. "
            "Run it again: cryptocast registry promote."
        )
    if previous != number:
        event = Event(
            at=now,
            who=who,
            action=move.action,
            key=key,
            alias=PRODUCTION,
            number=number,
            why=move.why,
            evidence=dict(move.evidence),
        )
        _record(connection, event)
    return tables.read_versions(connection, {**key.columns, "number": number})[0]


def _record(connection: Connection, event: Event) -> None:
    """Move an alias, with a row in the history."""
    previous = tables.read_aliases(connection, event.key).get(event.alias)
    tables.set_alias(connection, event.key, event.alias, event.number)
    event = replace(event, previous=previous, who=_printable(event.who), why=_printable(event.why))
    tables.append_event(connection, event)
    if event.alias == PRODUCTION:
        _tell(connection, event)
    log.info("%s of %s: %s -> %d (%s)", event.alias, event.key, previous, event.number, event.action)


def _tell(connection: Connection, event: Event) -> None:
    """In the transaction that moves production, so that neither is without the other. That the model of the package
    answers where there was nothing is no news."""
    if event.previous is None and tables.read_aliases(connection, event.key).get(SHIPPED) == event.number:
        return
    names = ("number", "previous", "action", "who", "why")
    facts = {**event.key.columns, **{name: getattr(event, name) for name in names}}
    notices.tell(connection, NoticeCode.PROMOTED, str(event.key), facts, event.at)
    notices.observe(connection, [refusal(event.key, None, ())], event.at)


def refusal(key: VersionKey, number: int | None, reasons: Sequence[Reason]) -> Condition:
    """That the gate refuses a version, told once for each; None: it refuses none."""
    facts = {**key.columns, "number": number, "reasons": [msgspec.to_builtins(reason) for reason in reasons]}
    return Condition(NoticeCode.REFUSED, str(key), None if number is None else facts, phase=str(number))


def _printable(text: str) -> str:
    """The text on one line, without what could steer a terminal or cannot be stored."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _resolve(reference: VersionReference, aliases: Mapping[str, int]) -> int | None:
    """The number that a reference means. Without alias or number: production, or the newest if there is none."""
    if reference.number is not None:
        return reference.number
    if reference.alias is not None:
        return aliases.get(reference.alias)
    return aliases.get(PRODUCTION, aliases.get(CHALLENGER))


def _alternatives(connection: Connection, coin: str, kind: str | None, key: VersionKey | None = None) -> str:
    """What there is instead of a version that was asked for, and what is nearest, for the error message."""
    numbers = tables.read_numbers(connection, key) if key is not None else []
    if key is not None and numbers:
        newest = ", ".join(map(str, numbers[-5:]))
        has_production = PRODUCTION in tables.read_aliases(connection, key)
        none = "" if has_production else " None is in production: see cryptocast registry promote."
        there = f"There is one version: {newest}." if len(numbers) == 1 else f"The newest versions are {newest}."
        return there + none
    if kind == "baseline":
        return "The baseline has no versions: it needs no fit and always answers. Name another kind."
    keys = tables.read_keys(connection, {})
    others = sorted((other for other in keys if other.coin == coin), key=lambda other: other.kind != kind)
    if others:
        return f"There are versions of {', '.join(map(str, others[:5]))}."
    coins = sorted({other.coin for other in keys})
    close = nearest(coin, coins)
    there = f"There are versions of {', '.join(coins[:5])}{' and others' if len(coins) > 5 else ''}. " if coins else ""
    guess = f"Did you mean {close}? " if close else ""
    return f"{there}{guess}Train it: cryptocast train {coin}" + (f" --model {kind}." if kind else ".")


def _where(**columns: str | None) -> dict[str, object]:
    return {column: value for column, value in columns.items() if value is not None}


def _settled_version(version: NewVersion) -> NewVersion:
    return NewVersion(version.coin, settled(version.calibration), settled(version.hold_out))


def _check_fit(manifest: FitManifest, files: Mapping[str, bytes], versions: Sequence[NewVersion]) -> None:
    """Raises ValueError unless the manifest lists exactly the files, and the versions are of coins of its pool."""
    if sorted(manifest.artefacts, key=lambda file: file.name) != list(artefacts_of(files)):
        raise ValueError("the manifest does not list exactly the files given: build its artefacts with artefacts_of")
    if manifest.recipe != recipe_hash(manifest.kind, manifest.settings, manifest.feature_hash):
        raise ValueError("the manifest's recipe is not recipe_hash of its kind, settings and feature hash")
    coins = [version.coin for version in versions]
    if not coins or len(set(coins)) != len(coins):
        raise ValueError(f"expected one version for each of at least one coin, got {coins}")
    for version in versions:
        if manifest.data(version.coin) is None and not manifest.is_pretrained:
            raise ValueError(f"{version.coin} is not in the pool that the manifest lists")
        if version.calibration.coin != version.coin:
            raise ValueError(f"the calibration given for {version.coin} is that of {version.calibration.coin}")
        scored = sorted(score.horizon for score in version.hold_out.horizons)
        if scored != sorted(manifest.horizons) and not (manifest.is_pretrained and not scored):
            raise ValueError(f"{version.coin}: the hold-out scores horizons {scored}, the fit has {manifest.horizons}")
