"""Series as the upstream answers them: which moments, with which quirks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import numpy as np

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.rehearsal.coins import Coin
from cryptocast.rehearsal.price_walks import DAY_MS, FIRST_MS, FIVE_MS, HOUR_MS, PriceWalks
from cryptocast.rehearsal.quirks import Quirks

Chart: TypeAlias = dict[str, list[list[float | None]]]

CHART_LATE_MS: Final = 600_000  # when the point of a finished day is there, after midnight: /market_chart
RANGE_LATE_MS: Final = 2_100_000  # and /range and /ohlc
ENDS_NOW_MS: Final = FIVE_MS  # a range whose end is closer to now than this ends now


def step_of_days(days: int) -> int:
    """The step of /market_chart in ms: 5 minutes for one day, hours to 90 days, days above."""
    return FIVE_MS if days <= 1 else HOUR_MS if days <= 90 else DAY_MS


def step_of_span(start_ms: int, end_ms: int, now_ms: int) -> int:
    """The step of /range in ms. It follows the span, not its age; five minutes only for a day that ends now."""
    span = end_ms - start_ms
    if span > 90 * DAY_MS:
        return DAY_MS
    return FIVE_MS if span <= DAY_MS and end_ms >= now_ms - ENDS_NOW_MS else HOUR_MS


@dataclass(slots=True)
class Desk:
    """Where prices are looked up: the market, its quirks, and what was revised by hand."""

    market: PriceWalks
    quirks: Quirks
    revisions: dict[tuple[str, int], float] = field(default_factory=dict)  # (coin, ms) -> factor

    def value(self, coin: Coin, at_ms: Int64Array, now_ms: int, vs: str) -> FloatArray:
        """Prices (n,) as the upstream gives them at this moment: provisional while they are young, and revised."""
        prices = self.market.price(coin, at_ms, vs)
        young = now_ms - at_ms < self.quirks.revised_for_s * 1000
        if young.any():
            off = 2 * self.market.noise(coin, "provisional", at_ms // FIVE_MS) - 1
            prices = np.where(young, prices * (1 + self.quirks.revised_by * off), prices)
        if self.revisions:
            prices = prices * [self.revisions.get((coin.id, int(at)), 1.0) for at in at_ms]
        return prices

    def chart(
        self, coin: Coin, vs: str, step_ms: int, start_ms: int, end_ms: int, now_ms: int, *, late_ms: int
    ) -> Chart:
        """The three arrays of [ms, value]: points after the start, up to the end, and one of now if the end is now."""
        # A point before the start may be stamped after it.
        grid = _grid(step_ms, max(start_ms - step_ms, FIRST_MS + DAY_MS), min(end_ms, now_ms))
        stamps = grid + self._jitter(coin, grid, step_ms)
        keep = (stamps > start_ms) & (stamps <= min(end_ms, now_ms))
        if step_ms == DAY_MS and self.quirks.late_midnight:
            keep &= stamps + late_ms <= now_ms
        if step_ms < DAY_MS:
            keep &= ~self._hit(coin, "missing", grid // step_ms, self.quirks.missing_every)
        grid, stamps = self._with_duplicates(coin, grid[keep], stamps[keep], step_ms, now_ms)
        if end_ms >= now_ms - ENDS_NOW_MS and (not len(stamps) or stamps[-1] < now_ms):
            grid, stamps = np.append(grid, now_ms), np.append(stamps, now_ms)
        return self._arrays(coin, vs, grid, stamps, step_ms, now_ms)

    def cap(self, coin: Coin, price: FloatArray, at_ms: Int64Array) -> FloatArray:
        """Market caps (n,); the supply grows by 1 % a year."""
        grown = 1 + 0.01 * (at_ms - FIRST_MS) / (365 * DAY_MS)
        return price * coin.supply * coin.capped * grown / 1.17

    def _arrays(
        self, coin: Coin, vs: str, grid: Int64Array, stamps: Int64Array, step_ms: int, now_ms: int
    ) -> dict[str, list[list[float | None]]]:
        price = self.value(coin, grid, now_ms, vs)
        alive = ~np.isnan(price)
        grid, stamps, price = grid[alive], stamps[alive], price[alive]
        index = grid // step_ms
        hit: Callable[[str, int], BoolArray] = lambda name, every: self._hit(coin, name, index, every)  # noqa: E731
        cap = np.where(hit("zero cap", self.quirks.zero_every), 0.0, self.cap(coin, price, grid))
        volume = np.where(
            hit("zero volume", self.quirks.zero_every), 0.0, self.market.volume(coin, np.minimum(grid, now_ms), vs)
        )
        if self.quirks.other_unit_days:
            volume = np.where(grid < now_ms - self.quirks.other_unit_days * DAY_MS, volume / 1000, volume)
        cap = np.where(hit("null cap", self.quirks.null_every), np.nan, cap)
        price = np.where(hit("null price", self.quirks.null_price_every), np.nan, price)
        with_volume = ~hit("unequal", self.quirks.unequal_every)
        first_cap = 1 if self.quirks.unequal_every else 0
        return {
            "prices": _points(stamps, price),
            "market_caps": _points(stamps[first_cap:], cap[first_cap:]),
            "total_volumes": _points(stamps[with_volume], volume[with_volume]),
        }

    def _jitter(self, coin: Coin, grid: Int64Array, step_ms: int) -> Int64Array:
        if step_ms == DAY_MS or not self.quirks.jitter_s:
            return np.zeros(len(grid), dtype=np.int64)
        widest = min(self.quirks.jitter_s * 1000, 0.4 * step_ms)
        share = 1.02 * self.market.noise(coin, "jitter", grid // FIVE_MS) - 0.02
        return np.asarray(share * widest).astype(np.int64)

    def _with_duplicates(
        self, coin: Coin, grid: Int64Array, stamps: Int64Array, step_ms: int, now_ms: int
    ) -> tuple[Int64Array, Int64Array]:
        if step_ms == DAY_MS or not self.quirks.duplicate_every:
            return grid, stamps
        again = self._hit(coin, "duplicate", grid // step_ms, self.quirks.duplicate_every)
        seconds = (5_000 + 20_000 * self.market.noise(coin, "again", grid)).astype(np.int64)
        twice = np.concatenate([stamps, (stamps + seconds)[again]])
        grid = np.concatenate([grid, grid[again]])
        order = np.argsort(twice, kind="stable")
        order = order[twice[order] <= now_ms]
        return grid[order], twice[order]

    def _hit(self, coin: Coin, name: str, index: Int64Array, every: int) -> BoolArray:
        if not every:
            return np.zeros(len(index), dtype=bool)
        begin = int(self.market.noise(coin, name, np.zeros(1, dtype=np.int64))[0] * every)
        return np.asarray(index % every == begin)


def _grid(step_ms: int, start_ms: int, end_ms: int) -> Int64Array:
    """Multiples of the step after the start, up to the end."""
    return np.arange(start_ms // step_ms + 1, end_ms // step_ms + 1, dtype=np.int64) * step_ms


def _points(stamps: Int64Array, values: FloatArray) -> list[list[float | None]]:
    numbers: list[Any] = [None if value != value else value for value in values.tolist()]  # NaN is no JSON
    return [[at, value] for at, value in zip(stamps.tolist(), numbers, strict=True)]
