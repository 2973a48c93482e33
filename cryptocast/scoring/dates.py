"""Averages by date, and the variance of a mean over dates whose errors overlap.

Forecasts of several coins at one moment share their news, and forecasts h bars ahead that are issued every few bars
share most of their path. Counting them as independent makes every test too sure of itself.
"""

import math

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.scoring.shapes import require_same_shape


def mean_by_date(values: FloatArray, dates: Int64Array) -> tuple[Int64Array, FloatArray, Int64Array]:
    """The mean over the coins of each date.

    values (n,), dates (n,) int64 in any unit and order. Returns the dates (T,), increasing and unique, their means
    (T,) and how many values each mean rests on (T,). NaN values are left out, and so is a date with no other value.
    Raises ValueError if shapes disagree.
    """
    require_same_shape(values=values, dates=dates)
    keep = ~np.isnan(values)
    unique, position, counts = np.unique(dates[keep], return_inverse=True, return_counts=True)
    sums = np.bincount(position, weights=values[keep], minlength=unique.size)
    return unique, sums / counts, counts.astype(np.int64)


def overlapping_origins(horizon: int, step: int) -> int:
    """k = ceil(horizon / step): how many consecutive origins' labels overlap, counting the origin itself.

    Both in bars. Errors of an optimal forecast are correlated up to lag k - 1. Raises ValueError below 1.
    """
    if horizon < 1 or step < 1:
        raise ValueError(f"horizon {horizon} and step {step} are counted in bars, expected 1 or more")
    return math.ceil(horizon / step)


def long_run_variance(x: FloatArray, k: int) -> tuple[float, str]:
    """The long-run variance of x, T times the variance of its mean, and the kernel that gave it.

    x (T,) in order of time, k >= 1 origins of overlap. The rectangular kernel with lags up to k - 1 is exact for
    errors that overlap in k origins, but can be zero or negative: then the Bartlett kernel with lags up to 2 k, which
    cannot be negative (and is zero only where x is constant). Autocovariances divide by T. Raises ValueError for NaN,
    an empty x or k < 1. Source: Diebold and Mariano, JBES 13 (1995); Newey and West, Econometrica 55 (1987).
    """
    if x.ndim != 1 or x.size == 0 or np.isnan(x).any():
        raise ValueError(f"x is {x.shape} with {int(np.isnan(x).sum())} NaN, expected (T,) with T >= 1 and none")
    if k < 1:
        raise ValueError(f"k is {k} origins, expected 1 or more")
    deviation = (x - x.mean())[:, None]
    for kernel in ("rectangular", "bartlett"):
        variance = float(weighted_covariance(deviation, lagged_weights(kernel, k))[0, 0])
        if variance > 0.0:
            break
    return variance, kernel


def lagged_weights(kernel: str, k: int) -> FloatArray:
    """The weights of the autocovariances from lag 0 on: "rectangular" 1 to lag k - 1, "bartlett" falling to lag 2 k."""
    if kernel == "rectangular":
        return np.ones(k)
    return 1.0 - np.arange(2 * k + 1) / (2.0 * k + 1.0)


def weighted_covariance(deviation: FloatArray, weights: FloatArray) -> FloatArray:
    """The covariance (q, q) at lag 0, plus the weighted ones at lags 1 to len(weights) - 1 on either side.

    deviation (T, q) from the mean, in order of time; lags beyond T are left out. Divided by T.
    """
    total: FloatArray = deviation.T @ deviation
    for lag in range(1, min(len(weights), len(deviation))):
        lagged = weights[lag] * (deviation[lag:].T @ deviation[:-lag])
        total = total + lagged + lagged.T
    return total / len(deviation)
