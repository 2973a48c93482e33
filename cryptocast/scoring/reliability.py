"""Whether stated probabilities come true: of a rise, of an interval, of each quantile level."""

from dataclasses import dataclass

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.scoring.coverage import Coverage, coverage, wilson
from cryptocast.scoring.moments import MomentTest, means_by_date, zero_means
from cryptocast.scoring.quantiles import covered, interval_columns, intervals_on_offer
from cryptocast.scoring.shapes import require_numbers, require_same_shape

__all__ = ["Bin", "Reliability", "interval_reliability", "level_reliability", "reliability"]


@dataclass(frozen=True, slots=True)
class Bin:
    """Forecasts of about the same probability, and how often it came true."""

    stated: float  # mean of the stated probabilities
    observed: float  # share that came true
    lower: float  # Wilson interval for the share, counting dates and overlap
    upper: float
    n: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """How well stated probabilities hold. None where there are no forecasts."""

    bins: tuple[Bin, ...]  # by stated probability, increasing; none is empty
    brier: float | None  # mean squared error of the probability; 0.25 for "no view" throughout
    brier_skill: float | None  # 1 - Brier score / that of stating 0.5
    miscalibration: float | None  # mean over forecasts of |stated - observed| of their bin (ECE)
    resolution: float | None  # mean over forecasts of (observed of their bin - overall share)^2
    test: MomentTest | None  # that outcome - probability has mean 0, overall and in step with the probability


def reliability(
    probability: FloatArray, outcome: BoolArray, dates: Int64Array, *, k: int, bins: int = 10, alpha: float = 0.05
) -> Reliability:
    """The reliability of probabilities that an event comes true.

    probability (n,) in [0, 1], outcome (n,) bool, dates (n,) issue times, k >= 1 origins of overlap. The bins are
    equal parts of [0, 1], the highest closed on both sides. Intervals count at most T / k independent outcomes for
    the T dates of a bin. The test is robust to correlation between coins and in time, and is None where the
    probabilities do not vary or there are too few dates. Raises ValueError if shapes disagree, for probabilities
    outside [0, 1] or NaN, and for bins or k below 1. Sources: Murphy, Journal of Applied Meteorology 12 (1973);
    Seillier-Moiseiwitsch and Dawid, JASA 88 (1993).
    """
    require_same_shape(probability=probability, outcome=outcome, dates=dates)
    if outcome.dtype != np.bool_ or bins < 1 or k < 1:
        raise ValueError(f"outcome is {outcome.dtype}, bins {bins}, k {k}: expected bool, and 1 or more of each")
    require_numbers(probability=probability)
    if ((probability < 0.0) | (probability > 1.0)).any():
        raise ValueError("a probability lies outside [0, 1]")
    if probability.size == 0:
        return Reliability((), None, None, None, None, None)
    of_bin = np.minimum((probability * bins).astype(np.int64), bins - 1)
    filled = tuple(
        _bin(probability[of_bin == index], outcome[of_bin == index], dates[of_bin == index], k, alpha)
        for index in np.unique(of_bin).tolist()
    )
    share, weights = float(outcome.mean()), np.array([one.n for one in filled]) / outcome.size
    observed, stated = np.array([one.observed for one in filled]), np.array([one.stated for one in filled])
    brier = float(((probability - outcome) ** 2).mean())
    return Reliability(
        bins=filled,
        brier=brier,
        brier_skill=1.0 - brier / 0.25,
        miscalibration=float(weights @ np.abs(stated - observed)),
        resolution=float(weights @ (observed - share) ** 2),
        test=_test(probability, outcome, dates, k),
    )


def _bin(probability: FloatArray, outcome: BoolArray, dates: Int64Array, k: int, alpha: float) -> Bin:
    share = float(outcome.mean())
    effective = min(float(outcome.size), max(1.0, np.unique(dates).size / k))
    lower, upper = wilson(share * effective, effective, alpha)
    return Bin(float(probability.mean()), share, lower, upper, outcome.size)


def _test(probability: FloatArray, outcome: BoolArray, dates: Int64Array, k: int) -> MomentTest | None:
    if probability.min() == probability.max():
        moments = (outcome - probability)[:, None]
    else:
        error = outcome - probability
        moments = np.column_stack((error, error * (probability - probability.mean())))
    _, by_date = means_by_date(moments, dates)
    return zero_means(by_date, k) if len(by_date) > 1 else None


def interval_reliability(
    actual: FloatArray, values: FloatArray, levels: FloatArray, dates: Int64Array, *, k: int
) -> dict[int, Coverage]:
    """The coverage of every central interval on offer, by its nominal percent, increasing.

    actual (n,), values (n, q), levels (q,), dates (n,). Raises ValueError for NaN, no rows or shapes that disagree.
    """
    found = {}
    for percent in intervals_on_offer(levels):
        lower, upper = interval_columns(levels, percent)
        hits = covered(actual, values[:, lower], values[:, upper])
        found[percent] = coverage(hits, dates, nominal=percent / 100, k=k)
    return found


def level_reliability(
    actual: FloatArray, values: FloatArray, levels: FloatArray, dates: Int64Array, *, k: int
) -> tuple[Coverage, ...]:
    """For each level, the share of outcomes at or below its quantile, with the clustered error of `coverage`.

    actual (n,), values (n, q), levels (q,), dates (n,). Raises ValueError for NaN, no rows or shapes that disagree.
    """
    if actual.ndim != 1 or values.shape != (actual.size, levels.size):
        raise ValueError(f"actual {actual.shape} and values {values.shape}: expected (n,) and (n, {levels.size})")
    require_numbers(actual=actual, values=values)
    return tuple(
        coverage(actual <= values[:, column], dates, nominal=level, k=k) for column, level in enumerate(levels.tolist())
    )
