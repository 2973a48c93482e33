"""Whether a version has earned production: pure rules over its hold-out, with the reasons for and against."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from cryptocast.config import GateConfig
from cryptocast.evaluation.answers import PlainAnswer, Question
from cryptocast.evaluation.records import Evidence, HoldOut, HorizonScore
from cryptocast.registry.contest import Contest, horizon_reason
from cryptocast.registry.manifest import FitManifest
from cryptocast.registry.reasons import Reason, ReasonCode
from cryptocast.registry.version import Version

FOREIGN: Final = Reason(ReasonCode.FOREIGN)
# first: there is no production yet. refresh: production's own recipe on newer bars. evidence: another recipe, which
# only a comparison of forecasts can judge. outdated: one of the two cannot be asked any more. nothing: there is nothing
# to decide.
GateRule: TypeAlias = Literal["first", "refresh", "evidence", "outdated", "nothing"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate says, by which rule, and why."""

    accepted: bool
    rule: GateRule
    reasons: tuple[Reason, ...]
    contest: Contest | None = None  # the comparison with production that decided


class PromotionEvidence(Protocol):
    """What is known beyond the two versions; asked for only where it decides."""

    @property
    def today(self) -> datetime:
        """The moment that evidence is old or young at."""
        ...

    def backtested_to(self, version: Version) -> datetime | None:
        """The last origin of the newest walk forward of the version's recipe; None: not backtested."""
        ...

    def compare(self, production: Version, challenger: Version) -> Contest | str:
        """Both on identical origins: live if there are enough, else walked forward; or why that cannot be."""
        ...


def first_version(hold_out: HoldOut) -> Decision:
    """Whether a version may become the first production of its key.

    By the answers of its hold-out: refused if at any horizon the intervals are not right, or if it is worse than the
    baseline: the interval of its skill ends below 0. A horizon that answers with the baseline anyway is exempt. What
    there is not enough data for is not held against a first version. Foreign scores open nothing.
    """
    accepted, reasons = _sound(hold_out)
    return Decision(accepted=accepted, rule="first", reasons=reasons)


def successor(outdated: int, hold_out: HoldOut) -> Decision:
    """Whether a version may take the place of one that was fitted on other features than there are now.

    That one answers nobody, and nothing can be compared with what it would say. So it is judged as a first version is.
    """
    accepted, reasons = _sound(hold_out)
    cause = Reason(ReasonCode.OUTDATED, {"old": outdated})
    return Decision(accepted=accepted, rule="outdated", reasons=(cause, *reasons) if accepted else (*reasons, cause))


def next_version(production: Version, challenger: Version, config: GateConfig, evidence: PromotionEvidence) -> Decision:
    """Whether a version may take over from the production version of its key, or from the model that answers for every
    coin.

    Production's own recipe on newer bars is a refresh: it passes like a first version does, if the recipe was walked
    forward not too long ago. Another recipe must be better on forecasts of both for identical origins, which the
    hold-outs of two fits, on different bars, are not; so must a version that was not scored here, whatever recipe it
    says it has.
    """
    numbers = {"new": challenger.mark, "old": production.mark}
    if (challenger.key, challenger.number) == (production.key, production.number):
        return _nothing(Reason(ReasonCode.IN_PRODUCTION, numbers))
    if challenger.fit_id == production.fit_id or _same_ingredients(production.manifest, challenger.manifest):
        return _nothing(Reason(ReasonCode.REPEATS, numbers))
    missing = missing_horizons(production, challenger)
    is_same = challenger.manifest.evidence_recipe == production.manifest.evidence_recipe
    same_recipe = is_same and not challenger.hold_out.foreign
    rule: GateRule = "refresh" if same_recipe else "evidence"
    if missing:
        return _refused(rule, Reason(ReasonCode.LACKS_HORIZONS, {**numbers, "horizons": missing}))
    if rule == "evidence":
        return _contested(production, challenger, evidence)
    return _refresh(production, challenger, config, evidence)


def missing_horizons(production: Version, challenger: Version) -> tuple[int, ...]:
    """Those that nobody would answer any more with the challenger in production. What answers for every coin goes on
    answering at the horizons that the challenger lacks."""
    needed = set() if production.manifest.is_pretrained else set(production.manifest.horizons)
    return tuple(sorted(needed - set(challenger.manifest.horizons)))


def _contested(production: Version, challenger: Version, evidence: PromotionEvidence) -> Decision:
    numbers = {"new": challenger.mark, "old": production.mark}
    comparison = evidence.compare(production, challenger)
    if isinstance(comparison, str):
        code = ReasonCode.FOREIGN_UNPROVEN if challenger.hold_out.foreign else ReasonCode.RECIPE_UNPROVEN
        return _refused("evidence", Reason(code, {**numbers, "cause": comparison}))
    rows = map(horizon_reason, comparison.horizons)
    against = comparison.reasons
    if comparison.better:
        facts = {**numbers, "p": comparison.p, "rests_on": comparison.rests_on}
        against = (Reason(ReasonCode.BETTER, facts),)
    reasons = (*against, *rows)
    return Decision(accepted=comparison.better, rule="evidence", reasons=reasons, contest=comparison)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One production version among the kinds of its coin. ratio: its CRPS over the baseline's on the same forecasts,
    mean over the horizons; rests_on: walk-forward if all kinds have one, else each one's hold-out.

    One whose scores are foreign rests on nothing and has no ratio; put into production by hand, it answers where no
    other can.
    """

    kind: str
    number: int
    ratio: float | None = None
    rests_on: Literal["walk-forward", "hold-out", "nothing"] = "nothing"
    passes: bool = True
    reasons: tuple[Reason, ...]  # where its intervals are not right, or why its scores do not count
    foreign: bool = False


def standings(candidates: Sequence[Version], evidence: Mapping[str, Evidence] | None = None) -> tuple[Standing, ...]:
    """The versions by out-of-sample CRPS, first those whose intervals are not shown to be wrong; of equals the first.

    Foreign scores are not counted: such a version comes behind all that pass.

    CRPS is taken relative to the baseline's, because the bars of two hold-outs, or of two walks, may differ. A horizon
    that answers with the baseline counts as no better than it. evidence: by kind, the walk forward of its recipe.
    Prices and points (MAPE, R2) decide nothing.
    """
    walks = evidence or {}
    own = [version for version in candidates if not version.hold_out.foreign]
    by_walk = bool(own) and all(version.key.kind in walks for version in own)
    rows = [
        _standing(version, walks[version.key.kind].scores if by_walk else version.hold_out.horizons, by_walk=by_walk)
        for version in own
    ]
    for version in candidates:
        if version.hold_out.foreign:
            kind, number = version.key.kind, version.number
            rows.append(Standing(kind=kind, number=number, reasons=(FOREIGN,), foreign=True))
    return tuple(sorted(rows, key=lambda row: (not row.passes, row.ratio is None, row.ratio or 0.0)))


def best_of(candidates: Sequence[Version], evidence: Mapping[str, Evidence] | None = None) -> Version | None:
    """The first of the standings, if it passes; None: the baseline answers."""
    first = next((row for row in standings(candidates, evidence) if row.passes), None)
    return next((v for v in candidates if first is not None and v.key.kind == first.kind), None)


def _standing(version: Version, scores: Sequence[HorizonScore], *, by_walk: bool) -> Standing:
    own = [score for score in scores if score.horizon in version.manifest.horizons]
    fallbacks = {score.horizon for score in version.hold_out.horizons if score.by_baseline}
    ratios = [1.0 if s.horizon in fallbacks else 1.0 - s.skill.get("baseline", 0.0) for s in own]
    faults = tuple(_interval_faults([score for score in own if score.horizon not in fallbacks]))
    return Standing(
        kind=version.key.kind,
        number=version.number,
        ratio=sum(ratios) / len(ratios) if ratios else 1.0,
        rests_on="walk-forward" if by_walk else "hold-out",
        passes=not faults,
        reasons=faults,
    )


def _refresh(production: Version, challenger: Version, config: GateConfig, evidence: PromotionEvidence) -> Decision:
    numbers = {"new": challenger.mark, "old": production.mark}
    if challenger.number < production.number:
        return _refused("refresh", Reason(ReasonCode.OLDER, numbers))
    coin = challenger.key.coin
    before, now = production.manifest.data(coin), challenger.manifest.data(coin)
    if before is not None and now is not None and now.last < before.last:
        ends = {"new_end": f"{now.last:%Y-%m-%d %H:%M}", "old_end": f"{before.last:%Y-%m-%d %H:%M}"}
        return _refused("refresh", Reason(ReasonCode.OLDER_BARS, {**numbers, **ends}))
    accepted, reasons = _sound(challenger.hold_out)
    reasons = (Reason(ReasonCode.REFRESH, numbers), *reasons)
    stale = _too_old(challenger, config, evidence)
    if stale is not None:
        return _refused("refresh", stale, *reasons)
    return Decision(accepted=accepted, rule="refresh", reasons=reasons)


def _too_old(challenger: Version, config: GateConfig, evidence: PromotionEvidence) -> Reason | None:
    """Why the evidence on the recipe does not carry a refresh; None: it does."""
    end, name = evidence.backtested_to(challenger), {"coin": challenger.key.coin, "kind": challenger.key.kind}
    in_parts = challenger.manifest.learned_in_parts
    if end is None:
        return Reason(ReasonCode.PARTS_NEVER_BACKTESTED if in_parts else ReasonCode.NEVER_BACKTESTED, name)
    age = (evidence.today - end).days
    if age > config.max_evidence_age_days:
        facts = {"end": f"{end:%Y-%m-%d}", "days": age, "limit": config.max_evidence_age_days}
        code = ReasonCode.PARTS_EVIDENCE_TOO_OLD if in_parts else ReasonCode.EVIDENCE_TOO_OLD
        return Reason(code, {**facts, **name})
    return None


def _nothing(reason: Reason) -> Decision:
    return Decision(accepted=False, rule="nothing", reasons=(reason,))


def _refused(rule: GateRule, *reasons: Reason) -> Decision:
    return Decision(accepted=False, rule=rule, reasons=reasons)


def _same_ingredients(one: FitManifest, other: FitManifest) -> bool:
    """Whether two fits must forecast the same. Uncommitted code could be anything, so it is the same as nothing."""

    def ingredients(fit: FitManifest) -> tuple[object, ...]:
        pool = frozenset((data.coin, data.content_hash) for data in fit.coins)
        return (fit.recipe, pool, fit.horizons, fit.levels, fit.seed, fit.code_version, fit.libraries)

    return not one.dirty and not other.dirty and ingredients(one) == ingredients(other)


def _sound(hold_out: HoldOut) -> tuple[bool, tuple[Reason, ...]]:
    """Whether the hold-out speaks against serving a version at all, and one reason for each horizon and fault."""
    if hold_out.foreign:
        return False, (FOREIGN,)
    if not hold_out.horizons:
        return False, (Reason(ReasonCode.NO_HORIZON),)
    own = [score for score in hold_out.horizons if not score.by_baseline]
    if all(score.n == 0 for score in own):
        return False, (Reason(ReasonCode.NO_FORECAST),)
    against = [
        Reason(ReasonCode.WORSE_THAN_BASELINE, {"horizon": score.horizon, **_skill_facts(score.answer(Question.MODEL))})
        for score in own
        if (answer := score.answer(Question.MODEL)) is not None and answer.is_worse
    ]
    against += _interval_faults(own)
    return not against, (*against, *map(_horizon_reason, hold_out.horizons))


def _interval_faults(scores: Sequence[HorizonScore]) -> list[Reason]:
    faults = []
    for score in scores:
        answer = score.answer(Question.INTERVALS)
        if answer is not None and answer.answer == "no":
            held = {"percent": answer.level, "share": answer.estimate, "ends": (answer.lower, answer.upper)}
            faults.append(Reason(ReasonCode.COVERAGE_OFF, {"horizon": score.horizon, **held}))
    return faults


def _skill_facts(answer: PlainAnswer | None) -> dict[str, object]:
    if answer is None:
        return {"skill": None, "interval": (None, None)}
    return {"skill": answer.estimate, "interval": (answer.lower, answer.upper)}


def _horizon_reason(score: HorizonScore) -> Reason:
    if score.by_baseline:
        cause = (score.cause or "").rstrip(".")
        return Reason(ReasonCode.BASELINE_ANSWERS, {"horizon": score.horizon, "cause": cause})
    coverage = {str(interval.percent): (interval.share, interval.se) for interval in score.coverage if interval.n}
    skill = {**_skill_facts(score.answer(Question.MODEL)), "dates": score.dates}
    return Reason(ReasonCode.SCORED, {"horizon": score.horizon, **skill, "coverage": coverage})
