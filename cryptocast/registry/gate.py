"""Whether a version has earned production: pure rules over its hold-out, with the reasons for and against in words."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, Literal, Protocol, TypeAlias

import msgspec
import numpy as np

from cryptocast.config import GateConfig
from cryptocast.evaluation.records import Evidence
from cryptocast.registry.contest import Contest, horizon_sentence
from cryptocast.registry.manifest import FitManifest, HoldOut, HorizonScore, IntervalCoverage
from cryptocast.registry.version import Version
from cryptocast.scoring.multiple import holm

__all__ = [
    "FOREIGN",
    "Decision",
    "Grounds",
    "Standing",
    "best_of",
    "first_version",
    "next_version",
    "standings",
    "successor",
]

# Why scores that came with an archive weigh nothing.
FOREIGN: Final = (
    "its scores came with an archive and were not made here, so they do not count: score it on the bars here with "
    "cryptocast registry import FILE --score"
)

# first: there is no production yet. refresh: production's own recipe on newer bars. evidence: another recipe, which
# only a comparison of forecasts can judge. outdated: one of the two cannot be asked any more. nothing: there is nothing
# to decide.
Rule: TypeAlias = Literal["first", "refresh", "evidence", "outdated", "nothing"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate says, by which rule, and why."""

    accepted: bool
    rule: Rule
    reasons: tuple[str, ...]
    contest: Contest | None = None  # the comparison with production that decided


class Grounds(Protocol):
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


def first_version(hold_out: HoldOut, config: GateConfig) -> Decision:
    """Whether a version may become the first production of its key.

    Refused if at any horizon it is significantly worse than the baseline (Holm over the horizons, at gate.alpha), or if
    the coverage of any interval is more than gate.coverage_sigmas standard errors from nominal. A horizon that answers
    with the baseline anyway is exempt. What cannot be told is not held against a first version, but is said. Foreign
    scores open nothing.
    """
    accepted, reasons = _sound(hold_out, config)
    return Decision(accepted=accepted, rule="first", reasons=reasons)


def successor(outdated: int, hold_out: HoldOut, config: GateConfig) -> Decision:
    """Whether a version may take the place of one that was fitted on other features than there are now.

    That one answers nobody, and nothing can be compared with what it would say. So it is judged as a first version is.
    """
    accepted, reasons = _sound(hold_out, config)
    first = f"version {outdated} in production is outdated: it was fitted on other features, and answers nobody"
    return Decision(accepted=accepted, rule="outdated", reasons=(first, *reasons) if accepted else (*reasons, first))


def next_version(production: Version, challenger: Version, config: GateConfig, grounds: Grounds) -> Decision:
    """Whether a version may take over from the production version of its key.

    Production's own recipe on newer bars is a refresh: it passes like a first version does, if the recipe was walked
    forward not too long ago. Another recipe must be better on forecasts of both for identical origins, which the
    hold-outs of two fits, on different bars, are not; so must a version that was not scored here, whatever recipe it
    says it has.
    """
    old, new = f"version {production.number}", f"version {challenger.number}"
    if challenger.number == production.number:
        return _nothing(f"{new} is production already")
    if challenger.fit_id == production.fit_id or _same_ingredients(production.manifest, challenger.manifest):
        return _nothing(f"{new} repeats {old}: same recipe, candles, seed, code and libraries")
    missing = sorted(set(production.manifest.horizons) - set(challenger.manifest.horizons))
    foreign = challenger.hold_out.foreign
    rule: Rule = "refresh" if challenger.manifest.recipe == production.manifest.recipe and not foreign else "evidence"
    if missing:
        reason = f"{new} lacks horizons that {old} serves: {', '.join(map(str, missing))} bars"
        return Decision(accepted=False, rule=rule, reasons=(reason,))
    if rule == "evidence":
        return _contested(production, challenger, grounds)
    return _refresh(production, challenger, config, grounds)


def _contested(production: Version, challenger: Version, grounds: Grounds) -> Decision:
    old, new = f"version {production.number}", f"version {challenger.number}"
    found = grounds.compare(production, challenger)
    if isinstance(found, str):
        what = "came with an archive" if challenger.hold_out.foreign else f"has another recipe than {old} in production"
        reason = f"{new} {what}: that it is better must be shown, and {found}"
        return Decision(accepted=False, rule="evidence", reasons=(reason,))
    rows = map(horizon_sentence, found.horizons)
    if found.better:
        first = f"{new} is better than {old} in production: p {found.p:.2g} on {found.rests_on}"
        return Decision(accepted=True, rule="evidence", reasons=(first, *rows), contest=found)
    return Decision(accepted=False, rule="evidence", reasons=(*found.reasons, *rows), contest=found)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One production version among the kinds of its coin. ratio: its CRPS over the baseline's on the same forecasts,
    mean over the horizons; rests_on: walk-forward if all kinds have one, else each one's hold-out.

    One whose scores are foreign rests on nothing and has no ratio; put into production by hand, it answers where no
    other can.
    """

    kind: str
    number: int
    ratio: float | None
    rests_on: Literal["walk-forward", "hold-out", "nothing"]
    passes: bool
    reasons: tuple[str, ...]  # why its calibration is rejected, or its scores do not count
    foreign: bool = False


def standings(
    candidates: Sequence[Version], config: GateConfig, evidence: Mapping[str, Evidence] | None = None
) -> tuple[Standing, ...]:
    """The versions by out-of-sample CRPS, those first whose coverage is not rejected; the first of equals wins.

    Foreign scores are not counted: such a version comes behind all that pass.

    CRPS is taken relative to the baseline's, because the bars of two hold-outs, or of two walks, may differ. A horizon
    that answers with the baseline counts as no better than it. evidence: by kind, the walk forward of its recipe.
    Prices and points (MAPE, R2) decide nothing.
    """
    walks = evidence or {}
    known = [version for version in candidates if not version.hold_out.foreign]
    walked = bool(known) and all(version.key.kind in walks for version in known)
    rows = [
        _standing(
            version, walks[version.key.kind].scores if walked else version.hold_out.horizons, config, walked=walked
        )
        for version in known
    ]
    rows += [_uncounted(version) for version in candidates if version.hold_out.foreign]
    return tuple(sorted(rows, key=lambda row: (not row.passes, row.ratio is None, row.ratio or 0.0)))


def best_of(
    candidates: Sequence[Version], config: GateConfig, evidence: Mapping[str, Evidence] | None = None
) -> Version | None:
    """The first of the standings, if it passes; None: the baseline answers."""
    first = next((row for row in standings(candidates, config, evidence) if row.passes), None)
    return next((v for v in candidates if first is not None and v.key.kind == first.kind), None)


def _standing(version: Version, scores: Sequence[HorizonScore], config: GateConfig, *, walked: bool) -> Standing:
    own = [score for score in scores if score.horizon in version.manifest.horizons]
    fallbacks = {score.horizon for score in version.hold_out.horizons if score.by_baseline}
    ratios = [1.0 if s.horizon in fallbacks else 1.0 - s.skill.get("baseline", 0.0) for s in own]
    faults = _coverage_faults([score for score in own if score.horizon not in fallbacks], config)
    return Standing(
        kind=version.key.kind,
        number=version.number,
        ratio=sum(ratios) / len(ratios) if ratios else 1.0,
        rests_on="walk-forward" if walked else "hold-out",
        passes=not faults,
        reasons=tuple(faults),
    )


def _uncounted(version: Version) -> Standing:
    return Standing(
        kind=version.key.kind,
        number=version.number,
        ratio=None,
        rests_on="nothing",
        passes=True,
        reasons=(FOREIGN,),
        foreign=True,
    )


def _refresh(production: Version, challenger: Version, config: GateConfig, grounds: Grounds) -> Decision:
    old, new = f"version {production.number}", f"version {challenger.number}"
    if challenger.number < production.number:
        reason = f"{new} is older than {old} in production: going back is for a person to decide, with a reason"
        return Decision(accepted=False, rule="refresh", reasons=(reason,))
    coin = challenger.key.coin
    before, now = production.manifest.data(coin), challenger.manifest.data(coin)
    if before is not None and now is not None and now.last < before.last:
        reason = f"{new} was trained on bars up to {now.last:%Y-%m-%d %H:%M}, {old} up to {before.last:%Y-%m-%d %H:%M}"
        return Decision(accepted=False, rule="refresh", reasons=(reason,))
    accepted, reasons = _sound(challenger.hold_out, config)
    first = f"{new} is a refresh of {old}: the same recipe on other bars"
    stale = _too_old(challenger, config, grounds)
    if stale is not None:
        return Decision(accepted=False, rule="refresh", reasons=(stale, first, *reasons))
    return Decision(accepted=accepted, rule="refresh", reasons=(first, *reasons))


def _too_old(challenger: Version, config: GateConfig, grounds: Grounds) -> str | None:
    """Why the evidence on the recipe does not carry a refresh; None: it does."""
    to, key = grounds.backtested_to(challenger), challenger.key
    remedy = f"walk it forward: cryptocast backtest {key.coin} --walk-forward --model {key.kind}"
    if to is None:
        return f"its recipe was never backtested; {remedy}"
    age = (grounds.today - to).days
    if age > config.max_evidence_age_days:
        return (
            f"the evidence on its recipe ends {to:%Y-%m-%d}, {age} days ago, and at most "
            f"{config.max_evidence_age_days} are allowed; {remedy}"
        )
    return None


def _nothing(reason: str) -> Decision:
    return Decision(accepted=False, rule="nothing", reasons=(reason,))


def _same_ingredients(one: FitManifest, other: FitManifest) -> bool:
    """Whether two fits must forecast the same. Uncommitted code could be anything, so it is the same as nothing."""

    def ingredients(fit: FitManifest) -> tuple[object, ...]:
        pool = frozenset((data.coin, data.content_hash) for data in fit.coins)
        return (fit.recipe, pool, fit.horizons, fit.levels, fit.seed, fit.code_version, fit.libraries)

    return not one.dirty and not other.dirty and ingredients(one) == ingredients(other)


def _sound(hold_out: HoldOut, config: GateConfig) -> tuple[bool, tuple[str, ...]]:
    """Whether the hold-out speaks against serving a version at all, and one reason for each horizon and fault."""
    if hold_out.foreign:
        return False, (FOREIGN,)
    if not hold_out.horizons:
        return False, ("its hold-out scored no horizon",)
    judged = [score for score in hold_out.horizons if not score.by_baseline]
    if all(score.n == 0 for score in judged):
        return False, ("its hold-out scored no forecast of its own: there is no evidence for it",)
    worse = _corrected({s.horizon: s.p_worse_than_baseline for s in judged if s.p_worse_than_baseline is not None})
    against = [_worse_words(s, worse[s.horizon]) for s in judged if worse.get(s.horizon, 1.0) < config.alpha]
    against += _coverage_faults(hold_out.horizons, config)
    told = [_horizon_words(score, worse.get(score.horizon)) for score in hold_out.horizons]
    return not against, (*against, *told)


def _corrected(p_worse: dict[int, float]) -> dict[int, float]:
    """The p-values, by horizon, adjusted for how many they are."""
    adjusted = holm(np.array(list(p_worse.values()), dtype=np.float64))
    return dict(zip(p_worse, map(float, adjusted), strict=True))


def _coverage_faults(scores: Sequence[HorizonScore], config: GateConfig) -> list[str]:
    faults = []
    for score in scores:
        if score.by_baseline:
            continue
        for interval in score.coverage:
            if interval.n == 0:
                continue
            se = _coverage_se(interval, score)
            distance = abs(interval.share - interval.percent / 100)
            if distance > config.coverage_sigmas * se:
                faults.append(
                    f"{_bars(score.horizon)}: the {interval.percent} % interval held {100 * interval.share:.1f} % of "
                    f"the outcomes, {distance / se:.1f} standard errors from nominal (limit {config.coverage_sigmas:g})"
                )
    return faults


def _coverage_se(interval: IntervalCoverage, score: HorizonScore) -> float:
    """The estimated standard error, but no less than a well calibrated forecast of as many dates would have.

    The estimate alone would reject the best of forecasts: where few, overlapping outcomes all fall inside, it is 0. The
    floor takes one origin a bar and coins that move as one. Labels that share 1 - k/h of their bars have returns of
    that correlation; whether an interval held is an even function of the return, so its correlation is about the
    square. The squares sum to (2 h^2 + 1) / (3 h) over all lags.
    """
    nominal, h = interval.percent / 100, score.horizon
    overlap = (2 * h * h + 1) / (3 * h)
    independent = max(1.0, max(1, score.dates) / overlap)
    return max(interval.se, math.sqrt(nominal * (1 - nominal) / independent))


def _worse_words(score: HorizonScore, p: float) -> str:
    skill = _percent(score.skill.get("baseline"))
    return (
        f"{_bars(score.horizon)}: significantly worse than the baseline (skill {skill}, "
        f"p {p:.2g} after correction for the number of horizons)"
    )


def _horizon_words(score: HorizonScore, p_worse: float | None) -> str:
    if score.by_baseline:
        cause = f" ({score.verdict.detail.rstrip('.')})" if score.verdict.detail else ""
        return f"{_bars(score.horizon)}: answers with the baseline, so it is not judged{cause}"
    skill = _percent(score.skill.get("baseline"))
    worse = "too few dates to test" if p_worse is None else f"p of being worse {p_worse:.2g} after correction"
    shares = [f"{i.percent} %: {100 * i.share:.1f} ± {100 * i.se:.1f}" for i in score.coverage if i.n]
    held = f"; intervals held {', '.join(shares)}" if shares else ""
    return f"{_bars(score.horizon)}: skill {skill} against the baseline on {score.dates} dates, {worse}{held}"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:+.1f} %"


def _bars(horizon: int) -> str:
    return "1 bar" if horizon == 1 else f"{horizon} bars"
