"""From the feature table to arrays: the rows that a model learns from or forecasts for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptocast.data.schema import BAR_US
from cryptocast.features.targets import future_return, future_variance, future_variance_freedom, variance_proxy
from cryptocast.folds import BoolArray, Int64Array

__all__ = ["FloatArray", "Matrix", "Panel", "VolatilityRule", "build_matrix", "volatility_expr", "volatility_rule"]

FloatArray: TypeAlias = npt.NDArray[np.float64]

# A volatility is stated from this many returns on.
VOLATILITY_WARMUP = 20
# Bars ahead at which the recent variance no longer counts.
LONG_RUN = 1_000_000


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
    start (C + 1,): the rows of coin c are start[c] to start[c + 1].
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
    features (n, F)          float64, NaN where undefined; names in feature_names
    horizons (H,)            in bars
    returns (n, H)           log return over the horizon, NaN where not (yet) known
    variance (n, H)          mean one-bar variance realised over the horizon, NaN where not known
    freedom (n, H)           degrees of freedom of that variance
    label_end (n, H)         microseconds: when the return is known
    bar_us                   microseconds in a bar
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

    def rows(self, keep: BoolArray | Int64Array) -> "Matrix":
        """The rows of a mask or of positions, in that order."""
        return replace(
            self,
            position=self.position[keep],
            coin=self.coin[keep],
            issued_at=self.issued_at[keep],
            price=self.price[keep],
            volatility=self.volatility[keep],
            features=self.features[keep],
            returns=self.returns[keep],
            variance=self.variance[keep],
            freedom=self.freedom[keep],
            label_end=self.label_end[keep],
        )

    def known_at(self, moment: int) -> "Matrix":
        """The rows issued until a moment (microseconds), with every label that ends later hidden as NaN.

        This is the purge of a final or prequential fit: each horizon keeps every label that was really known.
        """
        rows = self.rows(self.issued_at <= moment)
        hidden = rows.label_end > moment
        return replace(
            rows,
            returns=np.where(hidden, np.nan, rows.returns),
            variance=np.where(hidden, np.nan, rows.variance),
            freedom=np.where(hidden, np.nan, rows.freedom),
        )


def volatility_expr(horizon: int, rule: VolatilityRule) -> pl.Expr:
    """Volatility of the log return over `horizon` bars, known at the close; null for the first 20 returns.

    Root of horizon times the weighted mean of a recent (exponential) and a long (rolling) mean of squared returns.
    Missing bars are skipped. Squared returns, not ranges: a bad wick must not widen every forecast that follows it.
    """
    squared = (pl.col("close") / pl.col("close").shift(1)).log() ** 2
    # Polars leaves the average null where the input is: the first bar behind a gap has a price and no return, and takes
    # the average as it stood.
    recent = squared.ewm_mean(half_life=rule.half_life, adjust=True, ignore_nulls=True).forward_fill()
    long = squared.rolling_mean(rule.window, min_samples=VOLATILITY_WARMUP)
    weight = rule.weight(horizon)
    variance = horizon * (weight * recent + (1 - weight) * long)
    return pl.when(variance > 0).then(variance.sqrt())


def build_matrix(table: pl.DataFrame, feature_names: Sequence[str], *, horizons: Sequence[int], bar_us: int) -> Matrix:
    """Rows of a feature table (one coin's complete time grid after another) as arrays.

    table: the candle columns and the named features, sorted by (coin, close_time), grid complete. Rows without a price
    or before a volatility is known are left out; undefined features become NaN. Raises ValueError on unsorted input.
    """
    if list(horizons) != sorted(set(horizons)) or (len(horizons) and horizons[0] < 1):
        raise ValueError(f"horizons must be increasing and at least 1 bar, got {list(horizons)}")
    labelled = table.with_columns(_label_columns(horizons, volatility_rule(bar_us)))
    panel = _panel(labelled, volatility_rule(bar_us))
    stamps = panel.close_time
    same = np.diff(panel.coin) == 0
    if (np.diff(stamps)[same] != bar_us).any():
        raise ValueError("the table is not on its complete time grid, sorted by coin and close_time")
    usable = pl.all_horizontal(pl.col("close", *(f"__volatility_{h}" for h in horizons)).is_not_null())
    keep = labelled.select(usable)["close"].to_numpy()
    position = np.flatnonzero(keep).astype(np.int64)
    issued = stamps[position]
    steps = np.asarray(horizons, dtype=np.int64)
    part = labelled.filter(pl.Series(keep))
    return Matrix(
        panel=panel,
        position=position,
        coin=panel.coin[position],
        issued_at=issued,
        price=_floats(part, ["close"])[:, 0],
        volatility=_floats(part, [f"__volatility_{h}" for h in horizons]),
        features=_floats(part, list(feature_names)),
        feature_names=tuple(feature_names),
        horizons=steps,
        returns=_floats(part, [f"__return_{h}" for h in horizons]),
        variance=_floats(part, [f"__variance_{h}" for h in horizons]),
        freedom=_floats(part, [f"__freedom_{h}" for h in horizons]),
        label_end=issued[:, None] + steps[None, :] * bar_us,
        bar_us=bar_us,
    )


def _label_columns(horizons: Sequence[int], rule: VolatilityRule) -> list[pl.Expr]:
    columns = []
    for horizon in horizons:
        columns += [
            volatility_expr(horizon, rule).over("coin").alias(f"__volatility_{horizon}"),
            future_return(horizon).over("coin").alias(f"__return_{horizon}"),
            future_variance(horizon).over("coin").alias(f"__variance_{horizon}"),
            future_variance_freedom(horizon).over("coin").alias(f"__freedom_{horizon}"),
        ]
    return columns


def _panel(table: pl.DataFrame, rule: VolatilityRule) -> Panel:
    coins = table["coin"].unique(maintain_order=True).to_list()
    per_bar = [(volatility_expr(h, rule) / math.sqrt(h)).over("coin").alias(f"volatility_{h}") for h in (1, LONG_RUN)]
    counts = [int(n) for n in table.group_by("coin", maintain_order=True).len()["len"]]
    return Panel(
        coins=tuple(coins),
        coin=np.repeat(np.arange(len(coins), dtype=np.int32), counts),
        close_time=table["close_time"].to_physical().to_numpy().astype(np.int64),
        log_close=_floats(table.select(pl.col("close").log()), ["close"])[:, 0],
        variance=_floats(table.select(variance_proxy().over("coin").alias("variance")), ["variance"])[:, 0],
        volatility=_floats(table.select(per_bar), ["volatility_1", f"volatility_{LONG_RUN}"]),
        start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )


def _floats(table: pl.DataFrame, names: list[str]) -> FloatArray:
    if not names:
        return np.empty((table.height, 0))
    array = table.select(pl.col(names).cast(pl.Float64).fill_null(float("nan"))).to_numpy(order="c")
    return np.asarray(array, dtype=np.float64).reshape(table.height, len(names))
