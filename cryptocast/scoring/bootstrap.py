"""Resampling in blocks: intervals for figures of series whose neighbours resemble each other.

Indices come first and are handed to every figure, so that two strategies are resampled at the same moments (paired)
and another program can be fed the same ones.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.scoring.returns import sharpe
from cryptocast.scoring.shapes import require_same_shape

CELLS: Final = 4_000_000  # resampled values held at once, 32 MB


def stationary_indices(
    n: int, block: float, draws: int, rng: np.random.Generator, *, bars: int | None = None
) -> Int64Array:
    """Rows (draws, bars) of the stationary bootstrap: blocks of geometric length with mean `block`, around the end.

    bars: as many as there are, n, by default. Raises ValueError unless n, draws >= 1 and block >= 1. Source: Politis
    and Romano, JASA 89 (1994).
    """
    _require(n, block, draws)
    shape = (draws, n if bars is None else bars)
    return stationary_indices_from(rng.integers(0, n, shape), rng.random(shape), block, n)


def stationary_indices_from(starts: Int64Array, uniform: FloatArray, block: float, n: int | None = None) -> Int64Array:
    """The rows that given random numbers lead to: a new block, from `starts`, where uniform <= 1 / block.

    starts (..., b) in [0, n), uniform (..., b) in [0, 1); n is b by default. The first of a row always starts a block.
    """
    n = starts.shape[-1] if n is None else n
    at = np.arange(starts.shape[-1])
    begins = uniform <= 1.0 / block
    begins[..., 0] = True
    begun = np.maximum.accumulate(np.where(begins, at, 0), axis=-1)
    indices: Int64Array = (np.take_along_axis(starts, begun, axis=-1) + at - begun) % n
    return indices


def optimal_block_length(x: FloatArray) -> tuple[float, float]:
    """The block length for the mean of x: (mean length for the stationary, length for the circular bootstrap).

    x (n,), n >= 16, in order of time. At least 1; 1 where x does not vary. Raises ValueError for NaN, another shape
    or fewer values. Source: Politis and White, Econometric Reviews 23 (2004), corrected by Patton, Politis and White
    28 (2009); the details are those of arch.bootstrap.optimal_block_length.
    """
    if x.ndim != 1 or x.size < 16 or not np.isfinite(x).all():
        raise ValueError(f"x is {x.shape}, expected finite numbers (n,) with n >= 16")
    if x.min() == x.max():
        return 1.0, 1.0
    n = x.size
    deviation = x - x.mean()
    most = math.ceil(min(3.0 * math.sqrt(n), n / 3.0))
    run = max(5, int(math.log10(n)))  # so many insignificant autocorrelations in a row end the search
    lags = math.ceil(math.sqrt(n)) + run
    covariance, correlation = _autocovariances(deviation, lags)
    small = correlation < 2.0 * math.sqrt(math.log10(n) / n)
    quiet = [lag for lag in range(lags - run + 1) if small[lag : lag + run].all()]
    cut = min(2 * max(quiet[0], 1), lags) if quiet else lags
    weights = np.minimum(1.0, 2.0 * (1.0 - np.arange(1, cut + 1) / cut))
    weighted = covariance[1 : cut + 1] * weights
    slope = 2.0 * float((np.arange(1, cut + 1) * weighted).sum())
    long_run = float(covariance[0] + 2.0 * weighted.sum())
    if long_run == 0.0:
        return float(most), float(most)
    stationary, circular = (
        (2.0 * slope**2 / (factor * long_run**2)) ** (1.0 / 3.0) * n ** (1.0 / 3.0) for factor in (2.0, 4.0 / 3.0)
    )
    return max(1.0, min(stationary, most)), max(1.0, min(circular, most))


def _autocovariances(deviation: FloatArray, lags: int) -> tuple[FloatArray, FloatArray]:
    """Autocovariances (lags + 1,) divided by n, and the size of the correlations as arch scales them."""
    n = deviation.size
    covariance, correlation = np.zeros(lags + 1), np.zeros(lags + 1)
    for lag in range(lags + 1):
        cross = float(deviation[lag:] @ deviation[: n - lag])
        ahead, behind = deviation[lag + 1 :], deviation[: -(lag + 1)]
        scale = math.sqrt(float(ahead @ ahead) * float(behind @ behind))
        covariance[lag] = cross / n
        correlation[lag] = abs(cross) / scale if scale > 0.0 else 0.0
    return covariance, correlation


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate, how uncertain it is, and whether it differs from 0. None where it is undefined."""

    estimate: float | None
    se: float | None
    lower: float | None
    upper: float | None
    p: float | None  # two-sided, of the estimate being 0


def bootstrap_sharpe(returns: FloatArray, indices: Int64Array, periods: float, alpha: float = 0.05) -> Estimate:
    """The annual Sharpe ratio of returns (n,) with its interval, from resampled rows (draws, n).

    The interval is symmetric: the estimate plus and minus what resampled ratios stray from it with probability
    1 - alpha. Raises ValueError for NaN or shapes that disagree. Source: Ledoit and Wolf, Journal of Empirical
    Finance 15 (2008), without their studentisation.
    """
    replicates = _resampled(returns, indices, _sharpe_rows) * math.sqrt(periods)
    return _interval(sharpe(returns, periods), replicates, alpha)


def bootstrap_sharpe_difference(
    returns: FloatArray, baseline: FloatArray, indices: Int64Array, periods: float, alpha: float = 0.05
) -> Estimate:
    """The Sharpe ratio of returns (n,) minus that of a baseline on the same bars, both resampled at the same moments.

    Where one of them does not vary (always flat) its ratio counts as 0. Arguments and source as `bootstrap_sharpe`.
    """
    require_same_shape(returns=returns, baseline=baseline)
    ours, theirs = sharpe(returns, periods), sharpe(baseline, periods)
    if ours is None and theirs is None:
        return Estimate(None, None, None, None, None)
    replicates = np.zeros(len(indices))
    for sign, series, ratio in ((1.0, returns, ours), (-1.0, baseline, theirs)):
        if ratio is not None:
            replicates += sign * _resampled(series, indices, _sharpe_rows) * math.sqrt(periods)
    return _interval((ours or 0.0) - (theirs or 0.0), replicates, alpha)


def _sharpe_rows(rows: FloatArray) -> FloatArray:
    """Per-bar Sharpe ratio of each row; NaN where a row does not vary."""
    deviation = rows.std(axis=1, ddof=1)
    varies = rows.min(axis=1) < rows.max(axis=1)
    ratio: FloatArray = np.divide(rows.mean(axis=1), deviation, out=np.full(len(rows), np.nan), where=varies)
    return ratio


def _resampled(x: FloatArray, indices: Int64Array, figure: Callable[[FloatArray], FloatArray]) -> FloatArray:
    if x.ndim != 1 or indices.ndim != 2 or indices.shape[1] != x.size or not np.isfinite(x).all():
        raise ValueError(f"x {x.shape} and indices {indices.shape}: expected finite numbers (n,) and (draws, n)")
    return np.concatenate([figure(x[part]) for part in _parts(indices)] or [np.empty(0)])


def _parts(indices: Int64Array) -> Iterator[Int64Array]:
    size = max(1, CELLS // max(1, indices.shape[1]))
    for begin in range(0, len(indices), size):
        yield indices[begin : begin + size]


def _interval(estimate: float | None, replicates: FloatArray, alpha: float) -> Estimate:
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha is {alpha}, expected a share inside (0, 1)")
    # A resample that never varies has no ratio; it says nothing.
    usable = replicates[~np.isnan(replicates)]
    if estimate is None or usable.size < 2:
        return Estimate(estimate, None, None, None, None)
    stray = np.abs(usable - estimate)
    half = float(np.quantile(stray, 1.0 - alpha))
    p = (1 + int((stray >= abs(estimate)).sum())) / (usable.size + 1)
    return Estimate(estimate, float(usable.std(ddof=1)), estimate - half, estimate + half, p)


def _require(n: int, block: float, draws: int) -> None:
    if n < 1 or draws < 1 or not block >= 1.0:
        raise ValueError(f"n {n}, block {block}, draws {draws}: expected 1 or more of each")
