"""A gallery of planted leaks: each is found by the audit that every user gets, and random walks are left in peace.

Each leak is something that has been seen in the wild: in indicator libraries (pandas-ta's `dpo` and `ichimoku`, the
back-filling of `ta`), in notebooks (scalers and encoders fitted on everything), in backtests.
"""

# ruff: noqa: SIM300 - columns are no constants

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from cryptocast.data.schema import BAR_US
from cryptocast.features.audit import AuditReport, audit
from cryptocast.features.builder import add_features, select_features
from cryptocast.features.catalogue import FEATURES, Feature, Scope
from cryptocast.features.matrix import Matrix, build_matrix

MakeBars = Callable[..., pl.DataFrame]
DAY = BAR_US["daily"]

CLOSE, HIGH, LOW, VOLUME = pl.col("close"), pl.col("high"), pl.col("low"), pl.col("volume")
BAR = pl.int_range(pl.len())
RETURNS = (CLOSE / CLOSE.shift(1)).log()
NEXT_RETURN = (CLOSE.shift(-1) / CLOSE).log()
WEEK_END = pl.min_horizontal((BAR // 7 + 1) * 7 - 1, pl.len() - 1)  # last bar of the bar's week


def by_fourier(series: pl.Series) -> pl.Series:
    """The log price without its quick swings, as a notebook smooths it: over the whole series at once."""
    log = np.log(series.fill_null(strategy="forward").to_numpy())
    spectrum = np.fft.rfft(log)
    spectrum[len(spectrum) // 10 :] = 0.0
    return pl.Series(log - np.fft.irfft(spectrum, len(log)))


def by_principal_component(series: pl.Series) -> pl.Series:
    """Five returns on the first axis of all of them."""
    returns = np.diff(np.log(series.to_numpy()), prepend=np.nan)
    lagged = np.column_stack([np.roll(returns, lag) for lag in range(5)])
    known = np.isfinite(lagged).all(axis=1) & (np.arange(len(returns)) >= 5)
    if known.sum() < 5:
        return pl.Series([None] * len(returns), dtype=pl.Float64)
    axis = np.linalg.svd(lagged[known] - lagged[known].mean(axis=0), full_matrices=False)[2][0]
    return pl.Series(np.where(known, lagged @ axis, np.nan)).fill_nan(None)


FORMULAS: dict[str, pl.Expr] = {
    "tomorrow's close, by shift(-1)": NEXT_RETURN,
    "tomorrow's high": (HIGH.shift(-1) / CLOSE).log(),
    "the volume of the bar that follows": (VOLUME.shift(-1) / VOLUME).log(),
    "centred window": (CLOSE / CLOSE.rolling_mean(5, center=True)).log(),
    "centred by shifting back": (CLOSE / CLOSE.rolling_mean(20).shift(-10)).log(),
    "detrended price oscillator (centred)": (CLOSE.shift(11) / CLOSE.rolling_mean(20)).log().shift(-11),
    "ichimoku chikou span": (CLOSE.shift(-26) / CLOSE).log(),
    "swing highs confirmed by the bar that follows": ((HIGH > HIGH.shift(1)) & (HIGH > HIGH.shift(-1))).cast(
        pl.Float64
    ),
    "back-filled gaps": pl.when(BAR % 5 == 0).then(RETURNS).backward_fill(),
    "back-filled warm-up": RETURNS.rolling_mean(20).backward_fill(),
    "warm-up filled with the series' mean": RETURNS.rolling_mean(20).fill_null(RETURNS.mean()),
    "interpolated gaps": pl.when(BAR % 5 == 0).then(CLOSE.log()).interpolate() - CLOSE.log(),
    "z-score of the whole series": (CLOSE.log() - CLOSE.log().mean()) / CLOSE.log().std(),
    "min-max scaling by the whole series": (CLOSE - CLOSE.min()) / (CLOSE.max() - CLOSE.min()),
    "robust scaling by the whole series": RETURNS / (RETURNS - RETURNS.median()).abs().median(),
    "clipped at quantiles of the whole series": RETURNS.clip(RETURNS.quantile(0.05), RETURNS.quantile(0.95)),
    "rank in the whole series": CLOSE.rank() / pl.len(),
    "bins of equal size over the whole series": (RETURNS > RETURNS.quantile(0.5)).cast(pl.Float64),
    "share of the final price": (CLOSE / CLOSE.last()).log(),
    "drawdown from the highest price of all": (CLOSE / CLOSE.max()).log(),
    "weekly close, labelled at the start of its week": (CLOSE.gather(WEEK_END) / CLOSE).log(),
    "weekly high, known on its Monday": (HIGH.rolling_max(7).gather(WEEK_END) / CLOSE).log(),
    "target encoding of the weekday": pl.coalesce(
        [pl.when(BAR % 7 == day).then(NEXT_RETURN.filter(BAR % 7 == day).mean()) for day in range(7)]
    ),
    "target encoding by leaving the bar out": (NEXT_RETURN.sum() - NEXT_RETURN) / (pl.len() - 1),
    "smoothed from the right": CLOSE.log().reverse().ewm_mean(alpha=0.3, adjust=False).reverse() - CLOSE.log(),
    "smoothed forwards and backwards": (
        CLOSE.log().ewm_mean(alpha=0.3, adjust=False).reverse().ewm_mean(alpha=0.3, adjust=False).reverse()
    ),
    "smoothed in the frequency domain": CLOSE.map_batches(by_fourier, return_dtype=pl.Float64),
    "principal component of the whole series": CLOSE.map_batches(by_principal_component, return_dtype=pl.Float64),
    "cumulative share of all volume": VOLUME.cum_sum() / VOLUME.sum(),
    "bars until the end": pl.len() - BAR + RETURNS * 0.0,
    "one ULP of tomorrow": pl.when(CLOSE.shift(-1) > CLOSE).then(RETURNS * (1.0 + 2.3e-16)).otherwise(RETURNS),
    "a digit of tomorrow": RETURNS + CLOSE.shift(-1) / CLOSE * 1e-15,
    "only the last bar leaks": pl.when(BAR == pl.len() - 2).then(NEXT_RETURN).otherwise(RETURNS),
}


def planted(expr: pl.Expr, *, warmup: int = 0, memory: int = 30, scope: Scope = "coin") -> Feature:
    return Feature("suspect", "price", expr, warmup, memory, "planted", "log", scope=scope)


def audited(candles: pl.DataFrame, suspect: Feature) -> AuditReport:
    clean = select_features(["ret_7", "rsi_14"])
    return audit(candles, [*clean, suspect], bar_us=DAY, cuts=4, seed=3, horizons=(1, 7))


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_that_knows_the_future_is_found(name: str, make_bars: MakeBars) -> None:
    report = audited(make_bars(160, coins=["bitcoin", "lite"]), planted(FORMULAS[name]))
    assert report.leaks == ("suspect",)
    assert not report.passed


def shifted_neighbours(frame: pl.LazyFrame, features: Sequence[Feature]) -> pl.LazyFrame:
    """Where the coin stands among tomorrow's closes of the others."""
    table = add_features(frame, features, bar_us=DAY)
    tomorrow = pl.col("close").shift(-1).over("coin")
    return table.with_columns(next=tomorrow).with_columns(suspect=pl.col("next").rank().over("close_time"))


def joined_a_bar_early(frame: pl.LazyFrame, features: Sequence[Feature]) -> pl.LazyFrame:
    """Bitcoin's return joined by the open of the bar, as a frame stamped by its open does."""
    table = add_features(frame, features, bar_us=DAY)
    bitcoin = table.filter(pl.col("coin") == "bitcoin").select(
        pl.col("close_time").dt.offset_by("-1d"), early=pl.col("close").log().diff()
    )
    return table.join(bitcoin, on="close_time", how="left", maintain_order="left").with_columns(suspect=pl.col("early"))


def joined_to_the_nearest(frame: pl.LazyFrame, features: Sequence[Feature]) -> pl.LazyFrame:
    """The week's close by an as-of join that may look forwards."""
    table = add_features(frame, features, bar_us=DAY).sort("close_time")
    weekly = table.filter(pl.col("close_time").dt.weekday() == 7).select("coin", "close_time", week=pl.col("close"))
    near = table.join_asof(weekly, on="close_time", by="coin", strategy="nearest", check_sortedness=False)
    return near.with_columns(suspect=pl.col("week") / pl.col("close")).sort("coin", "close_time")


def scaled_by_all_coins(frame: pl.LazyFrame, features: Sequence[Feature]) -> pl.LazyFrame:
    """Volume in units of the mean of all coins and all times."""
    table = add_features(frame, features, bar_us=DAY)
    return table.with_columns(suspect=pl.col("volume") / pl.col("volume").mean())


BUILDERS = {
    "rank among tomorrow's coins": shifted_neighbours,
    "the market, joined a bar early": joined_a_bar_early,
    "as-of join to the nearest week": joined_to_the_nearest,
    "scaled by all coins and times": scaled_by_all_coins,
}


@pytest.mark.parametrize("name", BUILDERS)
def test_a_builder_that_knows_the_future_is_found(name: str, make_bars: MakeBars) -> None:
    honest = planted(pl.lit(0.0))
    report = audit(make_bars(120), [honest], bar_us=DAY, cuts=3, seed=1, build=BUILDERS[name])
    assert report.leaks == ("suspect",)


def labels_of(candles: pl.DataFrame) -> Matrix:
    table = add_features(candles.lazy(), (), bar_us=DAY).collect()
    return build_matrix(table, (), horizons=(1, 7), bar_us=DAY)


def same_bar_target(candles: pl.DataFrame) -> Matrix:
    """The label is the bar's own return: what a forecast "predicts" has happened already."""
    honest = labels_of(candles)
    own = np.diff(np.log(honest.price), prepend=np.nan)
    return replace(honest, returns=np.column_stack([own, own]))


def overlapping_target(candles: pl.DataFrame) -> Matrix:
    """The label looks a bar further than its interval says, so that a purge by the interval leaves one bar inside."""
    honest = labels_of(candles)
    longer = np.concatenate([honest.returns[1:], np.full((1, 2), np.nan)])
    return replace(honest, returns=honest.returns + 0.1 * longer)


def back_filled_target(candles: pl.DataFrame) -> Matrix:
    """The last labels, not known yet, are filled with the last that was."""
    honest = labels_of(candles)
    filled = pl.DataFrame(honest.returns).fill_nan(None).select(pl.all().forward_fill()).to_numpy()
    return replace(honest, returns=filled)


@pytest.mark.parametrize("labels", [same_bar_target, overlapping_target, back_filled_target])
def test_a_label_that_is_known_too_early_or_reaches_too_far_is_found(
    labels: Callable[[pl.DataFrame], Matrix], make_bars: MakeBars
) -> None:
    candles, clean = make_bars(120, coins=["bitcoin"]), select_features(["ret_7"])
    report = audit(candles, clean, bar_us=DAY, cuts=3, seed=1, horizons=(1, 7), labels=labels)
    assert {name.split()[0] for name in report.leaks} == {"return"}
    honest = audit(candles, clean, bar_us=DAY, cuts=3, seed=1, horizons=(1, 7), labels=labels_of)
    assert honest.passed


def walks(coins: int, bars: int, seed: int) -> pl.DataFrame:
    """Driftless random walks, one a coin, bitcoin among them: there is nothing to be known about their future."""
    names = ["bitcoin", *(f"walk-{number:03d}" for number in range(1, coins))]
    rng = np.random.default_rng(seed)
    stamps = np.datetime64("2020-01-01T00:00:00", "us") + np.arange(bars) * np.timedelta64(DAY, "us")
    frames = []
    for name in names:
        close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, rng.uniform(0.005, 0.08), bars)))
        wick = np.abs(rng.normal(0.0, 0.02, (2, bars)))
        before = np.concatenate([[100.0], close[:-1]])
        columns = {
            "close_time": stamps,
            "open": before,
            "high": np.maximum(before, close) * (1 + wick[0]),
            "low": np.minimum(before, close) / (1 + wick[1]),
            "close": close,
            "volume": np.exp(rng.normal(12, 1, bars)),
            "market_cap": close * 1e6,
        }
        frames.append(pl.DataFrame(columns).with_columns(coin=pl.lit(name), range_known=pl.lit(value=True)))
    return pl.concat(frames).with_columns(pl.col("close_time").dt.replace_time_zone("UTC"))


def assert_clean(coins: int, bars: int, seed: int) -> None:
    report = audit(walks(coins, bars, seed), FEATURES, bar_us=DAY, cuts=3, seed=seed, horizons=(1, 7, 30))
    assert report.passed, [check.findings for check in report.checks if check.found]


def test_clean_random_walks_raise_no_alarm() -> None:
    assert_clean(coins=25, bars=150, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_five_hundred_clean_random_walks_raise_no_alarm(seed: int) -> None:
    assert_clean(coins=50, bars=120 + 60 * seed, seed=100 + seed)
