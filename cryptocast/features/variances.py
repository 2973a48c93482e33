"""Twenty variances of a coin that are known at each close, from those of the last two bars to those of the last years.

Exponential means, of half-lives from two bars to five hundred, once of squared returns and once of the variance of each
bar's range (of squared returns again where bars only saw a close). No single half-life is right for long, and which one
is right is not known; their plain mean has nothing to learn and is hard to beat. It is the mean of their logarithms:
one wild day, or a coin's first weeks, must not rule those that remember for years. Each is cut off behind a window, and
is put together from halves: a row has the same bits however much history lies before its window.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.features.averages import decayed_means, decayed_means_at, shift

HALF_LIVES: Final = (2.0, 4.0, 7.0, 13.0, 24.0, 44.0, 81.0, 149.0, 273.0, 500.0)
WINDOW: Final = 1000
# Variance of a bar that did not trade: one part in ten thousand of price, squared.
VARIANCE_FLOOR: Final = 1e-8


def bar_variances(log_close: FloatArray, ranged: FloatArray, half_lives: Sequence[float] = HALF_LIVES) -> FloatArray:
    """(2 K, bars): of one bar, by squared returns and then by ranges, each from short to long; NaN where nothing is
    known.

    log_close and ranged (bars,): of one coin, the latter the variance of each bar alone; NaN where the bar is missing.
    Close-only bars count by their squared return in both.
    """
    both = (squared_returns(log_close), ranged)
    return np.concatenate([decayed_means(values, WINDOW, half_lives) for values in both])


def mean_variance(log_close: FloatArray, ranged: FloatArray, places: Int64Array, *, few: bool = False) -> FloatArray:
    """(m,): the geometric mean of the twenty at these bars; NaN where nothing is known.

    few: the bars are looked at one by one, which is quick for a few of them and differs in the last digits.
    """
    if few:
        both = (squared_returns(log_close), ranged)
        several = np.concatenate([decayed_means_at(values, places, WINDOW, HALF_LIVES) for values in both])
    else:
        several = bar_variances(log_close, ranged)[:, places]
    return np.asarray(np.maximum(several, VARIANCE_FLOOR).prod(axis=0) ** (1.0 / len(several)))


def squared_returns(log_close: FloatArray) -> FloatArray:
    """(bars,): NaN where the bar or the one before it is missing."""
    return np.asarray((log_close - shift(log_close, 1)) ** 2)
