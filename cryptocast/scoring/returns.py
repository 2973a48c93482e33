"""Figures of a series of simple returns: what a strategy earned, how unevenly, and how deep it fell.

`returns` is (n,) net simple returns of equity, one for every bar, the flat ones too: 0.01 is 1 %. `periods` is the
number of bars in a year (`periods_per_year`: 365 for daily bars of a market that never closes). Where a figure is
undefined (no bars, no variance, no loss to divide by) it is None, never infinity. NaN raises ValueError. Conventions
are those of quantstats with periods=365 and of empyrical with annualization=365, which the tests hold to 1e-10.
"""

import math
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.times import DAY_US

BLOCK: Final = 1_000  # bars
YEAR_US: Final = 365 * DAY_US


def periods_per_year(stamps: Int64Array) -> float:
    """How many bars a year of 365 days has: from the median distance between the stamps, so that gaps do not count.

    stamps (n,) int64 microseconds, increasing, n >= 2. Daily bars give 365, hourly 8,760. Raises ValueError for fewer
    stamps, or where they do not increase.
    """
    distances = np.diff(stamps)
    if stamps.ndim != 1 or stamps.size < 2 or (distances <= 0).any():
        raise ValueError(f"stamps is {stamps.shape}, expected 2 or more that increase")
    return YEAR_US / float(np.median(distances))


def total_return(returns: FloatArray) -> float | None:
    """What all bars together returned: 0.5 is half as much again."""
    _require_returns(returns)
    return float(np.prod(1.0 + returns)) - 1.0 if returns.size else None


def annual_return(returns: FloatArray, periods: float) -> float | None:
    """The constant yearly return that leads to the same end (CAGR). None where everything is lost and more."""
    _require_returns(returns)
    end = float(np.prod(1.0 + returns)) if returns.size else -1.0
    return float(end ** (periods / returns.size)) - 1.0 if end >= 0.0 else None


def sharpe(returns: FloatArray, periods: float, risk_free: float = 0.0) -> float | None:
    """Mean excess return over its standard deviation (n - 1), times the root of the bars in a year.

    risk_free is per bar. None below two bars or where returns do not vary. Source: Sharpe, Journal of Portfolio
    Management 21 (1994).
    """
    _require_returns(returns)
    # All equal, asked before subtracting a mean whose rounding would pass for variance.
    if returns.size < 2 or returns.min() == returns.max():
        return None
    return float((returns - risk_free).mean() / returns.std(ddof=1)) * math.sqrt(periods)


def sortino(returns: FloatArray, periods: float, required: float = 0.0) -> float | None:
    """Mean return beyond the required one, over the root mean square of what fell short of it, annualised.

    The mean square is over all bars, those that did not fall short count 0. `required` is per bar. None below one bar
    or where nothing fell short. Source: Sortino and Price, Journal of Investing 3 (1994).
    """
    _require_returns(returns)
    short = np.minimum(returns - required, 0.0)
    if not short.any():
        return None
    return float((returns - required).mean()) / math.sqrt(float((short**2).mean())) * math.sqrt(periods)


def drawdown(returns: FloatArray) -> FloatArray:
    """(n,) how far equity stands below its highest so far, <= 0; the equity before the first bar counts as a peak."""
    _require_returns(returns)
    equity = np.cumprod(1.0 + returns)
    below: FloatArray = equity / np.maximum(np.maximum.accumulate(equity), 1.0) - 1.0
    return below


def max_drawdown(returns: FloatArray) -> float | None:
    """The deepest drawdown at the close of a bar, <= 0: -0.5 is half lost. None without bars.

    It is looked for only in those blocks of bars whose lowest equity, under the highest until their end, could be it:
    that takes a running maximum of few bars, and gives what `drawdown` gives, to the last bit.
    """
    _require_returns(returns)
    if not returns.size:
        return None
    equity = 1.0 + returns
    np.multiply.accumulate(equity, out=equity)
    starts = np.arange(0, equity.size, BLOCK)
    lows, highs = np.minimum.reduceat(equity, starts), np.maximum.reduceat(equity, starts)
    before = np.maximum.accumulate(np.concatenate([[1.0], highs[:-1]]))
    reached = (lows / before).min()
    suspect = ~(lows / np.maximum(before, highs) > reached)
    deepest = [
        _lowest_share(equity[start : start + BLOCK], peak)
        for start, peak in zip(starts[suspect].tolist(), before[suspect].tolist(), strict=True)
    ]
    return min(deepest) - 1.0


def _lowest_share(equity: FloatArray, peak: float) -> float:
    """Of the highest equity so far, which was `peak` before."""
    return float((equity / np.maximum(np.maximum.accumulate(equity), peak)).min())


def calmar(returns: FloatArray, periods: float) -> float | None:
    """The annual return over the depth of the deepest drawdown. None where there was none.

    Source: Young, Futures 20 (1991), over the whole span instead of 36 months.
    """
    annual, deepest = annual_return(returns, periods), max_drawdown(returns)
    return annual / abs(deepest) if annual is not None and deepest else None


def _require_returns(returns: FloatArray) -> None:
    if returns.ndim != 1 or not np.isfinite(returns).all():
        raise ValueError(f"returns is {returns.shape}, expected finite numbers (n,)")
