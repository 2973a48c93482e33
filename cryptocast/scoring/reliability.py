"""Whether stated probabilities come true: of a rise, of an interval, of each quantile level."""

from dataclasses import dataclass

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.scoring.coverage import Coverage, coverage, wilson
from cryptocast.scoring.shapes import require_numbers, require_same_shape


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


def reliability(
    probability: FloatArray, outcome: BoolArray, dates: Int64Array, *, k: int, bins: int = 10, alpha: float = 0.05
) -> Reliability:
    """The reliability of probabilities that an event comes true.

    probability (n,) in [0, 1], outcome (n,) bool, dates (n,) issue times, k >= 1 origins of overlap. The bins are
    equal parts of [0, 1], the highest closed on both sides. Intervals count at most T / k independent outcomes for
    the T dates of a bin. Raises ValueError if shapes disagree, for probabilities outside [0, 1] or NaN, and for bins
    or k below 1. Source: Murphy, Journal of Applied Meteorology 12 (1973).
    """
    require_same_shape(probability=probability, outcome=outcome, dates=dates)
    if outcome.dtype != np.bool_ or bins < 1 or k < 1:
        raise ValueError(f"outcome is {outcome.dtype}, bins {bins}, k {k}: expected bool, and 1 or more of each")
    require_numbers(probability=probability)
    if ((probability < 0.0) | (probability > 1.0)).any():
        raise ValueError("a probability lies outside [0, 1]")
    if probability.size == 0:
        return Reliability((), None)
    of_bin = np.minimum((probability * bins).astype(np.int64), bins - 1)
    filled = tuple(
        _bin(probability[of_bin == index], outcome[of_bin == index], dates[of_bin == index], k, alpha)
        for index in np.unique(of_bin).tolist()
    )
    return Reliability(filled, float(((probability - outcome) ** 2).mean()))


def _bin(probability: FloatArray, outcome: BoolArray, dates: Int64Array, k: int, alpha: float) -> Bin:
    share = float(outcome.mean())
    effective = min(float(outcome.size), max(1.0, np.unique(dates).size / k))
    lower, upper = wilson(share * effective, effective, alpha)
    return Bin(float(probability.mean()), share, lower, upper, outcome.size)


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
