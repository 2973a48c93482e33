"""Sample paths of several coins whose distribution at every bar is the forecast's.

A forecast says how far a price may be at each horizon, not how it gets there, nor which coins move together. That comes
from history: blocks of dates (mean 10 bars) that all coins share are drawn at random, the coins' standardised returns
of those dates are summed up, and at each bar the ranks of the sums among the paths are filled with the quantiles of the
forecast. So the marginals are the forecast's, and order in time and between coins is that of history.
Sources: Clark, Gangopadhyay, Hay, Rajagopalan and Wilby, Journal of Hydrometeorology 5 (2004), the Schaake shuffle;
Schefzik, Thorarinsdottir and Gneiting, Statistical Science 28 (2013), ensemble copula coupling; Politis and Romano,
JASA 89 (1994), the stationary bootstrap.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final, TypeAlias

import numpy as np

from cryptocast.arrays import FloatArray, Int64Array
from cryptocast.choices import TouchOn
from cryptocast.errors import TooFewBarsError
from cryptocast.features.matrix import volatility_rule
from cryptocast.models.base import Forecast
from cryptocast.models.interpolation import at_horizons
from cryptocast.models.quantile_shape import TAIL_FREEDOM
from cryptocast.models.recent_window import RECENT_BARS
from cryptocast.models.tails import quantile_function
from cryptocast.scoring.bootstrap import stationary_indices

Closes: TypeAlias = tuple[Int64Array, FloatArray]  # close times in microseconds, increasing, and closes

BLOCK: Final = 10.0  # bars, on average
LEAST_DATES: Final = 20
# A forecast may widen by little from one bar to the next. A path moves in each: by a tenth of the mean variance.
LEAST_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class SamplePaths:
    """Log returns (m, H, C) since the last price, m paths over 1 to H bars of C coins; coins as named.

    price (C,): the last one. variance (H, C): of the log return of each bar.
    """

    coins: tuple[str, ...]
    price: FloatArray
    log_returns: FloatArray
    variance: FloatArray

    def prices(self) -> FloatArray:
        """(m, H, C)."""
        return self.price * np.exp(self.log_returns)


@dataclass(frozen=True, slots=True)
class Risk:
    """Of a position at one horizon, as losses in the quote currency: what is exceeded with probability 1 - level, and
    the mean loss where it is."""

    level: float
    value_at_risk: float
    expected_shortfall: float


def shared_returns(closes: Sequence[Closes], bar_us: int) -> FloatArray:
    """Returns (T, C) of the recent bars that all coins have, each divided by the volatility known before it.

    Raises TooFewBarsError for fewer than 20.
    """
    series = [_returns(*one, bar_us) for one in closes]
    times = reduce(np.intersect1d, (one[0] for one in series))[-RECENT_BARS:]
    if len(times) < LEAST_DATES:
        raise TooFewBarsError(
            f"There are {len(times)} bars that all of these coins have: it takes {LEAST_DATES} to say how they move "
            "together."
        )
    returns = np.stack([values[np.isin(own, times)] for own, values in series], axis=1)
    return returns / np.sqrt(_variance_before(returns, volatility_rule(bar_us).half_life))


def _returns(times: Int64Array, closes: FloatArray, bar_us: int) -> tuple[Int64Array, FloatArray]:
    """The close times and log returns of the bars that follow their neighbour."""
    follows = np.diff(times) == bar_us
    return times[1:][follows], np.diff(np.log(closes))[follows]


def _variance_before(returns: FloatArray, half_life: float) -> FloatArray:
    """(T, C): exponentially weighted, of the returns before each; the mean of all stands before the first."""
    decay, squared = 0.5 ** (1.0 / half_life), returns**2
    mean = squared.mean(axis=0)
    variance = np.empty_like(returns)
    variance[0] = mean
    for bar in range(1, len(returns)):
        variance[bar] = decay * variance[bar - 1] + (1.0 - decay) * squared[bar - 1]
    floor = np.where(mean > 0.0, 1e-4 * mean, 1.0)  # a price that never moves stands still on every path
    return np.maximum(variance, floor)


def draw_paths(forecasts: Sequence[Forecast], returns: FloatArray, *, paths: int, seed: int) -> SamplePaths:
    """Paths over every bar up to the longest horizon, of one forecast of one row for each coin, at the same horizons.

    returns (T, C) as `shared_returns` has them. The k-th of m ordered prices at a bar is the (k - 1/2) / m quantile.
    The same seed draws the same paths, in whatever order the coins come.
    """
    bars = np.arange(1, int(forecasts[0].horizons[-1]) + 1)
    everywhere = [at_horizons(one, bars.tolist()) for one in forecasts]
    total = np.stack([one.volatility[0] ** 2 for one in everywhere], axis=1)
    variance = np.maximum(np.diff(total, axis=0, prepend=0.0), LEAST_SHARE * total / bars[:, None])
    dates = stationary_indices(len(returns), BLOCK, paths, np.random.default_rng(seed), bars=len(bars))
    sums = np.cumsum(returns[dates] * np.sqrt(variance), axis=1)
    probabilities = (np.arange(paths) + 0.5) / paths
    log_returns = np.empty_like(sums)
    for number, one in enumerate(everywhere):
        quantiles = quantile_function(one.values[0], probabilities)
        coin = str(one.coin[0])
        ranks = _ranks(sums[:, :, number], np.random.default_rng([seed, zlib.crc32(coin.encode())]))
        log_returns[:, :, number] = np.take_along_axis(quantiles.T, ranks, axis=0)
    coins = tuple(str(one.coin[0]) for one in everywhere)
    return SamplePaths(coins, np.array([one.price[0] for one in everywhere]), log_returns, variance)


def _ranks(sums: FloatArray, rng: np.random.Generator) -> Int64Array:
    """(m, H): the rank of each path at each bar. Paths that drew the same dates are put in order by lot, for each coin
    anew: by their number, coins would move together that never did."""
    lot = rng.permutation(len(sums))
    order = lot[np.argsort(sums[lot], axis=0, kind="stable")]
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(len(sums))[:, None], axis=0)
    return ranks


def touch_probabilities(paths: SamplePaths, coin: int, price: float, on: TouchOn = "high-low") -> FloatArray:
    """(H,) the probability that the coin of that number has touched a price by each bar, from above or from below.

    On the close: the share of paths of which a close has reached it. By high or low: between two closes a path is a
    Brownian bridge, which passes a price b above both, x and y, with probability exp(-2 (b - x) (b - y) / variance).
    A bar that moved far was wilder inside, too: for a Student-t return z in deviations the mean of the variance behind
    it is (freedom - 2 + z^2) / (freedom - 1). Source of the bridge: Karatzas and Shreve, Brownian Motion (1991), 4.3.
    """
    target = np.log(price / paths.price[coin])
    side = 1.0 if target >= 0.0 else -1.0
    closes = np.pad(side * paths.log_returns[:, :, coin], ((0, 0), (1, 0)))  # the last price is behind all of them
    room = abs(target) - closes
    before, after = room[:, :-1], room[:, 1:]
    missed = np.where(np.minimum(before, after) <= 0.0, 0.0, 1.0)
    if on == "high-low":
        variance = paths.variance[:, coin]
        wildness = (TAIL_FREEDOM - 2.0 + np.diff(closes, axis=1) ** 2 / variance) / (TAIL_FREEDOM - 1.0)
        missed *= -np.expm1(-2.0 * np.maximum(before, 0.0) * np.maximum(after, 0.0) / (variance * wildness))
    return np.asarray(1.0 - np.cumprod(missed, axis=1).mean(axis=0))


def risks(paths: SamplePaths, amounts: FloatArray, bar: int, levels: Sequence[float]) -> tuple[Risk, ...]:
    """Of a position of so many units of each coin (C,), negative for short, held over `bar` bars, at each level.

    Source: Acerbi and Tasche, Journal of Banking and Finance 26 (2002).
    """
    moves = paths.price * np.expm1(paths.log_returns[:, bar - 1])
    losses = np.sort(-(moves @ amounts))
    return tuple(_risk(losses, level) for level in levels)


def _risk(losses: FloatArray, level: float) -> Risk:
    worst = losses[-max(1, round((1.0 - level) * len(losses))) :]
    return Risk(level, float(worst[0]), float(worst.mean()))
