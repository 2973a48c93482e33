"""The distribution that `lstm` ends in: a Student t, wider where the network is not sure of itself.

A Student t is a normal whose log deviation is random, with variance trigamma(freedom / 2) / 4. If the network's own
log scale has a spread between its members and dropout samples, the spread adds to that variance: the mixture of all
samples has fatter tails, which are those of a Student t of fewer degrees of freedom with the same mean log deviation.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.models.quantile_shape import TAIL_FREEDOM, student_shapes
from cryptocast.scoring.quantiles import LEVELS

# Below, the variance of the mixture says nothing; above, it is a normal.
LEAST_FREEDOM: Final = 2.5
MOST_FREEDOM: Final = 60.0
GRID: Final = 400
SERIES_FROM: Final = 10
# A view is used if its mean gain is this many standard errors above zero, over at least this many blocks.
VIEW_SIGMAS: Final = 3.0
LEAST_VIEW_BLOCKS: Final = 12


@dataclass(frozen=True, slots=True, eq=False)
class StudentMixture:
    """A Student t for each row and horizon: deviation and freedom (n, H), shape (n, H, q) of deviation 1."""

    deviation: FloatArray
    freedom: FloatArray
    shape: FloatArray


def mixed(log_scale: FloatArray, spread: FloatArray, freedom: float = TAIL_FREEDOM) -> StudentMixture:
    """The mixture of Student ts of that freedom whose log scales have mean log_scale and variance spread, both (n, H).

    Scales are in units of the deviation: log_scale 0 and spread 0 give the prior shape of `baseline`.
    """
    tables = _tables()
    target = np.interp(freedom, tables.freedom, tables.variance) + spread
    # The tables fall in variance as the freedom grows; interpolation wants rising places.
    place = np.interp(-target, -tables.variance, np.arange(GRID, dtype=np.float64))
    low = np.minimum(place.astype(np.int64), GRID - 2)
    part = place - low

    def looked_up(table: FloatArray) -> FloatArray:
        weight = part.reshape(part.shape + (1,) * (table.ndim - 1))
        return np.asarray((1.0 - weight) * table[low] + weight * table[low + 1])

    start = np.interp(freedom, tables.freedom, tables.mean)
    deviation = np.exp(log_scale + start - looked_up(tables.mean))
    return StudentMixture(deviation, looked_up(tables.freedom), looked_up(tables.quantiles))


def probability_of_rise(location: FloatArray, mixture: StudentMixture) -> FloatArray:
    """(n, H): of a return above 0, with the location in the same unit as the deviation; 0.5 where it is 0."""
    from scipy.special import stdtr  # scipy costs more time than this module's other imports

    unit = np.sqrt((mixture.freedom - 2.0) / mixture.freedom)
    return np.asarray(np.clip(stdtr(mixture.freedom, location / (mixture.deviation * unit)), 0.0, 1.0))


def supports_view(
    standardised: FloatArray, log_scale: FloatArray, location: FloatArray, bar: Int64Array, horizon: int
) -> bool:
    """Whether the location (n,) told the standardised returns (n,), NaN where not known, clearly better than zero.

    bar (n,): the number of the bar of issue. The gain in log likelihood is averaged over coins and then over blocks of
    `horizon` bars, which are nearly independent; their mean must stand three standard errors above zero.
    """
    usable = np.isfinite(standardised)
    if not usable.any():
        return False
    gain = (_loss(standardised, log_scale) - _loss(standardised - location, log_scale))[usable]
    when, place = np.unique(bar[usable], return_inverse=True)
    by_bar = np.bincount(place, gain) / np.bincount(place)
    _, block = np.unique((when - when[0]) // horizon, return_inverse=True)
    means = np.bincount(block, by_bar) / np.bincount(block)
    if len(means) < LEAST_VIEW_BLOCKS:
        return False
    error = means.std(ddof=1) / np.sqrt(len(means))
    return bool(means.mean() > VIEW_SIGMAS * error > 0.0)


def _loss(error: FloatArray, log_scale: FloatArray) -> FloatArray:
    """Negative log likelihood of a Student t of the prior freedom, up to what does not depend on the location."""
    squared = error**2 * np.exp(-2.0 * log_scale) / (TAIL_FREEDOM - 2.0)
    return np.asarray(0.5 * (TAIL_FREEDOM + 1.0) * np.log1p(squared))


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """By freedom (G,), rising: variance and mean of the log deviation of the normal inside a Student t of deviation 1,
    and its quantiles (G, q)."""

    freedom: FloatArray
    variance: FloatArray
    mean: FloatArray
    quantiles: FloatArray


@cache
def _tables() -> _Tables:
    freedom = np.exp(np.linspace(np.log(LEAST_FREEDOM), np.log(MOST_FREEDOM), GRID))
    half = 0.5 * freedom
    slope, curvature = _log_gamma_slopes(half)
    # The log of sqrt(freedom / chi2) times what makes the deviation 1.
    mean = 0.5 * (np.log(half) - slope) + 0.5 * np.log((freedom - 2.0) / freedom)
    return _Tables(freedom, 0.25 * curvature, mean, student_shapes(LEVELS, freedom))


def _log_gamma_slopes(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """First and second derivative of the log of the gamma function at x > 0, to 1e-11; SciPy's cost 27 MB.

    Both by their recurrences and, SERIES_FROM further up, by their asymptotic series. Source: DLMF 5.11.2 and 5.15.8.
    """
    steps, y = x[:, None] + np.arange(SERIES_FROM), x + SERIES_FROM
    slope = np.log(y) - 1 / (2 * y) - 1 / (12 * y**2) + 1 / (120 * y**4) - 1 / (252 * y**6) + 1 / (240 * y**8)
    curvature = 1 / y + 1 / (2 * y**2) + 1 / (6 * y**3) - 1 / (30 * y**5) + 1 / (42 * y**7) - 1 / (30 * y**9)
    return slope - (1.0 / steps).sum(axis=1), curvature + (1.0 / steps**2).sum(axis=1)
