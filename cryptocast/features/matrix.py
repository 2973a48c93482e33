"""From the feature table to arrays: the rows that a model learns from or forecasts for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptocast.arrays import BoolArray, FloatArray, Int64Array
from cryptocast.data.schema import BAR_US
from cryptocast.features import averages
from cryptocast.features.grid import microseconds, starts
from cryptocast.features.targets import future_mean, future_return, one_bar_freedom, one_bar_variance
from cryptocast.features.variances import mean_variance, squared_returns

LABELS = ("returns", "variance", "freedom")
# A volatility is stated from this many returns on.
VOLATILITY_WARMUP = 20
# How much wider few bars make a forecast: by one and a half times the share of the bars ahead in all, those ahead and
# those that the long mean rests on. Without it the 80 % interval of 30 days held 71 % of coins of 61 to 120 days.
UNSURE = 1.5
# Bars ahead at which the recent variance no longer counts.
LONG_RUN = 1_000_000
# So many columns of the features are copied, or compared, at a time: eight numbers of a row are a line of the cache.
COLUMNS_AT_ONCE = 8
STATED = ("price", "volatility", "steady")  # by a row of its coin's own series
BY_ROW = ("position", "coin", "issued_at", *STATED, "features", *LABELS, "label_end", "paid", "doubtful")


@dataclass(frozen=True, slots=True)
class VolatilityRule:
    """How the volatility known at issue follows from past returns; bars.

    half_life and window: of the recent (exponential) and the long (rolling) mean of squared returns; recent: the weight
    of the first at one bar ahead; persistence: how that weight decays over the bars ahead.
    """

    half_life: float
    window: int
    recent: float
    persistence: float

    def weight(self, horizon: int) -> float:
        """Weight of the recent variance in the mean variance over the next `horizon` bars.

        recent * (1 - persistence^h) / (h (1 - persistence)): the mean-reverting forecast of a GARCH(1, 1), averaged
        over the horizon. Source: Bollerslev, Journal of Econometrics 31 (1986); Tsay, Analysis of Financial Time
        Series, 3.5.
        """
        return self.recent * (1 - self.persistence**horizon) / (horizon * (1 - self.persistence))


def volatility_rule(bar_us: int) -> VolatilityRule:
    """The rule for daily or hourly bars. Hourly bars forget faster by the clock and have more of them to average."""
    if bar_us >= BAR_US["daily"]:
        return VolatilityRule(half_life=14.0, window=365, recent=0.8, persistence=0.96)
    return VolatilityRule(half_life=24.0, window=24 * 30, recent=0.8, persistence=0.99)


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """The bars behind the rows, on each coin's complete time grid: what a look-back window may be cut from.

    coin (N,) index into `coins`; close_time (N,) microseconds; log_close (N,) NaN where the bar is missing;
    variance (N,) of the bar alone, from its range where that is known, NaN where nothing is known of it;
    volatility (N, 2) of one bar, known at the close, over the next bar and in the long run, NaN where not stated;
    start (S + 1,): the rows of coin c are start[c] to start[c + 1]. Behind the coins' own series may come further ones,
    as they were known at a moment: see `features.as_known`.
    """

    coins: tuple[str, ...]
    coin: npt.NDArray[np.int32]
    close_time: Int64Array
    log_close: FloatArray
    variance: FloatArray
    volatility: FloatArray
    start: Int64Array


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """n rows, one for each (coin, close time) with a known price and volatility.

    position (n,)            row of the panel
    coin (n,)                index into panel.coins
    issued_at (n,)           close time, microseconds UTC: all that the row knows was known then
    price (n,)               close
    volatility (n, H)        of the log return over the horizon, known at issue
    steady (n, H)            the same, moved half of the way to the mean of twenty variances, and wider where few bars
                             are known: what the baseline is stated in; None: rows that an earlier release saved
    features (n, F)          float64, NaN where undefined; names in feature_names
    horizons (H,)            in bars
    returns (n, H)           log return over the horizon, NaN where not (yet) known
    variance (n, H)          mean one-bar variance realised over the horizon, NaN where not known
    freedom (n, H)           degrees of freedom of that variance
    label_end (n, H)         microseconds: when the return is known
    bar_us                   microseconds in a bar
    paid (n, H)              log return of the prices as they came, which scores; None: as `returns`
    doubtful (n,)            whether something was wrong at issue that was only known later: the row is as it was known
                             then, is forecast and scored, and teaches nothing; None: no row is
    """

    panel: Panel
    position: Int64Array
    coin: npt.NDArray[np.int32]
    issued_at: Int64Array
    price: FloatArray
    volatility: FloatArray
    features: FloatArray
    feature_names: tuple[str, ...]
    horizons: Int64Array
    returns: FloatArray
    variance: FloatArray
    freedom: FloatArray
    label_end: Int64Array
    bar_us: int
    steady: FloatArray | None = None
    paid: FloatArray | None = None
    doubtful: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.issued_at)

    @property
    def spans(self) -> Int64Array:
        """(n, 2): from issue to the end of the longest label, so that all horizons share their origins."""
        return np.column_stack([self.issued_at, self.label_end[:, -1]])

    @property
    def coin_names(self) -> npt.NDArray[np.str_]:
        """(n,) CoinGecko ids."""
        return np.asarray(self.panel.coins, dtype=np.str_)[self.coin]

    @property
    def outcomes(self) -> FloatArray:
        """(n, H) log returns that came of forecasts, by the prices as they came; NaN where not known."""
        return self.returns if self.paid is None else self.paid

    @property
    def begin(self) -> Int64Array:
        """(n,) row of the panel at which the series of each row begins."""
        start = self.panel.start
        return start[np.searchsorted(start, self.position, side="right") - 1]

    def rows(self, keep: BoolArray | Int64Array) -> "Matrix":
        """The rows of a mask or of positions, in that order."""
        columns: dict[str, Any] = {name: value[keep] for name in BY_ROW if (value := getattr(self, name)) is not None}
        return replace(self, **columns)

    def lessons(self) -> "Matrix":
        """The rows that may be learned from."""
        return self if self.doubtful is None else self.rows(~self.doubtful)

    def bare(self) -> "Matrix":
        """The rows without their features: for whatever looks at prices and labels alone, a copy costs a tenth."""
        return replace(self, features=np.empty((len(self), 0)), feature_names=())

    def teaches_at(self, moment: int) -> BoolArray:
        """(n,) whether a row is a lesson that was issued by a moment (microseconds)."""
        issued = self.issued_at <= moment
        return issued if self.doubtful is None else issued & ~self.doubtful

    def known_at(self, moment: int) -> "Matrix":
        """The lessons issued until a moment (microseconds), with every label that ends later hidden as NaN.

        This is the purge of a final or prequential fit: each horizon keeps every label that was really known.
        """
        return self.rows(self.teaches_at(moment)).hiding_after(moment)

    def hiding_after(self, moment: int) -> "Matrix":
        """The same rows, with every label that ends after a moment (microseconds) hidden as NaN."""
        hidden = self.label_end > moment
        labels: dict[str, Any] = {name: np.where(hidden, np.nan, getattr(self, name)) for name in LABELS}
        return replace(self, **labels)


def known_volatility(close: FloatArray, horizons: Sequence[int], rule: VolatilityRule) -> FloatArray:
    """Volatility (bars, H) of the log return over each horizon, known at the close; NaN for the first 20 returns.

    close (bars,): of one coin on its complete grid, NaN where the bar is missing. Root of horizon times the weighted
    mean of a recent (exponential) and a long (rolling) mean of squared returns. Missing bars are skipped: the first bar
    behind a gap has a price and no return, and takes the averages as they stood. Squared returns, not ranges: a bad
    wick must not widen every forecast that follows it.
    """
    return _ahead(*_mean_squares(close, rule), horizons, rule).T


def _mean_squares(close: FloatArray, rule: VolatilityRule) -> tuple[FloatArray, FloatArray]:
    """(bars,) each: the recent and the long mean of squared returns."""
    squared = np.log(close / averages.shift(close, 1)) ** 2
    places = np.flatnonzero(~np.isnan(squared))
    decayed = pl.Series(squared[places]).ewm_mean(half_life=rule.half_life).to_numpy()
    recent = np.full_like(squared, np.nan)
    if 0 < len(places) == len(squared) - 1 and places[0] == 1:  # no gaps
        recent[1:] = decayed
    elif len(places):
        recent[places[0] :] = np.repeat(decayed, np.diff(places, append=len(squared)))
    return recent, averages.window_mean(squared, rule.window, VOLATILITY_WARMUP)


def _ahead(recent: FloatArray, long: FloatArray, horizons: Sequence[int], rule: VolatilityRule) -> FloatArray:
    """(H, bars): one horizon after the other, which NumPy steps through several times faster than bar by bar."""
    variance = np.empty((len(horizons), len(recent)))
    for row, horizon in zip(variance, horizons, strict=True):
        weight = rule.weight(horizon)
        np.multiply(recent, horizon * weight, out=row)
        row += (horizon * (1.0 - weight)) * long
    variance[~(variance > 0.0)] = np.nan
    return np.sqrt(variance, out=variance)


def build_matrix(
    table: pl.DataFrame,
    feature_names: Sequence[str],
    *,
    horizons: Sequence[int],
    bar_us: int,
    with_variance: bool = True,
    newest: int | None = None,
) -> Matrix:
    """Rows of a feature table (one coin's complete time grid after another) as arrays.

    table: the candle columns and the named features, sorted by (coin, close_time), grid complete. Rows without a price
    or before a volatility is known are left out; undefined features become NaN. with_variance: False leaves the labels
    `variance` and `freedom` NaN, for what learns from returns alone; newest: only so many rows of each coin. Raises
    ValueError on unsorted input.
    """
    if list(horizons) != sorted(set(horizons)) or (len(horizons) and horizons[0] < 1):
        raise ValueError(f"horizons must be increasing and at least 1 bar, got {list(horizons)}")
    rule = volatility_rule(bar_us)
    close = table["close"].to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):  # prices that are no prices come as they are
        panel, (recent, long), freedom = _panel(table, close, rule)
        if len(close) and not _is_complete(panel, bar_us):
            raise ValueError("the table is not on its complete time grid, sorted by coin and close_time")
        volatility = _ahead(recent, long, horizons, rule)
        returns = _by_horizon(panel.start, future_return, close, horizons)
    position = _newest(np.flatnonzero(~np.isnan(close) & np.isfinite(volatility).all(axis=0)), panel.start, newest)
    issued, steps = panel.close_time[position], np.asarray(horizons, dtype=np.int64)
    unknown, stated = np.full((len(position), len(steps)), np.nan), _picked(volatility, position)

    def mean_ahead(values: FloatArray) -> FloatArray:
        return _picked(_by_horizon(panel.start, future_mean, values, horizons), position)

    return Matrix(
        panel=panel,
        position=position,
        coin=panel.coin[position],
        issued_at=issued,
        price=close[position],
        volatility=stated,
        steady=_steady(stated, panel, position, steps, rule.window, few=newest is not None),
        features=_features(table, list(feature_names), position),
        feature_names=tuple(feature_names),
        horizons=steps,
        returns=_picked(returns, position),
        variance=mean_ahead(panel.variance) if with_variance else unknown,
        freedom=mean_ahead(freedom) * steps if with_variance else unknown,
        label_end=issued[:, None] + steps[None, :] * bar_us,
        bar_us=bar_us,
    )


def _newest(position: npt.NDArray[np.intp], start: Int64Array, newest: int | None) -> Int64Array:
    """The last so many of each coin's rows; None: all."""
    if newest is not None:
        ends = np.searchsorted(position, start)
        position = np.concatenate([position[low:high][-newest:] for low, high in pairwise(ends.tolist())] or [position])
    return position.astype(np.int64)


def _steady(
    volatility: FloatArray, panel: Panel, position: Int64Array, horizons: Int64Array, window: int, *, few: bool
) -> FloatArray:
    """(n, H): the root of the volatility known at issue times that of the mean of twenty variances, wider where few
    returns are known."""
    mean, count = np.empty((2, len(position), 1))
    for low, high in pairwise(panel.start.tolist()):
        own = slice(*np.searchsorted(position, (low, high)).tolist())
        log_close, places = panel.log_close[low:high], position[own] - low
        mean[own, 0] = mean_variance(log_close, panel.variance[low:high], places, few=few)
        count[own, 0] = averages.window_count(squared_returns(log_close), window)[places]
    wider = 1.0 + UNSURE * horizons / (count + horizons)
    return np.asarray(np.sqrt(volatility * np.sqrt(horizons * mean) * wider))


def _by_horizon(
    start: Int64Array, make: Callable[[FloatArray, int], FloatArray], values: FloatArray, horizons: Sequence[int]
) -> FloatArray:
    """(H, N): what is made of each coin's values for each horizon, one coin behind the other."""
    table = np.empty((len(horizons), len(values)))
    for row, horizon in zip(table, horizons, strict=True):
        for low, high in pairwise(start.tolist()):
            row[low:high] = make(values[low:high], horizon)
    return table


def _picked(by_horizon: FloatArray, position: Int64Array) -> FloatArray:
    """(n, H): these bars of (H, N)."""
    return np.ascontiguousarray(by_horizon[:, position].T)


def _is_complete(panel: Panel, bar_us: int) -> bool:
    steps = np.diff(panel.close_time)
    steps[panel.start[1:-1] - 1] = bar_us  # from one coin to the next
    return bool((steps == bar_us).all()) and len(set(panel.coins)) == len(panel.coins)


def _panel(
    table: pl.DataFrame, close: FloatArray, rule: VolatilityRule
) -> tuple[Panel, tuple[FloatArray, FloatArray], FloatArray]:
    """The panel, (N,) each the means behind its volatility, and (N,) the degrees of freedom of its variance."""
    start = starts(table["coin"]) if table.height else np.zeros(1, dtype=np.int64)
    coins = tuple(table["coin"][first] for first in start[:-1].tolist())
    recent, long = np.full((2, len(close)), np.nan)
    for low, high in pairwise(start.tolist()):
        recent[low:high], long[low:high] = _mean_squares(close[low:high], rule)
    ends = (1, LONG_RUN)
    volatility = np.ascontiguousarray((_ahead(recent, long, ends, rule) / np.sqrt(ends)[:, None]).T)
    variance, freedom = _variance(table, close, start)
    panel = Panel(
        coins=coins,
        coin=np.repeat(np.arange(len(coins), dtype=np.int32), np.diff(start)),
        close_time=microseconds(table["close_time"]),
        log_close=np.log(close),
        variance=variance,
        volatility=volatility,
        start=start,
    )
    return panel, (recent, long), freedom


def _variance(table: pl.DataFrame, close: FloatArray, start: Int64Array) -> tuple[FloatArray, FloatArray]:
    """(N,) each: the variance of every bar, and its degrees of freedom."""
    opened, high, low = (table[name].to_numpy() for name in ("open", "high", "low"))
    ranged = table["range_known"]
    has_range = (ranged.fill_null(value=False) if ranged.null_count() else ranged).to_numpy()
    variance = np.empty(len(close))
    for rows in (slice(first, last) for first, last in pairwise(start.tolist())):
        variance[rows] = one_bar_variance(opened[rows], high[rows], low[rows], close[rows], has_range[rows])
    return variance, one_bar_freedom(variance, has_range)


def _features(table: pl.DataFrame, names: list[str], position: Int64Array) -> FloatArray:
    """(n, F) of these rows, NaN where undefined; some columns at a time, so that no second copy of all of them is made.

    Column by column out of Polars: what its threads allocate for a selection is not given back for seconds.
    """
    features = np.empty((len(position), len(names)))
    for begin in range(0, len(names), COLUMNS_AT_ONCE):
        some = [table[name].cast(pl.Float64).to_numpy()[position] for name in names[begin : begin + COLUMNS_AT_ONCE]]
        features[:, begin : begin + len(some)] = np.stack(some, axis=1)
    return features
