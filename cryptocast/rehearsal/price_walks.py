"""Prices of any coin at any moment, from a seed: one random walk a coin, looked up, never stepped through.

A walk has three layers. Daily levels are a cumulated sum. Hours are a Brownian bridge between two days, and five-minute
samples one between two hours. All noise is a hash of (seed, coin, layer, index), so that every moment can be asked for
in any order at once, and the price on the hour is the same number whether one asks for days, hours or minutes.
"""

import functools
import hashlib
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.rehearsal.coins import CURRENCIES, Coin

FIVE_MS, HOUR_MS, DAY_MS = 300_000, 3_600_000, 86_400_000
FIVES_AN_HOUR, HOURS_A_DAY = 12, 24
# Days since 1970 of 2009-01-01, 2026-01-01 and 2046-01-01: where the walks begin, have the price of the table, and end.
FIRST_DAY, ANCHOR_DAY, LAST_DAY = 14_245, 20_454, 27_759
FIRST_MS, LAST_MS = FIRST_DAY * DAY_MS, (LAST_DAY - 2) * DAY_MS

MARKET_VOLATILITY: Final = 0.02  # of the factor that all coins share, a day
EPISODE_DAYS: Final = 20  # volatility wanders over about so long
TURNOVER: Final = 0.04  # of the market cap, traded in a day
WALKS_KEPT: Final = 512
MOMENTS_KEPT: Final = 8192
FEW: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class _Days:
    """Log price at 00:00 of each day, and the volatility of the day that begins there."""

    level: FloatArray
    volatility: FloatArray


class PriceWalks:
    """The prices, volumes and caps of coins. The same seed gives the same numbers; nothing is drawn in order."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._days = functools.lru_cache(maxsize=WALKS_KEPT)(self._make_days)
        # Current values are asked for again and again until the minute is over.
        self._price_of_few = functools.lru_cache(maxsize=MOMENTS_KEPT)(self._dollars)
        self._volume_of_few = functools.lru_cache(maxsize=MOMENTS_KEPT)(self._traded)

    def price(self, coin: Coin, at_ms: Int64Array, vs: str = "usd") -> FloatArray:
        """Prices (n,) at moments (n,) in unix milliseconds; between two five-minute samples on a straight line.

        NaN before the coin was listed, after it stopped, and where it has no price.
        """
        at_ms = np.asarray(at_ms, dtype=np.int64)
        if at_ms.size and not (at_ms.min() >= FIRST_MS and at_ms.max() < LAST_MS):
            raise ValueError(
                f"moments from {at_ms.min()} to {at_ms.max()} ms: the walks go from {FIRST_MS} to {LAST_MS}"
            )
        few = at_ms.size <= FEW
        dollars = self._price_of_few(coin, tuple(at_ms.tolist())) if few else self._dollars(coin, at_ms)
        return dollars / self.rate(vs, at_ms)

    def rate(self, vs: str, at_ms: Int64Array) -> FloatArray:
        """What one unit of the currency costs in dollars, (n,)."""
        unit = CURRENCIES[vs]
        return self.price(unit, at_ms) if isinstance(unit, Coin) else np.full(len(at_ms), unit)

    def volume(self, coin: Coin, at_ms: Int64Array, vs: str = "usd") -> FloatArray:
        """What was traded in the 24 hours before each moment, (n,): neighbours share most of it."""
        at_ms = np.asarray(at_ms, dtype=np.int64)
        few = at_ms.size <= FEW
        dollars = self._volume_of_few(coin, tuple(at_ms.tolist())) if few else self._traded(coin, at_ms)
        return dollars / self.rate(vs, at_ms)

    def noise(self, coin: Coin, layer: str, index: Int64Array) -> FloatArray:
        """Numbers (n,) evenly spread over [0, 1), a fixed one for each index: what the quirks are decided by."""
        return _uniform(self._key(coin, layer), np.asarray(index, dtype=np.int64))

    def _dollars(self, coin: Coin, at_ms: Int64Array | tuple[int, ...]) -> FloatArray:
        at_ms = np.asarray(at_ms, dtype=np.int64)
        five, past = np.divmod(at_ms, FIVE_MS)
        share = past / FIVE_MS
        here = self._fives(coin, five)
        # On the grid the next sample is not looked at: equal moments give equal bits.
        there = self._fives(coin, five + 1) if past.any() else here
        dollars = np.exp(np.where(share > 0, here * (1 - share) + there * share, here))
        return np.where(self._alive(coin, at_ms), dollars, np.nan)

    def _traded(self, coin: Coin, at_ms: Int64Array | tuple[int, ...]) -> FloatArray:
        hour, past = np.divmod(np.asarray(at_ms, dtype=np.int64), HOUR_MS)
        if not len(hour):
            return np.empty(0)
        first, last = int(hour.min()), int(hour.max())
        hours = np.arange(first - HOURS_A_DAY, last + 2)
        own = np.exp(0.5 * _normal(self._key(coin, "volume"), hours)) * (1 + 0.4 * np.sin(2 * np.pi * hours / 24))
        base = TURNOVER / HOURS_A_DAY * coin.price * coin.supply
        days = self._days(coin)
        busy = np.sqrt(days.volatility[hours // HOURS_A_DAY - FIRST_DAY] / coin.daily_volatility)
        summed = np.concatenate([[0.0], np.cumsum(base * own * busy)])
        at = hour - first + HOURS_A_DAY  # the hours before this one are whole
        rolling = summed[at] - summed[at - HOURS_A_DAY]
        entering, leaving = summed[at + 1] - summed[at], summed[at - HOURS_A_DAY + 1] - summed[at - HOURS_A_DAY]
        return np.asarray(rolling + (entering - leaving) * past / HOUR_MS)

    def _alive(self, coin: Coin, at_ms: Int64Array) -> BoolArray:
        begin = -math.inf if coin.listed_at is None else coin.listed_at * 1000
        end = math.inf if coin.stopped_at is None else coin.stopped_at * 1000
        return (at_ms >= begin) & (at_ms <= end) & coin.priced

    def _fives(self, coin: Coin, five: Int64Array) -> FloatArray:
        hour, inverse = np.unique(five // FIVES_AN_HOUR, return_inverse=True)
        if not (five % FIVES_AN_HOUR).any():
            return self._hours(coin, hour)[inverse]
        volatility = self._days(coin).volatility[hour // HOURS_A_DAY - FIRST_DAY] / math.sqrt(HOURS_A_DAY)
        table = _bridge(
            self._hours(coin, hour),
            self._hours(coin, hour + 1),
            _normal(self._key(coin, "five"), hour[:, None] * FIVES_AN_HOUR + np.arange(FIVES_AN_HOUR)),
            volatility,
        )
        return table[inverse, five % FIVES_AN_HOUR]

    def _hours(self, coin: Coin, hour: Int64Array) -> FloatArray:
        days = self._days(coin)
        day, inverse = np.unique(hour // HOURS_A_DAY, return_inverse=True)
        if not (hour % HOURS_A_DAY).any():
            return days.level[day - FIRST_DAY][inverse]
        table = _bridge(
            days.level[day - FIRST_DAY],
            days.level[day + 1 - FIRST_DAY],
            _normal(self._key(coin, "hour"), day[:, None] * HOURS_A_DAY + np.arange(HOURS_A_DAY)),
            days.volatility[day - FIRST_DAY],
        )
        return table[inverse, hour % HOURS_A_DAY]

    def _make_days(self, coin: Coin) -> _Days:
        day = np.arange(FIRST_DAY, LAST_DAY)
        calm = np.arange(FIRST_DAY, LAST_DAY + EPISODE_DAYS, EPISODE_DAYS)
        mood = np.interp(day, calm, _normal(self._key(coin, "mood"), calm // EPISODE_DAYS))
        volatility = coin.daily_volatility * np.exp(0.5 * mood)
        shocks = _normal(self._key(coin, "day"), day)
        if coin.pegged:
            return _Days(math.log(coin.price) + volatility * shocks, volatility)
        tails = np.exp(0.3 * _normal(self._key(coin, "tail"), day))  # some days are wilder than their neighbours
        factor = MARKET_VOLATILITY * _normal(_key(self.seed, "market", "day"), day)
        own = math.sqrt(max(coin.daily_volatility**2 - MARKET_VOLATILITY**2, 1e-6)) / coin.daily_volatility
        level = np.concatenate([[0.0], np.cumsum(factor + own * volatility * tails * shocks)[:-1]])
        return _Days(level - level[ANCHOR_DAY - FIRST_DAY] + math.log(coin.price), volatility)

    def _key(self, coin: Coin, layer: str) -> int:
        return _key(self.seed, coin.walk or coin.id, layer)


@functools.lru_cache(maxsize=4096)
def _key(seed: int, name: str, layer: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{name}/{layer}".encode(), digest_size=8).digest(), "little")


def _bits(key: int, index: Int64Array) -> npt.NDArray[np.uint64]:
    # SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), its state jumped to the index instead of stepped.
    x = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _uniform(key: int, index: Int64Array) -> FloatArray:
    return (_bits(key, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _normal(key: int, index: Int64Array) -> FloatArray:
    """Standard normal numbers in the shape of the index: Box and Muller, Ann. Math. Stat. 29 (1958)."""
    radius = np.sqrt(-2.0 * np.log1p(-_uniform(key, index)))
    angle = 2 * np.pi * _uniform(key ^ 0x5851F42D4C957F2D, index)
    return np.asarray(radius * np.cos(angle))


def _bridge(begin: FloatArray, end: FloatArray, shocks: FloatArray, volatility: FloatArray) -> FloatArray:
    """Samples (p, n) of p Brownian bridges; column 0 is `begin`, and `end` would be the column after the last."""
    n = shocks.shape[1]
    path = np.cumsum(shocks, axis=1) * (volatility / math.sqrt(n))[:, None]
    before = np.concatenate([np.zeros((len(begin), 1)), path[:, :-1]], axis=1)
    share = np.arange(n) / n
    return np.asarray(begin[:, None] + share * (end - begin)[:, None] + before - share * path[:, -1:])
