"""Whether a version has earned production: pure rules over its hold-out, with the reasons for and against in words."""

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec
import numpy as np

from cryptocast.config import GateConfig
from cryptocast.registry.manifest import FitManifest, HoldOut, HorizonScore, IntervalCoverage
from cryptocast.registry.version import Version
from cryptocast.scoring.multiple import holm

__all__ = ["Decision", "best_of", "first_version", "next_version"]

# first: there is no production yet. refresh: production's own recipe on newer bars. evidence: another recipe, which
# only a comparison of forecasts can judge. nothing: there is nothing to decide.
Rule: TypeAlias = Literal["first", "refresh", "evidence", "nothing"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What the gate says, by which rule, and why."""

    accepted: bool
    rule: Rule
    reasons: tuple[str, ...]


def first_version(hold_out: HoldOut, config: GateConfig) -> Decision:
    """Whether a version may become the first production of its key.

    Refused if at any horizon it is significantly worse than the baseline (Holm over the horizons, at gate.alpha), or if
    the coverage of any interval is more than gate.coverage_sigmas standard errors from nominal. A horizon that answers
    with the baseline anyway is exempt. What cannot be told is not held against a first version, but is said.
    """
    accepted, reasons = _sound(hold_out, config)
    return Decision(accepted=accepted, rule="first", reasons=reasons)


def next_version(production: Version, challenger: Version, config: GateConfig) -> Decision:
    """Whether a version may take over from the production version of its key.

    Production's own recipe on newer bars is a refresh and passes like a first version does. Another recipe needs
    forecasts of both to compare, which the hold-outs of two fits, on different bars, are not.
    """
    old, new = f"version {production.number}", f"version {challenger.number}"
    if challenger.number == production.number:
        return _nothing(f"{new} is production already")
    if challenger.fit_id == production.fit_id or _same_ingredients(production.manifest, challenger.manifest):
        return _nothing(f"{new} repeats {old}: same recipe, candles, seed, code and libraries")
    if challenger.manifest.recipe != production.manifest.recipe:
        reason = (
            f"{new} has another recipe than {old} in production: that it is better must be shown by evidence from a "
            "walk-forward of both on the same bars, and there is none"
        )
        return Decision(accepted=False, rule="evidence", reasons=(reason,))
    return _refresh(production, challenger, config)


def best_of(candidates: Sequence[Version], config: GateConfig) -> Version | None:
    """The version with the highest mean skill against the baseline, among those whose coverage is not rejected.

    Skill, not CRPS, because the hold-outs of two kinds may lie on different bars. A horizon that answers with the
    baseline counts as skill 0. None if no candidate passes; the first of equals wins.
    """
    passing = [version for version in candidates if not _coverage_faults(version.hold_out, config)]
    return max(passing, key=lambda version: _mean_skill(version.hold_out), default=None)


def _refresh(production: Version, challenger: Version, config: GateConfig) -> Decision:
    old, new = f"version {production.number}", f"version {challenger.number}"
    if challenger.number < production.number:
        reason = f"{new} is older than {old} in production: going back is for a person to decide, with a reason"
        return Decision(accepted=False, rule="refresh", reasons=(reason,))
    missing = sorted(set(production.manifest.horizons) - set(challenger.manifest.horizons))
    if missing:
        reason = f"{new} lacks horizons that {old} serves: {', '.join(map(str, missing))} bars"
        return Decision(accepted=False, rule="refresh", reasons=(reason,))
    coin = challenger.key.coin
    before, now = production.manifest.data(coin), challenger.manifest.data(coin)
    if before is not None and now is not None and now.last < before.last:
        reason = f"{new} was trained on bars up to {now.last:%Y-%m-%d %H:%M}, {old} up to {before.last:%Y-%m-%d %H:%M}"
        return Decision(accepted=False, rule="refresh", reasons=(reason,))
    accepted, reasons = _sound(challenger.hold_out, config)
    first = f"{new} is a refresh of {old}: the same recipe on other bars"
    return Decision(accepted=accepted, rule="refresh", reasons=(first, *reasons))


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
    if not hold_out.horizons:
        return False, ("its hold-out scored no horizon",)
    judged = [score for score in hold_out.horizons if score.fallback is None]
    if all(score.n == 0 for score in judged):
        return False, ("its hold-out scored no forecast of its own: there is no evidence for it",)
    worse = _corrected({s.horizon: s.p_worse_than_baseline for s in judged if s.p_worse_than_baseline is not None})
    against = [_worse_words(s, worse[s.horizon]) for s in judged if worse.get(s.horizon, 1.0) < config.alpha]
    against += _coverage_faults(hold_out, config)
    told = [_horizon_words(score, worse.get(score.horizon)) for score in hold_out.horizons]
    return not against, (*against, *told)


def _corrected(p_worse: dict[int, float]) -> dict[int, float]:
    """The p-values, by horizon, adjusted for how many they are."""
    adjusted = holm(np.array(list(p_worse.values()), dtype=np.float64))
    return dict(zip(p_worse, map(float, adjusted), strict=True))


def _coverage_faults(hold_out: HoldOut, config: GateConfig) -> list[str]:
    faults = []
    for score in hold_out.horizons:
        if score.fallback is not None:
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


def _mean_skill(hold_out: HoldOut) -> float:
    skills = [0.0 if score.fallback else score.skill.get("baseline", 0.0) for score in hold_out.horizons]
    return sum(skills) / len(skills) if skills else 0.0


def _worse_words(score: HorizonScore, p: float) -> str:
    skill = _percent(score.skill.get("baseline"))
    return (
        f"{_bars(score.horizon)}: significantly worse than the baseline (skill {skill}, "
        f"p {p:.2g} after correction for the number of horizons)"
    )


def _horizon_words(score: HorizonScore, p_worse: float | None) -> str:
    if score.fallback is not None:
        return f"{_bars(score.horizon)}: answers with the baseline, so it is not judged ({score.fallback.rstrip('.')})"
    skill = _percent(score.skill.get("baseline"))
    worse = "too few dates to test" if p_worse is None else f"p of being worse {p_worse:.2g} after correction"
    shares = [f"{i.percent} %: {100 * i.share:.1f} ± {100 * i.se:.1f}" for i in score.coverage if i.n]
    held = f"; intervals held {', '.join(shares)}" if shares else ""
    return f"{_bars(score.horizon)}: skill {skill} against the baseline on {score.dates} dates, {worse}{held}"


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{100 * share:+.1f} %"


def _bars(horizon: int) -> str:
    return "1 bar" if horizon == 1 else f"{horizon} bars"
