"""Figures of a series of simple returns: what a strategy earned, how unevenly, and how deep it fell.

`returns` is (n,) net simple returns of equity, one for every bar, the flat ones too: 0.01 is 1 %. `periods` is the
number of bars in a year (`periods_per_year`: 365 for daily bars of a market that never closes). Where a figure is
undefined (no bars, no variance, no loss to divide by) it is None, never infinity. NaN raises ValueError. Conventions
are those of quantstats with periods=365 and of empyrical with annualization=365, which the tests hold to 1e-10.
"""

import math
from itertools import pairwise
from typing import Final

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.times import DAY_US

FEW: Final = 16  # bars of which equity is first known by its lowest and its highest
SAME: Final = 1e-12  # returns that differ by so small a share of their mean differ by rounding
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
    """The deepest drawdown at the close of a bar, <= 0: -0.5 is half lost. None without bars."""
    return float(drawdown(returns).min()) if returns.size else None


def calmar(returns: FloatArray, periods: float) -> float | None:
    """The annual return over the depth of the deepest drawdown. None where there was none.

    Source: Young, Futures 20 (1991), over the whole span instead of 36 months.
    """
    annual, deepest = annual_return(returns, periods), max_drawdown(returns)
    return annual / abs(deepest) if annual is not None and deepest else None


class ReturnSums:
    """What must be remembered of the returns so far of N series, for their figures: each (N,), NaN where undefined.

    A product or a maximum that runs from bar to bar is slow. Both run over every `FEW` bars only, and within them for
    all such stretches at once.
    """

    def __init__(self, series: int) -> None:
        self.bars = np.zeros(series, dtype=np.int64)
        self.equity, self._peak, self._lowest_share = np.ones(series), np.ones(series), np.ones(series)
        self._mean, self._square = np.zeros(series), np.zeros(series)  # the mean, and the squares around it
        self._memory = np.empty(0)

    def add(self, returns: FloatArray, rows: slice = slice(None)) -> None:
        """The next returns (n, bars), finite, of these series."""
        if returns.size == 0:
            return
        number, bars = returns.shape
        growth = self._shaped(FEW, number, -(-bars // FEW))
        self._add_moments(returns, rows, growth.reshape(-1)[: returns.size].reshape(returns.shape))
        _lay_out(returns, growth)
        for before, now in pairwise(growth):
            np.multiply(before, now, out=now)
        equity = np.multiply.accumulate(_behind(self.equity[rows], growth[-1]), axis=1)
        share, peak = _lowest_share(growth, equity[:, :-1], self._peak[rows])
        self.equity[rows], self._peak[rows] = equity[:, -1], peak
        self._lowest_share[rows] = np.minimum(self._lowest_share[rows], share)

    def _shaped(self, *shape: int) -> FloatArray:
        """The same memory as at the last call, as long as it is enough."""
        size = math.prod(shape)
        if self._memory.size < size:
            self._memory = np.empty(size)
        return self._memory[:size].reshape(shape)

    def _add_moments(self, returns: FloatArray, rows: slice, work: FloatArray) -> None:
        """Source of the sums: Chan, Golub and LeVeque, American Statistician 37 (1983)."""
        before, more = self.bars[rows], returns.shape[1]
        mean = returns.sum(axis=1) / more
        np.subtract(returns, mean[:, None], out=work)
        apart = mean - self._mean[rows]
        share = more / (before + more)
        self._square[rows] += np.einsum("ij,ij->i", work, work) + apart * apart * before * share
        self._mean[rows] += apart * share
        self.bars[rows] += more

    @property
    def total_return(self) -> FloatArray:
        """As the function of that name."""
        return np.where(self.bars > 0, self.equity - 1.0, np.nan)

    def annual_return(self, periods: float) -> FloatArray:
        """As the function of that name."""
        defined = (self.bars > 0) & (self.equity >= 0.0)
        end = np.where(defined, self.equity, 1.0)
        return np.where(defined, end ** (periods / np.maximum(self.bars, 1)) - 1.0, np.nan)

    def sharpe(self, periods: float) -> FloatArray:
        """As the function of that name, with nothing that is free of risk."""
        varies = (self.bars > 1) & (self._square > self.bars * (SAME * self._mean) ** 2)
        variance = np.where(varies, self._square, 1.0) / np.maximum(self.bars - 1, 1)
        return np.where(varies, self._mean / np.sqrt(variance), np.nan) * math.sqrt(periods)

    @property
    def max_drawdown(self) -> FloatArray:
        """As the function of that name."""
        return np.where(self.bars > 0, self._lowest_share - 1.0, np.nan)


def _lay_out(returns: FloatArray, growth: FloatArray) -> None:
    """Write to growth (FEW, n, stretches) the factors of equity of the bars (n, bars); 1 behind the last."""
    number, bars = returns.shape
    whole, rest = divmod(bars, FEW)
    np.add(returns[:, : whole * FEW].reshape(number, whole, FEW).transpose(2, 0, 1), 1.0, out=growth[:, :, :whole])
    if rest:
        growth[rest:, :, -1] = 1.0
        np.add(returns[:, whole * FEW :].T, 1.0, out=growth[:rest, :, -1])


def _behind(first: FloatArray, values: FloatArray) -> FloatArray:
    """(n, 1 + m) the values (n, m) behind the first ones (n,)."""
    return np.concatenate([first[:, None], values], axis=1)


def _lowest_share(growth: FloatArray, equity: FloatArray, peak: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The lowest equity (n,) as a share of the highest so far, which was `peak` (n,) before; and the new peak.

    growth (FEW, n, stretches) since the beginning of each stretch, equity (n, stretches) at it. Bar by bar only those
    stretches are looked at whose lowest equity, under the highest until their end, could be it.
    """
    lows, highs = growth.min(axis=0) * equity, growth.max(axis=0) * equity
    highest = np.maximum.accumulate(_behind(peak, highs), axis=1)
    before = highest[:, :-1]
    share = (lows / before).min(axis=1)
    row, place = np.nonzero(lows < share[:, None] * highest[:, 1:])
    some = growth[:, row, place] * equity[row, place]
    peaks = np.maximum(np.maximum.accumulate(some, axis=0), before[row, place])
    np.minimum.at(share, row, (some / peaks).min(axis=0))
    return share, highest[:, -1]


def _require_returns(returns: FloatArray) -> None:
    if returns.ndim != 1 or not np.isfinite(returns).all():
        raise ValueError(f"returns is {returns.shape}, expected finite numbers (n,)")
