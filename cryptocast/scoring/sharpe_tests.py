"""Is a Sharpe ratio more than luck, given how short the record is and how many were tried?

Sharpe ratios here are per bar, not annual: divide by the root of the bars in a year first. Kurtosis is Pearson's, 3
for a Gaussian. Source: Bailey and Lopez de Prado, Journal of Risk 15 (2012) and Journal of Portfolio Management 40
(2014).
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from cryptocast.arrays import FloatArray

EULER = 0.5772156649015329


@dataclass(frozen=True, slots=True)
class BarStatistics:
    """What the tests need to know of a series of returns."""

    sharpe: float  # per bar
    n: int  # bars
    skewness: float
    kurtosis: float  # 3 for a Gaussian


def bar_statistics(returns: FloatArray) -> BarStatistics | None:
    """The statistics of returns (n,), one for every bar. None below two bars or where they do not vary.

    The standard deviation divides by n - 1, the moments behind skewness and kurtosis by n. Raises ValueError for NaN.
    """
    if returns.ndim != 1 or not np.isfinite(returns).all():
        raise ValueError(f"returns is {returns.shape}, expected finite numbers (n,)")
    if returns.size < 2 or returns.min() == returns.max():
        return None
    standard = (returns - returns.mean()) / returns.std()
    return BarStatistics(
        sharpe=float(returns.mean() / returns.std(ddof=1)),
        n=returns.size,
        skewness=float((standard**3).mean()),
        kurtosis=float((standard**4).mean()),
    )


def probabilistic_sharpe(statistics: BarStatistics, benchmark: float = 0.0) -> float | None:
    """The probability that the true Sharpe ratio is above the benchmark (per bar), given its standard error.

    None where that error is zero, which takes a series of two values only.
    """
    if statistics.n < 2:
        return None
    variance = _variance(statistics)
    if variance <= 0.0:
        return None
    return NormalDist().cdf((statistics.sharpe - benchmark) * math.sqrt((statistics.n - 1) / variance))


def best_by_luck(trials: float, variance: float) -> float:
    """The expected best Sharpe ratio among so many trials without skill whose ratios have this variance (per bar).

    trials >= 1, may be an effective number; one trial expects 0. Raises ValueError for less, or a negative variance.
    """
    if not trials >= 1.0 or not variance >= 0.0:
        raise ValueError(f"trials {trials} and variance {variance}: expected 1 or more, and 0 or more")
    if trials == 1.0:
        return 0.0
    quantile = NormalDist().inv_cdf
    # Just above one trial the formula falls below the 0 that one trial expects.
    expected = (1.0 - EULER) * quantile(1.0 - 1.0 / trials) + EULER * quantile(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * max(0.0, expected)


def deflated_sharpe(statistics: BarStatistics, *, trials: float, variance: float) -> float | None:
    """The probability that the true Sharpe ratio is above what the luckiest of all trials would show.

    trials: how many were tried on these data, honestly counted; variance: of their Sharpe ratios, per bar. None and
    errors as `probabilistic_sharpe` and `best_by_luck`.
    """
    return probabilistic_sharpe(statistics, best_by_luck(trials, variance))


def _variance(statistics: BarStatistics) -> float:
    """n - 1 times the squared standard error of the Sharpe ratio (Mertens 2002), never negative for real moments."""
    ratio = statistics.sharpe
    return 1.0 - statistics.skewness * ratio + (statistics.kurtosis - 1.0) / 4.0 * ratio**2
