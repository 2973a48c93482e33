"""What a model learns to forecast: returns over the next bars and the variance that was realised on the way.

These functions look forward on purpose and are the only ones in the project that do. They expect the bars of one coin
on its complete time grid, NaN where a bar is missing, so that h places ahead is h bars ahead and a gap gives NaN, never
a longer return. Everything is (bars,) in and (bars,) out.
"""

import math

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray
from cryptocast.features import averages

# Degrees of freedom of one bar's variance proxy: a squared return has 1; the range estimator below is 7.4 times as
# efficient (Garman and Klass, Journal of Business 53 (1980), table 1).
RETURN_FREEDOM = 1.0
RANGE_FREEDOM = 7.4
# The least share of a label's bars that must have a variance.
COMPLETE = 0.75


def future_return(close: FloatArray, horizon: int) -> FloatArray:
    """Log return from this close to the one `horizon` bars later; NaN where either close is missing."""
    return np.log(_ahead(close, horizon) / close)


def one_bar_variance(
    opened: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray, range_known: BoolArray
) -> FloatArray:
    """One bar's variance: Garman-Klass where the range is known, else the squared close-to-close return.

    0.5 ln(H/L)^2 - (2 ln 2 - 1) ln(C/O)^2 (Garman and Klass 1980, equation 20). Never negative: the range covers the
    body. NaN where the bar is missing, or the bar before it for a close-only bar.
    """
    garman_klass = 0.5 * np.log(high / low) ** 2 - (2 * math.log(2) - 1) * np.log(close / opened) ** 2
    squared_return = np.log(close / averages.shift(close, 1)) ** 2
    return np.where(range_known, garman_klass, squared_return)


def one_bar_freedom(variance: FloatArray, range_known: BoolArray) -> FloatArray:
    """Degrees of freedom of each bar's variance: how many squared returns it is worth; NaN where there is none."""
    return np.where(np.isnan(variance), np.nan, np.where(range_known, RANGE_FREEDOM, RETURN_FREEDOM))


def future_mean(values: FloatArray, horizon: int) -> FloatArray:
    """Mean over the next `horizon` bars; NaN if fewer than three quarters of them are known."""
    least = max(1, math.ceil(COMPLETE * horizon))
    return _ahead(averages.window_mean(values, horizon, least), horizon)


def _ahead(values: FloatArray, bars: int) -> FloatArray:
    """The values `bars` bars later; NaN where there is none."""
    later = np.full_like(values, np.nan)
    later[: max(len(values) - bars, 0)] = values[bars:]
    return later
