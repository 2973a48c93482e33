"""Two models on the same origins: is the challenger better, by a test that may be looked at every day?

At each horizon one bets on the difference of the losses, date by date in order of issue (see scoring.sequential). Each
bet is scaled by the differences before it, so nothing needs to be set in advance. The fortunes of the horizons are
averaged: under the null that the challenger is better at none of them nobody can expect the average to grow, so it
reaches 1 / alpha with probability alpha at most, however often one looks. What counts is the fortune *now*: evidence
that has faded since is not used. Sources: Vovk and Wang, Annals of Statistics 49 (2021), for the average; Henzi and
Ziegel, Biometrika 109 (2022), for forecasts.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.config import GateConfig
from cryptocast.registry.reasons import Reason, ReasonCode
from cryptocast.scoring.coverage import Coverage, coverage
from cryptocast.scoring.dates import mean_by_date, overlapping_origins
from cryptocast.scoring.diebold_mariano import diebold_mariano
from cryptocast.scoring.multiple import holm
from cryptocast.scoring.sequential import bet_on_difference, independent_blocks
from cryptocast.scoring.skill import skill

# Blocks whose differences only set the scale of the first bet.
FIRST_BLOCKS: Final = 8
SCALE: Final = 4.0  # standard deviations at which a difference is cut off


@dataclass(frozen=True, slots=True, eq=False)
class LossPairs:
    """Both models' forecasts of the same (coin, origin) pairs at one horizon.

    dates (n,) int64 issue times; challenger, production (n,) losses of one unit, no NaN; hits: percent -> whether the
    challenger's interval and production's held (n,) bool; step: bars between origins.
    """

    horizon: int
    step: int
    dates: Int64Array
    challenger: FloatArray
    production: FloatArray
    hits: Mapping[int, tuple[BoolArray, BoolArray]]


class HorizonContest(msgspec.Struct, frozen=True, kw_only=True):
    """What one horizon says. skill: 1 - loss / loss of production, with its 95 % interval; e_value: the fortune now."""

    horizon: int
    dates: int
    skill: float | None
    lower: float | None
    upper: float | None
    e_value: float
    p_worse: float | None  # after correction for the number of horizons; None: too few dates


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """What a comparison says. reasons: why the challenger is not shown to be better; none if it is."""

    better: bool
    e_value: float
    p: float  # 1 / e_value, at most 1; valid at whatever moment one looks
    skill: float | None  # mean over the horizons
    rests_on: str
    horizons: tuple[HorizonContest, ...]
    reasons: tuple[Reason, ...]


def contest(pairs: Sequence[LossPairs], config: GateConfig, *, rests_on: str) -> Contest:
    """Whether the challenger is better by the test and by `gate.margin`, worse nowhere, and not worse calibrated."""
    pairs = [pair for pair in pairs if pair.dates.size]
    rows = _rows(pairs)
    e_value = sum(row.e_value for row in rows) / len(rows) if rows else 1.0
    skills = [row.skill for row in rows if row.skill is not None]
    mean = sum(skills) / len(skills) if skills else None
    p = min(1.0, 1.0 / max(e_value, 1e-300))
    against = []
    if e_value < 1.0 / config.alpha:
        against.append(Reason(ReasonCode.NOT_BETTER, {"p": p, "rests_on": rests_on, "alpha": config.alpha}))
    if mean is None or mean < config.margin:
        against.append(Reason(ReasonCode.SKILL_TOO_SMALL, {"skill": mean, "margin": config.margin}))
    against += [
        Reason(ReasonCode.WORSE_THAN_PRODUCTION, {"horizon": row.horizon, "skill": row.skill, "p": row.p_worse})
        for row in rows
        if row.p_worse is not None and row.p_worse < config.alpha
    ]
    against += [fault for pair in pairs for fault in _coverage_faults(pair, config)]
    return Contest(
        better=not against,
        e_value=e_value,
        p=p,
        skill=mean,
        rests_on=rests_on,
        horizons=tuple(rows),
        reasons=tuple(against),
    )


def fortune(pair: LossPairs) -> float:
    """What betting on the challenger has made of 1 by now, at one horizon."""
    _, difference, _ = mean_by_date(pair.challenger - pair.production, pair.dates)
    blocks = independent_blocks(difference, overlapping_origins(pair.horizon, pair.step))
    if blocks.size <= FIRST_BLOCKS:
        return 1.0
    # The scale of each bet comes from the blocks before it, whose outcomes were known.
    mean_square = np.cumsum(blocks**2)[:-1] / np.arange(1, blocks.size)
    scale = SCALE * np.sqrt(mean_square[FIRST_BLOCKS - 1 :])
    placed = scale > 0.0
    if not placed.any():
        return 1.0
    return bet_on_difference(blocks[FIRST_BLOCKS:][placed] / scale[placed], scale=1.0).e_value


def _rows(pairs: Sequence[LossPairs]) -> list[HorizonContest]:
    worse = holm(np.array([_p_worse(pair) for pair in pairs], dtype=np.float64))
    rows = []
    for pair, p in zip(pairs, worse.tolist(), strict=True):
        gain = skill(pair.challenger, pair.production, pair.dates, horizon=pair.horizon, step=pair.step)
        rows.append(
            HorizonContest(
                horizon=pair.horizon,
                dates=int(np.unique(pair.dates).size),
                skill=gain.value,
                lower=gain.lower,
                upper=gain.upper,
                e_value=fortune(pair),
                p_worse=None if math.isnan(p) else p,
            )
        )
    return rows


def _p_worse(pair: LossPairs) -> float:
    test = diebold_mariano(pair.challenger, pair.production, pair.dates, horizon=pair.horizon, step=pair.step)
    return float("nan") if test.p_worse is None else test.p_worse


def _coverage_faults(pair: LossPairs, config: GateConfig) -> list[Reason]:
    """Intervals that hold too rarely or too often, unless production's are further off."""
    k = overlapping_origins(pair.horizon, pair.step)
    least = math.erfc(config.coverage_sigmas / math.sqrt(2.0))
    faults = []
    for percent, (challenger, production) in sorted(pair.hits.items()):
        nominal = percent / 100.0
        new, old = (coverage(hits, pair.dates, nominal=nominal, k=k) for hits in (challenger, production))
        if new.p < least and _off(new, nominal) > _off(old, nominal):
            facts = {"horizon": pair.horizon, "percent": percent, "share": new.share, "production": old.share}
            faults.append(Reason(ReasonCode.COVERAGE_WORSE, facts))
    return faults


def _off(interval: Coverage, nominal: float) -> float:
    return abs(interval.share - nominal)


def horizon_reason(row: HorizonContest) -> Reason:
    """The skill over production at one horizon."""
    facts = {"horizon": row.horizon, "skill": row.skill, "interval": (row.lower, row.upper), "dates": row.dates}
    return Reason(ReasonCode.COMPARED, facts)
