"""Scores of point forecasts. None of them selects a model: on prices they mostly measure how much prices move.

A pair with a NaN on either side is left out. Where a score is undefined (no pairs, a zero to divide by) it is None,
never infinity. Sources: Hyndman and Koehler, IJF 22 (2006), for MAE, RMSE, MAPE, sMAPE and MASE.
"""

import math
from dataclasses import dataclass

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.scoring.coverage import wilson
from cryptocast.scoring.shapes import require_same_shape


def mae(actual: FloatArray, predicted: FloatArray) -> float | None:
    """Mean absolute error, in the unit of both arrays (n,). None without pairs. ValueError if shapes disagree."""
    actual, predicted = _pairs(actual, predicted)
    return float(np.abs(actual - predicted).mean()) if actual.size else None


def rmse(actual: FloatArray, predicted: FloatArray) -> float | None:
    """Root of the mean squared error, in the unit of both arrays (n,). None without pairs.

    ValueError if shapes disagree.
    """
    actual, predicted = _pairs(actual, predicted)
    return math.sqrt(float(((actual - predicted) ** 2).mean())) if actual.size else None


def mape(actual: FloatArray, predicted: FloatArray) -> float | None:
    """Mean absolute error relative to the actual, as a share (0.03 is 3 %).

    actual, predicted (n,): prices, not returns. None without pairs or where an actual is 0. ValueError if shapes
    disagree.
    """
    actual, predicted = _pairs(actual, predicted)
    if actual.size == 0 or (actual == 0.0).any():
        return None
    return float(np.abs((actual - predicted) / actual).mean())


def smape(actual: FloatArray, predicted: FloatArray) -> float | None:
    """Mean of 2 |y - f| / (|y| + |f|), as a share between 0 and 2 (the form of the M4 competition; 2 is its 200 %).

    actual, predicted (n,). A pair of two zeros is perfect and counts 0. None without pairs. ValueError if shapes
    disagree.
    """
    actual, predicted = _pairs(actual, predicted)
    if actual.size == 0:
        return None
    size = np.abs(actual) + np.abs(predicted)
    ratio = np.divide(2.0 * np.abs(actual - predicted), size, out=np.zeros_like(size), where=size > 0.0)
    return float(ratio.mean())


def r2(actual: FloatArray, predicted: FloatArray) -> float | None:
    """1 - squared error / squared deviation from the mean of the actuals: 0 for that mean, below 0 for worse.

    actual, predicted (n,): returns. On prices it is near 1 for any forecast that stays near the last price. None
    below two pairs or where the actuals do not vary. ValueError if shapes disagree.
    """
    actual, predicted = _pairs(actual, predicted)
    # All equal, asked before subtracting a mean whose rounding would pass for variance.
    if actual.size < 2 or actual.min() == actual.max():
        return None
    total = float(((actual - actual.mean()) ** 2).sum())
    return 1.0 - float(((actual - predicted) ** 2).sum()) / total if total > 0.0 else None


def mase(actual: FloatArray, predicted: FloatArray, train: FloatArray, *, lag: int) -> float | None:
    """The mean absolute error, over that of the naive forecast "as it was `lag` bars ago" on the training series.

    actual, predicted (n,) and train (m,), consecutive bars, in one unit; lag is the horizon in bars. Below 1 is
    better than naive was on the training part. Differences across a NaN of `train` are left out. None without pairs,
    without such a difference or where all are 0. Raises ValueError if shapes disagree or lag is below 1.
    """
    if train.ndim != 1 or lag < 1:
        raise ValueError(f"train is {train.shape} and lag {lag}, expected (m,) and 1 or more bars")
    error = mae(actual, predicted)
    naive = mae(train[lag:], train[:-lag])
    return error / naive if error is not None and naive else None


@dataclass(frozen=True, slots=True)
class DirectionalAccuracy:
    """How often a stated direction was right."""

    share: float | None  # of `decisive`; None where there are none
    lower: float  # Wilson interval for the share
    upper: float
    decisive: int  # forecasts with a view whose price moved
    views: int  # forecasts with a view: p_up other than 0.5
    total: int  # forecasts with a known outcome
    effective: float  # the number of independent judgements that the interval counts


def directional_accuracy(
    p_up: FloatArray, log_return: FloatArray, dates: Int64Array, *, k: int, alpha: float = 0.05
) -> DirectionalAccuracy:
    """The share of right directions among forecasts that have a view, with an interval of confidence 1 - alpha.

    p_up (n,): probability of a rise, 0.5 is no view; log_return (n,): what happened, 0 is no move and judges nobody;
    dates (n,) int64: issue times; k >= 1 origins of overlap. The coins of a date rise and fall together and k
    neighbouring labels overlap, so the interval counts T / k judgements for T dates (but at least 1, and never more
    than there are). Pairs with a NaN are left out. Raises ValueError if shapes disagree, for p_up outside [0, 1] and
    k below 1.
    """
    require_same_shape(p_up=p_up, log_return=log_return, dates=dates)
    if k < 1 or (p_up < 0.0).any() or (p_up > 1.0).any():
        raise ValueError(f"k is {k}, expected 1 or more, and p_up must lie in [0, 1]")
    keep = ~(np.isnan(p_up) | np.isnan(log_return))
    view = keep & (p_up != 0.5)
    decisive = view & (log_return != 0.0)
    count = int(decisive.sum())
    views, total = int(view.sum()), int(keep.sum())
    if count == 0:
        return DirectionalAccuracy(None, 0.0, 1.0, decisive=0, views=views, total=total, effective=0.0)
    share = float(((p_up > 0.5) == (log_return > 0.0))[decisive].mean())
    effective = min(float(count), max(1.0, np.unique(dates[decisive]).size / k))
    lower, upper = wilson(share * effective, effective, alpha)
    return DirectionalAccuracy(share, lower, upper, decisive=count, views=views, total=total, effective=effective)


def _pairs(actual: FloatArray, predicted: FloatArray) -> tuple[FloatArray, FloatArray]:
    require_same_shape(actual=actual, predicted=predicted)
    keep = ~(np.isnan(actual) | np.isnan(predicted))
    return actual[keep], predicted[keep]
