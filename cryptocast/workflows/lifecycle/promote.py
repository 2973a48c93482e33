"""Bring to production what has earned it: every key's challenger before the gate, with the reasons."""

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec

from cryptocast.config import COIN_PATTERN, Config
from cryptocast.errors import GateError, RegistryError, UsageError
from cryptocast.registry.contest import Contest
from cryptocast.registry.gate import Decision, first_version, next_version, successor
from cryptocast.registry.manifest import WORD_PATTERN
from cryptocast.registry.reasons import Reason, ReasonCode
from cryptocast.registry.references import VersionReference
from cryptocast.registry.registry import ProductionMovedError, Promotion, Registry, refusal
from cryptocast.registry.version import CHALLENGER, PRODUCTION, Action, Version, VersionKey, version_name
from cryptocast.workflows.feature_sets import is_outdated
from cryptocast.workflows.lifecycle.promotion_evidence import StoredEvidence
from cryptocast.workflows.pretrained import incumbent
from cryptocast.workflows.reports import KeyRow

# promoted: production moved. kept: the version repeats the one in production. refused: the gate says no; production, if
# there is any, stays. nothing: the version is in production already.
PromotionOutcome: TypeAlias = Literal["promoted", "kept", "refused", "nothing"]

ATTEMPTS: Final = 5  # how often a decision is made anew because another process moved production meanwhile
MAX_REASON: Final = 1000

Result = TypeVar("Result")


class PromotionRow(KeyRow, frozen=True, kw_only=True):
    """What became of one key."""

    action: PromotionOutcome
    rule: str  # first, refresh, evidence, outdated, nothing (see registry.gate) or force
    from_number: int | None = msgspec.field(name="from")  # production before
    to_number: int | None = msgspec.field(name="to")  # production after
    version: int  # the version that was judged
    reasons: tuple[Reason, ...]
    contest: Contest | None = None  # the comparison with production, if there was one

    @property
    def name(self) -> str:
        """The version that was judged, as other commands take it."""
        return version_name(self.coin, self.kind, self.version, self.granularity)


class PromotionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every key that was looked at."""

    schema: Literal["cryptocast.promotion/2"] = "cryptocast.promotion/2"
    dry_run: bool
    named: bool  # a coin was named, so that a refusal is an error
    summary: str
    rows: tuple[PromotionRow, ...]

    def refusal(self) -> GateError | None:
        """The error of a promotion that was asked for by name and refused; None: there is none."""
        what = "; ".join(f"{row.name}: {row.reasons[0]}" for row in self.rows if row.action == "refused")
        if not (self.named and what):
            return None
        return GateError(f"The gate refused {what}. To promote all the same: --force --reason TEXT.")


def promote(
    config: Config,
    registry: Registry,
    *,
    coin: str | None = None,
    kind: str | None = None,
    number: int | None = None,
    source: str | None = None,
    whole_fit: bool = False,
    dry_run: bool = False,
    force: bool = False,
    reason: str | None = None,
    who: str,
    now: datetime,
) -> PromotionReport:
    """Put challengers (or the version named) before the gate and promote those that pass.

    Without a coin: every configured coin, every kind and source with versions on the configured bars. whole_fit: with
    all other coins of the same fit, in one transaction, or none of them where one is refused. Refusals stand in the
    report; one that was asked for by name is `refusal` too. Forcing needs a coin and a reason, and both are recorded.
    Raises UsageError for arguments that do not go together, RegistryError if what was named does not exist.
    """
    _check_arguments(coin=coin, kind=kind, number=number, force=force, reason=reason)
    source = source or (None if config.data.source == "auto" else config.data.source)
    keys = _keys(config, registry, coin=coin, kind=kind, source=source)
    if number is not None and len(keys) > 1:
        raise UsageError(
            f"Version {number} could be of {', '.join(map(str, keys))}. Name the kind, and the source with --source."
        )
    promoter = _Promoter(config, registry, dry_run, reason if force else None, who, now)
    groups = promoter.whole_fits(keys, number) if whole_fit else tuple(((key, number),) for key in keys)
    rows = tuple(row for group in groups for row in as_production_stands(partial(promoter.judge, group)))
    return PromotionReport(dry_run=dry_run, named=coin is not None, summary=_summary(rows, dry_run), rows=rows)


Subject: TypeAlias = tuple[VersionKey, int | None]  # None: the challenger


@dataclass(frozen=True, slots=True)
class _Candidate:
    """One version before the gate: what stood before it, and what is said."""

    version: Version
    before: int | None
    decision: Decision
    forced: str | None

    @property
    def moves(self) -> bool:
        """Whether it may go into production by itself."""
        return self.decision.accepted or (self.forced is not None and self.version.number != self.before)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Of a person, then of the gate."""
        forced = () if self.forced is None else (Reason(ReasonCode.FORCED, {"why": self.forced}),)
        return (*forced, *self.decision.reasons)

    def promotion(self) -> Promotion:
        """Its move into production."""
        action: Action = "refresh" if self.decision.rule == "refresh" else "promote"
        return Promotion(
            key=self.version.key,
            number=self.version.number,
            why="the gate lets it through" if self.forced is None else f"forced: {self.forced}",
            evidence={"decision": msgspec.to_builtins(self.decision)},
            action=action if self.decision.accepted else "force",
            expected=self.before,
        )

    def row(self, obstacle: Reason | None) -> PromotionRow:
        """What became of it. obstacle: why the whole fit stays, although this version might move."""
        moves = self.moves and obstacle is None
        outcome: PromotionOutcome = "refused"
        if moves:
            outcome = "promoted"
        elif self.decision.rule == "nothing" and not self.moves:
            outcome = "nothing" if self.version.number == self.before else "kept"
        return PromotionRow(
            **self.version.key.columns,
            action=outcome,
            rule=self.decision.rule if self.decision.accepted or not moves else "force",
            from_number=self.before,
            to_number=self.version.number if moves else self.before,
            version=self.version.number,
            reasons=(*((obstacle,) if self.moves and obstacle is not None else ()), *self.reasons),
            contest=self.decision.contest,
        )


@dataclass(frozen=True, slots=True)
class _Promoter:
    """Judges and moves one group after the other; the versions of a group move together or not at all.

    forced: a person's reason, where the gate does not decide.
    """

    config: Config
    registry: Registry
    dry_run: bool
    forced: str | None
    who: str
    now: datetime

    def whole_fits(self, keys: Sequence[VersionKey], number: int | None) -> tuple[tuple[Subject, ...], ...]:
        """The fits of the versions that are meant, each with all its coins."""
        fits = dict.fromkeys(self._version(key, number).fit_id for key in keys)
        return tuple(tuple((v.key, v.number) for v in self.registry.versions(fit_id=fit_id)) for fit_id in fits)

    def judge(self, group: Sequence[Subject]) -> tuple[PromotionRow, ...]:
        """What became of each of them."""
        cases = [self._case(*subject) for subject in group]
        against = [case for case in cases if not case.moves and case.decision.rule != "nothing"]
        obstacle = Reason(ReasonCode.FIT_REFUSED, {"version": against[0].version.name}) if against else None
        moves = [case.promotion() for case in cases if case.moves and obstacle is None]
        if moves and not self.dry_run:
            self.registry.promote_all(moves, now=self.now, who=self.who)
        rows = tuple(case.row(obstacle if case.moves else None) for case in cases)
        if not self.dry_run:
            refused = [(case.version, row) for case, row in zip(cases, rows, strict=True) if row.action == "refused"]
            self.registry.observe([refusal(v.key, v.number, row.reasons) for v, row in refused], self.now)
        return rows

    def _case(self, key: VersionKey, number: int | None) -> _Candidate:
        production, version = self.registry.alias(key, PRODUCTION), self._version(key, number)
        before = None if production is None else production.number
        return _Candidate(version, before, self._decide(production, version), self.forced)

    def _version(self, key: VersionKey, number: int | None) -> Version:
        if number is not None:
            return self.registry.version(key, number)
        challenger = self.registry.alias(key, CHALLENGER)
        if challenger is None:
            raise RegistryError(f"{key} has no challenger. See cryptocast registry verify.")
        return challenger

    def _decide(self, production: Version | None, version: Version) -> Decision:
        gate, production = self.config.gate, production or incumbent(self.registry, version.key)
        if production is None:
            return first_version(version.hold_out)
        before, after = (is_outdated(one, self.config) for one in (production, version))
        if before and not after:
            return successor(production.number, version.hold_out)
        if after and not before:
            reason = Reason(ReasonCode.ITSELF_OUTDATED, {"new": version.number})
            return Decision(accepted=False, rule="outdated", reasons=(reason,))
        grounds = StoredEvidence(self.registry, self.config.store.path, gate, self.now, version)
        return next_version(production, version, gate, grounds)


def as_production_stands(decide: Callable[[], Result]) -> Result:
    """The result of a decision, which is made anew while another process moves production in the meantime."""
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(ProductionMovedError):
            return decide()
    return decide()


def _check_arguments(
    *, coin: str | None, kind: str | None, number: int | None, force: bool, reason: str | None
) -> None:
    if coin is None and (kind is not None or number is not None):
        raise UsageError("Name the coin too: cryptocast registry promote COIN KIND [VERSION].")
    for value, pattern, noun in ((coin, COIN_PATTERN, "CoinGecko id"), (kind, WORD_PATTERN, "kind of model")):
        if value is not None and not re.fullmatch(pattern, value):
            raise UsageError(f"{value[:120]!r} is no {noun}: lower-case letters, digits and hyphens or underscores.")
    if kind == "baseline":
        raise UsageError("The baseline has no versions: it needs no fit and always answers. Name another kind.")
    if number is not None and number < 1:
        raise UsageError(f"{number} is no version number: versions count from 1.")
    if force and coin is None:
        raise UsageError("Name what to force: cryptocast registry promote COIN [KIND] [VERSION] --force --reason TEXT.")
    if force and not (reason or "").strip():
        raise UsageError("Forcing a promotion needs its reason for the history: --force --reason TEXT.")
    if reason is not None and not force:
        raise UsageError("A reason is recorded only with --force: the gate gives its own.")
    if reason is not None and (len(reason) > MAX_REASON or not reason.isprintable()):
        raise UsageError(f"The reason must be one printable line of at most {MAX_REASON} characters.")


def _keys(
    config: Config, registry: Registry, *, coin: str | None, kind: str | None, source: str | None
) -> Sequence[VersionKey]:
    """The keys to judge. A source that is not said means every source, as each has a production of its own."""
    data = config.data
    keys = registry.keys(coin=coin, kind=kind, source=source, vs=data.vs, granularity=data.granularity)
    if coin is None:
        return [key for key in keys if key.coin in data.coins]
    if not keys:
        raise registry.no_such(VersionReference(coin, kind), source=source, vs=data.vs, granularity=data.granularity)
    return keys


def _summary(rows: Sequence[PromotionRow], dry_run: bool) -> str:
    if not rows:
        return "Nothing to promote: there are no versions yet. Train: cryptocast train."
    counts = {outcome: sum(row.action == outcome for row in rows) for outcome in ("promoted", "refused", "kept")}
    if not counts["promoted"] and not counts["refused"]:
        return "Nothing to promote: production is up to date."
    words = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
    return f"{'Dry run, nothing was changed: ' if dry_run else ''}{words}."
