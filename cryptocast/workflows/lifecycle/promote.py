"""Bring to production what has earned it: every key's challenger before the gate, with the reasons."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

import msgspec

from cryptocast.config import Config, Granularity
from cryptocast.errors import GateError, RegistryError, UsageError
from cryptocast.registry.contest import Contest
from cryptocast.registry.gate import Decision, first_version, next_version, successor
from cryptocast.registry.manifest import COIN_PATTERN, WORD_PATTERN
from cryptocast.registry.references import Reference
from cryptocast.registry.registry import ProductionMovedError, Promotion, Registry
from cryptocast.registry.version import CHALLENGER, PRODUCTION, Action, Version, VersionKey, version_name
from cryptocast.workflows.feature_sets import is_outdated
from cryptocast.workflows.lifecycle.promotion_evidence import StoredGrounds

__all__ = ["PromotionReport", "PromotionRow", "promote"]

# promoted: production moved. kept: the version repeats the one in production. refused: the gate says no; production, if
# there is any, stays. nothing: the version is in production already.
Outcome: TypeAlias = Literal["promoted", "kept", "refused", "nothing"]

ATTEMPTS: Final = 5  # how often a decision is made anew because another process moved production meanwhile
MAX_REASON: Final = 1000


class PromotionRow(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one key."""

    coin: str
    kind: str
    source: str
    vs: str
    granularity: Granularity
    action: Outcome
    rule: str  # first, refresh, evidence, outdated, nothing (see registry.gate) or force
    from_number: int | None = msgspec.field(name="from")  # production before
    to_number: int | None = msgspec.field(name="to")  # production after
    version: int  # the version that was judged
    reasons: tuple[str, ...]
    contest: Contest | None = None  # the comparison with production, if there was one

    @property
    def name(self) -> str:
        """The version that was judged, as other commands take it."""
        return version_name(self.coin, self.kind, self.version, self.granularity)


class PromotionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every key that was looked at."""

    schema: Literal["cryptocast.promotion/1"] = "cryptocast.promotion/1"
    dry_run: bool
    named: bool  # a coin was named, so that a refusal is an error
    summary: str
    rows: tuple[PromotionRow, ...]

    def refusal(self) -> GateError | None:
        """The error of a promotion that was asked for by name and refused; None: there is none."""
        refused = [row for row in self.rows if row.action == "refused"]
        if not (self.named and refused):
            return None
        what = "; ".join(f"{row.name}: {row.reasons[0]}" for row in refused)
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
    keys = _keys(config, registry, coin=coin, kind=kind, source=source or _configured(config))
    if number is not None and len(keys) > 1:
        found = ", ".join(map(str, keys))
        raise UsageError(f"Version {number} could be of {found}. Name the kind, and the source with --source.")
    hand = _Hand(config, registry, dry_run, reason if force else None, who, now)
    groups = hand.fits(keys, number) if whole_fit else tuple(((key, number),) for key in keys)
    rows = tuple(row for group in groups for row in hand.judge(group))
    return PromotionReport(dry_run=dry_run, named=coin is not None, summary=_summary(rows, dry_run), rows=rows)


Wanted: TypeAlias = tuple[VersionKey, int | None]  # None: the challenger


@dataclass(frozen=True, slots=True)
class _Judged:
    """One version before the gate: what stood before it, and what is said."""

    version: Version
    before: int | None
    decision: Decision
    moves: bool


class _Hand:
    """Judges and moves one group after the other; the versions of a group move together or not at all."""

    def __init__(
        self, config: Config, registry: Registry, dry_run: bool, forced: str | None, who: str, now: datetime
    ) -> None:
        self._config, self._registry, self._dry_run = config, registry, dry_run
        self._forced, self._who, self._now = forced, who, now

    def fits(self, keys: Sequence[VersionKey], number: int | None) -> tuple[tuple[Wanted, ...], ...]:
        """The fits of the versions that are wanted, each with all its coins."""
        wanted = dict.fromkeys(self._wanted(key, number).fit_id for key in keys)
        return tuple(tuple((v.key, v.number) for v in self._registry.versions(fit_id=fit_id)) for fit_id in wanted)

    def judge(self, group: Sequence[Wanted]) -> tuple[PromotionRow, ...]:
        for _ in range(ATTEMPTS - 1):
            try:
                return self._judge(group)
            except ProductionMovedError:
                continue  # decided against a production that is no longer there: decide again
        return self._judge(group)

    def _judge(self, group: Sequence[Wanted]) -> tuple[PromotionRow, ...]:
        judged = [self._judged(*wanted) for wanted in group]
        refused = [one for one in judged if not one.moves and one.decision.rule != "nothing"]
        held = f"the fit moves as a whole, and {refused[0].version.name} was refused" if refused else None
        moving = [one for one in judged if one.moves] if held is None else []
        if moving and not self._dry_run:
            moves = [self._promotion(one) for one in moving]
            self._registry.promote_all(moves, now=self._now, who=self._who)
        return tuple(self._row(one, held if one.moves else None) for one in judged)

    def _judged(self, key: VersionKey, number: int | None) -> _Judged:
        production = self._registry.alias(key, PRODUCTION)
        version = self._wanted(key, number)
        decision = self._decide(production, version)
        before = None if production is None else production.number
        moves = decision.accepted or (self._forced is not None and version.number != before)
        return _Judged(version, before, decision, moves)

    def _row(self, one: _Judged, held: str | None) -> PromotionRow:
        key, moves = one.version.key, one.moves and held is None
        refused = "refused" if held is not None else _outcome(one.decision, one.before, one.version)
        return PromotionRow(
            coin=key.coin,
            kind=key.kind,
            source=key.source,
            vs=key.vs,
            granularity=key.granularity,
            action="promoted" if moves else refused,
            rule=one.decision.rule if one.decision.accepted or not moves else "force",
            from_number=one.before,
            to_number=one.version.number if moves else one.before,
            version=one.version.number,
            reasons=(*((held,) if held is not None else ()), *self._reasons(one)),
            contest=one.decision.contest,
        )

    def _reasons(self, one: _Judged) -> tuple[str, ...]:
        forced = () if self._forced is None else (f"forced: {self._forced}",)
        return (*forced, *one.decision.reasons)

    def _wanted(self, key: VersionKey, number: int | None) -> Version:
        if number is None:
            challenger = self._registry.alias(key, CHALLENGER)
            if challenger is None:
                raise RegistryError(f"{key} has no challenger. See cryptocast registry verify.")
            return challenger
        reference = f"{key.coin}/{key.kind}:{number}"
        return self._registry.get(reference, source=key.source, vs=key.vs, granularity=key.granularity)

    def _decide(self, production: Version | None, version: Version) -> Decision:
        gate = self._config.gate
        if production is None:
            return first_version(version.hold_out, gate)
        before, after = (is_outdated(one, self._config) for one in (production, version))
        if before and not after:
            return successor(production.number, version.hold_out, gate)
        if after and not before:
            why = f"version {version.number} is outdated: it was fitted on other features, and would answer nobody"
            return Decision(accepted=False, rule="outdated", reasons=(why,))
        grounds = StoredGrounds(self._registry, self._config.store.path, gate, self._now, version)
        return next_version(production, version, gate, grounds)

    def _promotion(self, one: _Judged) -> Promotion:
        action: Action = "refresh" if one.decision.rule == "refresh" else "promote"
        if not one.decision.accepted:
            action = "force"
        return Promotion(
            key=one.version.key,
            number=one.version.number,
            why="; ".join(self._reasons(one)),
            evidence={"decision": msgspec.to_builtins(one.decision)},
            action=action,
            expected=one.before,
        )


def _outcome(decision: Decision, before: int | None, version: Version) -> Outcome:
    if decision.rule != "nothing":
        return "refused"
    return "nothing" if version.number == before else "kept"


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


def _configured(config: Config) -> str | None:
    return None if config.data.source == "auto" else config.data.source


def _keys(
    config: Config, registry: Registry, *, coin: str | None, kind: str | None, source: str | None
) -> Sequence[VersionKey]:
    """The keys to judge. A source that is not said means every source, as each has a production of its own."""
    data = config.data
    found = registry.keys(coin=coin, kind=kind, source=source, vs=data.vs, granularity=data.granularity)
    if coin is None:
        return [key for key in found if key.coin in data.coins]
    if not found:
        raise registry.no_such(Reference(coin, kind), source=source, vs=data.vs, granularity=data.granularity)
    return found


def _summary(rows: Sequence[PromotionRow], dry_run: bool) -> str:
    if not rows:
        return "Nothing to promote: there are no versions yet. Train: cryptocast train."
    counts = {outcome: sum(row.action == outcome for row in rows) for outcome in ("promoted", "refused", "kept")}
    said = [f"{count} {outcome}" for outcome, count in counts.items() if count]
    if not counts["promoted"] and not counts["refused"]:
        return "Nothing to promote: production is up to date."
    return ("Dry run, nothing was changed: " if dry_run else "") + ", ".join(said) + "."
