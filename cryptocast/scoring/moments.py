"""Are several averages all zero? A joint test for series whose errors overlap or are correlated in time."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.scoring.dates import mean_by_date

# Averages whose cosines are this small, relative to the values, are the rounding of the arithmetic.
ROUNDING: Final = 1e-12


@dataclass(frozen=True, slots=True)
class MomentTest:
    """The joint test that q averages are zero. `statistic` and `p` are None where nothing can be said."""

    means: tuple[float, ...]  # (q,), in the unit of the moments
    statistic: float | None  # held against F with q and terms - q + 1 degrees of freedom
    p: float | None
    n: int  # dates
    terms: int  # cosines that estimate the variance: its degrees of freedom


def zero_means(moments: FloatArray, k: int) -> MomentTest:
    """Test that all q columns of moments have mean 0, whatever their correlation with each other and in time.

    moments (n, q), in order of time, one row for each date (`means_by_date`), no NaN; k >= 1 origins of overlap. The
    variance rests on `cosine_terms(n, k)` cosines, and the statistic on Hotelling's T squared with that many degrees
    of freedom, which keeps its size where a normal approximation rejects far too often. None where there are fewer
    than q + 1 cosines or where the columns do not vary independently. Raises ValueError for NaN or another shape.
    Source: Lazarus, Lewis, Stock and Watson, JBES 36 (2018), eq. 11.
    """
    if moments.ndim != 2 or moments.size == 0 or not np.isfinite(moments).all():
        raise ValueError(f"moments is {moments.shape}, expected finite numbers (n, q) with n, q >= 1")
    n, q = moments.shape
    terms = cosine_terms(n, k)
    means = moments.mean(axis=0)
    nothing = MomentTest(tuple(means.tolist()), None, None, n, terms)
    if terms < q + 1 or terms >= n:
        return nothing
    projected = cosine_weights(n, terms).T @ moments  # (terms, q)
    variance = projected.T @ projected / terms
    scale = np.sqrt(np.diag(variance))
    if (scale <= ROUNDING * np.abs(moments).max(axis=0)).any():
        return nothing
    correlation = variance / np.outer(scale, scale)
    if np.linalg.cond(correlation) > 1.0 / ROUNDING:
        return nothing
    standard = means / scale
    squared = n * float(standard @ np.linalg.solve(correlation, standard))
    statistic = (terms - q + 1) / (terms * q) * squared
    from scipy.special import fdtrc  # costs more time than all the rest of scoring, and most callers never test

    return MomentTest(tuple(means.tolist()), statistic, float(fdtrc(q, terms - q + 1, statistic)), n, terms)


def means_by_date(moments: FloatArray, dates: Int64Array) -> tuple[Int64Array, FloatArray]:
    """The means over the coins of each date: dates (T,), increasing and unique, and moments (T, q).

    moments (n, q) without NaN, dates (n,). Raises ValueError if shapes disagree.
    """
    if moments.ndim != 2 or dates.shape != moments.shape[:1]:
        raise ValueError(f"moments {moments.shape} and dates {dates.shape}: expected (n, q) and (n,)")
    columns = [mean_by_date(moments[:, column], dates) for column in range(moments.shape[1])]
    return columns[0][0], np.column_stack([means for _, means, _ in columns])


def cosine_terms(n: int, k: int) -> int:
    """How many cosines estimate the variance of a mean of n values whose errors overlap in k: at least 1.

    The smaller of 0.4 n^(2/3), the rule of Lazarus and others, and n / (2 k): a sum of k shocks has its power below
    the frequency 1 / k, and cosines beyond a quarter of that would miss too much of it. Raises ValueError below 1.
    """
    if n < 1 or k < 1:
        raise ValueError(f"n is {n} and k is {k}, expected 1 or more")
    return max(1, int(min(0.4 * n ** (2.0 / 3.0), 0.5 * n / k)))


def cosine_weights(n: int, terms: int) -> FloatArray:
    """The first cosines (n, terms) on which a series is projected to estimate the variance of its mean.

    For x (n,) in order of time, the mean of the squares of `x @ weights` is n times the variance of the mean of x, and
    mean / se is Student's t with `terms` degrees of freedom, in small samples too. Each column sums to 0, so that the
    mean of x need not be taken out, and has length 1. Raises ValueError unless 1 <= terms < n.
    Source: Lazarus, Lewis, Stock and Watson, JBES 36 (2018), eq. 10.
    """
    if not 1 <= terms < n:
        raise ValueError(f"{terms} cosines for {n} values, expected 1 or more and fewer than the values")
    moments = (np.arange(n) + 0.5) / n
    weights: FloatArray = math.sqrt(2.0 / n) * np.cos(math.pi * np.outer(moments, np.arange(1, terms + 1)))
    return weights
