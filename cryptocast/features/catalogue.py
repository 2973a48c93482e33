"""The feature catalogue, and the one builder that training, serving and the audit share.

A new feature is a function in a module of its family and a line here; the tests of this room cover it at once.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from cryptocast.data.schema import BAR_US, CANDLE_SCHEMA
from cryptocast.features import market, price, technical, time, volatility, volume
from cryptocast.features.bars import log_return, log_variance, mean
from cryptocast.features.engine import Bars, FloatArray, Plan, compute, plan
from cryptocast.features.formula import Formula, enough
from cryptocast.features.grid import microseconds, on_grid, starts
from cryptocast.features.recursion import settled

__all__ = [
    "BAR_VOLUME",
    "FEATURES",
    "LOOKBACK",
    "Family",
    "Feature",
    "Scope",
    "add_features",
    "feature_hash",
    "last_features",
    "required_history",
    "select_features",
    "with_features",
]

Family: TypeAlias = Literal["price", "technical", "volatility", "volume", "time", "market"]
# coin: the rows of one coin's grid, gaps as null rows; segment: consecutive bars only (with known ranges, if the
# feature needs them), so that recursions restart behind a gap; moment: the rows of all coins at one close time.
Scope: TypeAlias = Literal["coin", "segment", "moment"]

RANGE: Final = "range"  # true highs and lows
BAR_VOLUME: Final = "bar_volume"  # the volume of the bar itself, not a rolling 24-hour sum
CAP: Final = "market_cap"
WITH_BITCOIN: Final = "bitcoin"  # bitcoin in the frame
COINS: Final = "coins"  # three coins or more in the frame

HASH_VERSION = 2  # raise it when the engine's or the builder's own rules change what a formula gives
PROBE_BARS = 60

# Where groups of features are divided by the bars that they remember: joints of windows are shared inside a group, so
# that more groups take longer again.
HISTORIES: Final = (160, 640)
LONGEST: Final = 1_000_000

# Columns of the builder's working frame, beside the context of `market`.
SEGMENT = "__segment"
RANGE_SEGMENT = "__range_segment"


@dataclass(frozen=True, slots=True)
class Feature:
    """One column: its formula and the facts about it.

    warmup    leading nulls on a series without gaps where everything is known
    memory    bars until the start of the history matters less than 1e-8 (the weight of a recursion's start)
    source    where the formula comes from
    unit      log, share, ratio, sd (standard deviations), flag
    needs     what must be known, beyond closes, for it not to be null
    scope     which rows the expression sees
    lenient   its window may miss up to half of its bars (`bars.enough`); a strict feature is null if one is missing
    """

    name: str
    family: Family
    expr: Formula | pl.Expr
    warmup: int
    memory: int
    source: str
    unit: str
    needs: frozenset[str] = frozenset()
    scope: Scope = "coin"
    lenient: bool = False


RETURNS = "log of a ratio of closes"
MOMENTUM = "Jegadeesh and Titman (1993)"
ROLLING = "rolling window of closes"
MOMENTS = "moments of log returns"
LOTTERY = "Bali, Cakici and Whitelaw (2011)"
WILDER = "Wilder (1978), as TA-Lib"
APPEL = "Appel (1979), as TA-Lib"
BOLLINGER = "Bollinger (2001), as TA-Lib"
LANE = "Lane (1984), as TA-Lib"
LAMBERT = "Lambert (1980), as TA-Lib"
AVERAGES = "moving averages, as TA-Lib"
REALIZED = "root mean square of log returns"
RISKMETRICS = "RiskMetrics (1996)"
PARKINSON = "Parkinson (1980)"
GARMAN_KLASS = "Garman and Klass (1980)"
ROGERS_SATCHELL = "Rogers and Satchell (1991)"
HAR = "Corsi (2009), in logs, on ranges"
SEMIVARIANCE = "Barndorff-Nielsen, Kinnebrock and Shephard (2010)"
BIPOWER = "Barndorff-Nielsen and Shephard (2004)"
VARIANCE_RATIO = "Lo and MacKinlay (1988)"
VOLUMES = "rolling window of volume"
OBV = "Granville (1963), as a share"
AMIHUD = "Amihud (2002), against its own past"
FLOW = "Quong and Soudack (1989), as TA-Lib"
CLOCK = "UTC clock on a circle"
MARKET = "bitcoin at the same close"
CROSS = "coins of the same close"

NONE: Final[frozenset[str]] = frozenset()
HIGH_LOW: Final = frozenset({RANGE})
TRADED: Final = frozenset({BAR_VOLUME})
CAPITAL: Final = frozenset({BAR_VOLUME, CAP})
BITCOIN: Final = frozenset({WITH_BITCOIN})
POOL: Final = frozenset({COINS})

# The two numbers are warm-up and memory. A window over w closes needs w - 1 earlier bars, one over w returns needs w.
# Lenient windows answer from half of their bars on, so that their warm-up is shorter than their memory.
PRICE: Final = (
    *(Feature(f"ret_{w}", "price", price.log_return(w), w, w, RETURNS, "log") for w in (1, 2, 3, 7, 14, 30, 90)),
    Feature("mom_30_7", "price", price.momentum(30, 7), 30, 30, MOMENTUM, "log"),
    Feature("mom_90_30", "price", price.momentum(90, 30), 90, 90, MOMENTUM, "log"),
    Feature("trend_30", "price", price.trend_strength(30), 30, 30, ROLLING, "sd"),
    Feature("trend_90", "price", price.trend_strength(90), 45, 90, ROLLING, "sd", lenient=True),
    Feature("zscore_30", "price", price.zscore(30), 29, 29, ROLLING, "sd"),
    Feature("zscore_90", "price", price.zscore(90), 44, 89, ROLLING, "sd", lenient=True),
    Feature("high_30", "price", price.distance_to_high(30), 29, 29, ROLLING, "log"),
    Feature("high_90", "price", price.distance_to_high(90), 44, 89, ROLLING, "log", lenient=True),
    Feature("high_365", "price", price.distance_to_high(365), 182, 364, ROLLING, "log", lenient=True),
    Feature("low_30", "price", price.distance_to_low(30), 29, 29, ROLLING, "log"),
    Feature("low_90", "price", price.distance_to_low(90), 44, 89, ROLLING, "log", lenient=True),
    Feature("low_365", "price", price.distance_to_low(365), 182, 364, ROLLING, "log", lenient=True),
    Feature("skew_30", "price", price.return_skewness(30), 30, 30, MOMENTS, "ratio"),
    Feature("skew_90", "price", price.return_skewness(90), 45, 90, MOMENTS, "ratio", lenient=True),
    Feature("max_ret_30", "price", price.max_return(30), 30, 30, LOTTERY, "log"),
    Feature("min_ret_30", "price", price.min_return(30), 30, 30, LOTTERY, "log"),
    Feature("up_share_30", "price", price.up_share(30), 30, 30, MOMENTS, "share"),
    Feature("autocorr_30", "price", price.autocorrelation(30), 31, 31, MOMENTS, "share"),
)

# Memory of a recursion: bars until its start has decayed below 1e-8, plus the bars that come before the last smoothing.
# MACD is a small difference of large averages (gain 100) and its histogram a difference of those; ADX smooths twice.
WILDER_14 = settled(1 / 14)
MACD_MEMORY = settled(2 / 27, gain=100.0)

TECHNICAL: Final = (
    Feature("rsi_14", "technical", technical.rsi_centred(14), 14, WILDER_14, WILDER, "share", scope="segment"),
    Feature("macd", "technical", technical.macd_ratio(), 33, MACD_MEMORY, APPEL, "ratio", scope="segment"),
    Feature(
        "macd_hist", "technical", technical.macd_histogram_ratio(), 33, MACD_MEMORY, APPEL, "ratio", scope="segment"
    ),
    Feature("bb_position_20", "technical", technical.band_position(20), 19, 19, BOLLINGER, "ratio"),
    Feature("bb_width_20", "technical", technical.band_width(20), 19, 19, BOLLINGER, "log"),
    Feature("atr_14", "technical", technical.atr_ratio(14), 14, WILDER_14, WILDER, "log", HIGH_LOW, "segment"),
    Feature("stoch_k_14", "technical", technical.stochastic_k_centred(14), 17, 17, LANE, "share", HIGH_LOW),
    Feature("stoch_d_14", "technical", technical.stochastic_d_centred(14), 17, 17, LANE, "share", HIGH_LOW),
    Feature("adx_14", "technical", technical.adx_share(14), 27, 2 * WILDER_14, WILDER, "share", HIGH_LOW, "segment"),
    Feature(
        "di_14", "technical", technical.directional_balance(14), 14, WILDER_14, WILDER, "share", HIGH_LOW, "segment"
    ),
    Feature("cci_20", "technical", technical.cci_scaled(20), 19, 19, LAMBERT, "ratio", HIGH_LOW),
    *(Feature(f"sma_{w}", "technical", technical.sma_ratio(w), w - 1, w - 1, AVERAGES, "log") for w in (20, 50, 200)),
    *(
        Feature(
            f"ema_{w}",
            "technical",
            technical.ema_ratio(w),
            w - 1,
            settled(2 / (w + 1)),
            AVERAGES,
            "log",
            scope="segment",
        )
        for w in (12, 26, 50, 200)
    ),
)

# A start of thirty returns; the mean square at the start may be a hundred times what it is later.
EWMA_START = 30

VOLATILITY: Final = (
    *(
        Feature(
            f"vol_{w}",
            "volatility",
            volatility.realized_volatility(w),
            enough(w),
            w,
            REALIZED,
            "log",
            lenient=enough(w) < w,
        )
        for w in (7, 14, 30, 90, 365)
    ),
    *(
        Feature(
            f"ewma_{round(decay * 100)}",
            "volatility",
            volatility.ewma_volatility(decay, EWMA_START),
            EWMA_START,
            settled(1 - decay, gain=100.0),
            RISKMETRICS,
            "log",
            scope="segment",
        )
        for decay in (0.94, 0.97)
    ),
    *(
        Feature(f"{name}_{w}", "volatility", formula(w), w - 1, w - 1, source, "log", HIGH_LOW)
        for name, formula, source in (
            ("parkinson", volatility.parkinson, PARKINSON),
            ("garman_klass", volatility.garman_klass, GARMAN_KLASS),
            ("rogers_satchell", volatility.rogers_satchell, ROGERS_SATCHELL),
        )
        for w in (7, 30)
    ),
    *(
        Feature(f"har_{w}", "volatility", volatility.har_component(w), enough(w), w, HAR, "log", lenient=enough(w) < w)
        for w in (1, 7, 30, 90, 365)
    ),
    *(
        Feature(
            f"semi_{w}",
            "volatility",
            volatility.semivariance_balance(w),
            enough(w),
            w,
            SEMIVARIANCE,
            "share",
            lenient=enough(w) < w,
        )
        for w in (7, 30, 90)
    ),
    Feature("vol_ratio_7_30", "volatility", volatility.volatility_ratio(7, 30), 30, 30, REALIZED, "log"),
    Feature(
        "vol_ratio_30_90", "volatility", volatility.volatility_ratio(30, 90), 45, 90, REALIZED, "log", lenient=True
    ),
    Feature(
        "vol_ratio_30_365", "volatility", volatility.volatility_ratio(30, 365), 183, 365, REALIZED, "log", lenient=True
    ),
    Feature("vol_of_vol_30", "volatility", volatility.volatility_of_volatility(30), 36, 36, REALIZED, "log"),
    Feature("vol_zscore_365", "volatility", volatility.volatility_zscore(365), 189, 371, REALIZED, "sd", lenient=True),
    Feature("jump_30", "volatility", volatility.jump_share(30), 31, 31, BIPOWER, "share"),
    Feature("jump_90", "volatility", volatility.jump_share(90), 46, 91, BIPOWER, "share", lenient=True),
    Feature("range_surprise_30", "volatility", volatility.range_surprise(30), 29, 29, PARKINSON, "log", HIGH_LOW),
    Feature("range_to_close_30", "volatility", volatility.range_to_close(30), 30, 30, PARKINSON, "log", HIGH_LOW),
    Feature("shock_30", "volatility", volatility.return_shock(30), 31, 31, REALIZED, "sd"),
    Feature("largest_move_7_90", "volatility", volatility.largest_move(7, 90), 45, 90, REALIZED, "log", lenient=True),
    Feature("large_move_age_30", "volatility", volatility.large_move_age(30), 75, 120, REALIZED, "share", lenient=True),
    Feature("kurtosis_90", "volatility", volatility.return_kurtosis(90), 45, 90, MOMENTS, "log", lenient=True),
    Feature(
        "variance_ratio_7_90",
        "volatility",
        volatility.variance_ratio(7, 90),
        51,
        96,
        VARIANCE_RATIO,
        "log",
        lenient=True,
    ),
)

VOLUME: Final = (
    Feature("volume_ratio_7", "volume", volume.volume_ratio(7), 6, 6, VOLUMES, "log", TRADED),
    Feature("volume_ratio_30", "volume", volume.volume_ratio(30), 29, 29, VOLUMES, "log", TRADED),
    Feature("volume_trend_7_30", "volume", volume.volume_trend(7, 30), 29, 29, VOLUMES, "log", TRADED),
    Feature("volume_zscore_30", "volume", volume.volume_zscore(30), 29, 29, VOLUMES, "sd", TRADED),
    Feature("volume_vol_30", "volume", volume.volume_volatility(30), 30, 30, VOLUMES, "log", TRADED),
    Feature("obv_7", "volume", volume.obv_change(7), 7, 7, OBV, "share", TRADED),
    Feature("obv_30", "volume", volume.obv_change(30), 30, 30, OBV, "share", TRADED),
    Feature("price_volume_30", "volume", volume.price_volume_correlation(30), 30, 30, VOLUMES, "share", TRADED),
    Feature("vwap_7", "volume", volume.vwap_distance(7), 6, 6, VOLUMES, "log", TRADED),
    Feature("vwap_30", "volume", volume.vwap_distance(30), 29, 29, VOLUMES, "log", TRADED),
    Feature("illiquidity_7_90", "volume", volume.illiquidity(7, 90), 45, 90, AMIHUD, "log", TRADED, lenient=True),
    Feature("mfi_14", "volume", volume.mfi_centred(14), 14, 14, FLOW, "share", HIGH_LOW | TRADED),
    Feature("turnover_7", "volume", volume.turnover(7), 6, 6, VOLUMES, "log", CAPITAL),
    Feature("turnover_ratio_30", "volume", volume.turnover_ratio(30), 29, 29, VOLUMES, "log", CAPITAL),
)

TIME: Final = (
    Feature("hour_sin", "time", time.hour_sine(), 0, 0, CLOCK, "share"),
    Feature("hour_cos", "time", time.hour_cosine(), 0, 0, CLOCK, "share"),
    Feature("weekday_sin", "time", time.weekday_sine(), 0, 0, CLOCK, "share"),
    Feature("weekday_cos", "time", time.weekday_cosine(), 0, 0, CLOCK, "share"),
    Feature("month_sin", "time", time.month_sine(), 0, 0, CLOCK, "share"),
    Feature("month_cos", "time", time.month_cosine(), 0, 0, CLOCK, "share"),
    Feature("weekend", "time", time.weekend(), 0, 0, CLOCK, "flag"),
)

IN_MARKET: Final = (
    *(Feature(f"btc_ret_{w}", "market", market.bitcoin_return(w), w, w, MARKET, "log", BITCOIN) for w in (1, 7, 30)),
    *(Feature(f"btc_vol_{w}", "market", market.bitcoin_volatility(w), w, w, MARKET, "log", BITCOIN) for w in (7, 30)),
    Feature("btc_beta_60", "market", market.beta_to_bitcoin(60), 60, 60, MARKET, "ratio", BITCOIN),
    Feature("btc_beta_90", "market", market.beta_to_bitcoin(90), 45, 90, MARKET, "ratio", BITCOIN, lenient=True),
    Feature("btc_corr_60", "market", market.correlation_to_bitcoin(60), 60, 60, MARKET, "share", BITCOIN),
    Feature("btc_corr_90", "market", market.correlation_to_bitcoin(90), 45, 90, MARKET, "share", BITCOIN, lenient=True),
    Feature("btc_strength_30", "market", market.relative_strength(30), 30, 30, MARKET, "log", BITCOIN),
    Feature("rank_ret_30", "market", market.return_rank(), 30, 30, CROSS, "share", POOL, "moment"),
    Feature("rank_vol_30", "market", market.volatility_rank(), 30, 30, CROSS, "share", POOL, "moment"),
    Feature("market_vol_30", "market", market.market_volatility(), 30, 30, CROSS, "log", POOL, "moment"),
    Feature("vol_over_market_30", "market", market.volatility_over_market(), 30, 30, CROSS, "log", POOL, "moment"),
    Feature("breadth_30", "market", market.breadth(), 30, 30, CROSS, "share", POOL, "moment"),
    Feature("dispersion_30", "market", market.return_dispersion(), 30, 30, CROSS, "log", POOL, "moment"),
)

FEATURES: Final[tuple[Feature, ...]] = (*PRICE, *TECHNICAL, *VOLATILITY, *VOLUME, *TIME, *IN_MARKET)


def add_features(
    candles: pl.LazyFrame,
    features: Sequence[Feature] | None = None,
    *,
    bar_us: int,
    without: frozenset[str] = frozenset(),
) -> pl.LazyFrame:
    """Candles on their complete grid with one float64 column for each feature, sorted by (coin, close_time).

    candles: CANDLE_SCHEMA, any order. features: FEATURES unless given. bar_us: microseconds in a bar. without: needs
    that these candles cannot meet, for example {"bar_volume"} where volume is a rolling sum; the features that have
    them are null. Missing bars stay as rows on which everything is null. What is undefined is null, never NaN or
    infinite. Prices that are not positive and finite count as missing and are handed back as they came.
    Raises ValueError if feature names repeat or collide with the candles'. Collecting raises DataError as
    `complete_grid` does.
    """
    features = FEATURES if features is None else features
    _check_names(features)
    return candles.select(list(CANDLE_SCHEMA)).map_batches(
        partial(with_features, features=tuple(features), bar_us=bar_us, without=without),
        schema={**CANDLE_SCHEMA, **dict.fromkeys((f.name for f in features), pl.Float64())},
    )


def with_features(
    candles: pl.DataFrame, *, features: Sequence[Feature], bar_us: int, without: frozenset[str] = frozenset()
) -> pl.DataFrame:
    """As `add_features`, at once: what that does to candles that are here already."""
    _check_names(features)
    table = on_grid(candles, bar_us)
    if not features:
        return table
    wanted = [f for f in features if not f.needs & without]
    formulas = {f.name: f.expr for f in wanted if isinstance(f.expr, Formula)}
    values = compute(_planned(tuple(formulas.values())), _bars(table, bar_us))
    columns = {name: pl.Series(name, array, nan_to_null=True) for name, array in zip(formulas, values, strict=True)}
    del values
    expressions = [f for f in wanted if not isinstance(f.expr, Formula)]
    if expressions:
        columns |= {series.name: series for series in _expressions(table, expressions)}
    for feature in features:
        if feature.name not in columns:
            columns[feature.name] = pl.Series(feature.name, [None], dtype=pl.Float64).new_from_index(0, table.height)
    return table.hstack([columns[f.name] for f in features])


def last_features(
    table: pl.DataFrame,
    features: Sequence[Feature],
    *,
    rows: int,
    bar_us: int,
    without: frozenset[str] = frozenset(),
) -> FloatArray:
    """(C, rows, F): the features of each coin's last bars, NaN where undefined; as `add_features` gives them, to 1e-8.

    table: candles on their complete grid, as `with_features` hands them back, with enough bars for what features
    remember. Each feature is computed on as many bars as it can remember: few of them look back further than a season,
    so that this takes a fraction of the time. A coin with fewer bars than `rows` begins with NaN.
    """
    bars = _bars(table, bar_us)
    found = np.full((len(bars.start) - 1, rows, len(features)), np.nan)
    place = {feature.name: position for position, feature in enumerate(features)}
    wanted = [f for f in features if not f.needs & without]
    for history, group in _by_history(tuple(f for f in wanted if isinstance(f.expr, Formula))):
        part = bars.tail(history + rows)
        values = compute(_planned(tuple(f.expr for f in group if isinstance(f.expr, Formula))), part)
        for feature, column in zip(group, values, strict=True):
            _write_last(found[:, :, place[feature.name]], column, part.start)
    expressions = [f for f in wanted if not isinstance(f.expr, Formula)]
    if expressions:
        for series in _expressions(table, expressions):
            _write_last(found[:, :, place[series.name]], series.to_numpy(), bars.start)
    return found


@lru_cache(maxsize=32)
def _by_history(features: tuple[Feature, ...]) -> list[tuple[int, list[Feature]]]:
    """The features in groups, each with the bars that its members remember at most."""
    groups: dict[int, list[Feature]] = {}
    for feature in features:
        history = required_history([feature])
        limit = next((limit for limit in HISTORIES if history <= limit), LONGEST)
        groups.setdefault(limit, []).append(feature)
    return [(required_history(group), group) for group in groups.values()]


def _write_last(into: FloatArray, column: FloatArray, start: npt.NDArray[np.int64]) -> None:
    """The end of each coin's part of a column into (C, rows)."""
    for row, (first, last) in zip(into, pairwise(start.tolist()), strict=True):
        own = column[max(first, last - len(row)) : last]
        row[len(row) - len(own) :] = own


@lru_cache(maxsize=32)
def _planned(formulas: tuple[Formula, ...]) -> Plan:
    return plan(formulas)


def select_features(names: Iterable[str], features: Sequence[Feature] | None = None) -> tuple[Feature, ...]:
    """The named features, in the given order. Raises ValueError for a name that is not in the catalogue."""
    known = {f.name: f for f in (FEATURES if features is None else features)}
    names = list(names)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"unknown features: {', '.join(unknown)}")
    return tuple(known[name] for name in names)


def required_history(features: Sequence[Feature]) -> int:
    """Bars, the last one included, from which the last row equals that of the whole history to 1e-8 max(1, |value|).

    Warm-up, memory and an eighth of it: memory is when a start weighs 1e-8, and a start may be off by ten times what it
    starts (an average after a year in which the price rose tenfold), which takes ln 10 / ln 1e8 = 1/8 longer to fade.
    """
    return max((f.warmup + f.memory + math.ceil(f.memory / 8) for f in features), default=0) + 1


def feature_hash(features: Sequence[Feature]) -> str:
    """SHA-256 (hex) of what decides the values: names, order, facts and formulas. The same in every process.

    A formula enters as its own text. A Polars expression enters by what it gives on a few made candles, to nine digits,
    because Polars may write the same expression differently in every release.
    """
    facts = [[f.name, f.warmup, f.memory, f.scope, sorted(f.needs), _digest(f)] for f in features]
    return hashlib.sha256(json.dumps([HASH_VERSION, facts]).encode()).hexdigest()


def _digest(feature: Feature) -> str | list[str | None]:
    if isinstance(feature.expr, Formula):
        return feature.expr.key
    candles = _probe_candles(feature.warmup + PROBE_BARS)
    values = add_features(candles, [replace(feature, needs=NONE)], bar_us=BAR_US["daily"]).collect()[feature.name]
    return [None if value is None else f"{value:.9g}" for value in values]


def _probe_candles(bars: int) -> pl.LazyFrame:
    """Three coins, bitcoin among them, on waves that never repeat; without a random generator that may change."""
    day = np.arange(float(bars))
    frames = []
    for number, coin in enumerate(("a", market.BITCOIN, "c"), 1):
        close = 100.0 * number * np.exp(0.3 * np.sin(day / 7.3 + number) + 0.04 * np.sin(1.7 * number * day * day))
        start = close * np.exp(0.02 * np.sin(2.9 * day + number))
        columns = {
            "close": close,
            "open": start,
            "high": np.maximum(close, start) * (1.01 + 0.01 * np.sin(3.1 * day)),
            "low": np.minimum(close, start) / (1.01 + 0.01 * np.cos(4.3 * day)),
            "volume": 1e6 * np.exp(np.sin(day * 1.1 + number)),
            "market_cap": 1e9 * close,
        }
        stamps = (np.arange(bars) + 18_000) * BAR_US["daily"]
        frames.append(
            pl.DataFrame({"close_time": stamps, **columns}).with_columns(
                coin=pl.lit(coin), range_known=pl.lit(value=True)
            )
        )
    return pl.concat(frames).select(list(CANDLE_SCHEMA)).cast(CANDLE_SCHEMA).lazy()


def _check_names(features: Sequence[Feature]) -> None:
    counts = Counter([*CANDLE_SCHEMA, *(f.name for f in features)])
    taken = sorted(name for name, count in counts.items() if count > 1)
    if taken:
        raise ValueError(f"feature names repeat, or are those of candle columns: {', '.join(taken)}")


def _partition(feature: Feature) -> str:
    if feature.scope == "segment":
        return RANGE_SEGMENT if RANGE in feature.needs else SEGMENT
    return {"coin": "coin", "moment": "close_time"}[feature.scope]


def _bars(table: pl.DataFrame, bar_us: int) -> Bars:
    """What formulas read: cleaned columns, with bitcoin's close at the same moments."""
    close = _clean(table, "close")
    ranged = table["range_known"]
    seen = (ranged.fill_null(value=False) if ranged.null_count() else ranged).to_numpy()
    columns = {"close": close, **{name: _clean(table, name) for name in ("volume", "market_cap")}}
    for name in ("open", "high", "low"):
        columns[name] = np.where(seen, _clean(table, name), np.nan)
    stamps, start = microseconds(table["close_time"]), starts(table["coin"])
    missing = np.isnan(close)
    bars = Bars(columns, stamps, start, bar_us, missing if missing.any() else None)
    columns["bitcoin_close"] = _bitcoin_close(bars, table["coin"])
    return bars


def _clean(table: pl.DataFrame, name: str) -> FloatArray:
    values = table[name].to_numpy()
    return np.where((values > 0.0) & (values < np.inf), values, np.nan)


def _bitcoin_close(bars: Bars, coin: pl.Series) -> FloatArray:
    """(N,) bitcoin's close at each row's close time; NaN without it."""
    names = coin.gather(bars.start[:-1]).to_list() if len(bars) else []
    if market.BITCOIN not in names:
        return np.full(len(bars), np.nan)
    place = names.index(market.BITCOIN)
    own = slice(bars.start[place], bars.start[place + 1])
    bar, between = np.divmod(bars.close_time - bars.close_time[own][0], bars.bar_us)
    there = (bar >= 0) & (bar < own.stop - own.start) & (between == 0)
    return np.where(there, bars.columns["close"][own][np.where(there, bar, 0)], np.nan)


def _expressions(table: pl.DataFrame, features: Sequence[Feature]) -> list[pl.Series]:
    """The features that are written as Polars expressions, each over the rows of its scope."""
    working = _with_context(_working_frame(table.lazy()), features)
    columns = [
        f.expr.cast(pl.Float64).over(_partition(f)).alias(f.name) for f in features if isinstance(f.expr, pl.Expr)
    ]
    there = pl.col("close").is_not_null()
    finite = [pl.when(there & pl.col(f.name).is_finite()).then(pl.col(f.name)).alias(f.name) for f in features]
    return working.with_columns(columns).select(finite).collect().get_columns()


def _working_frame(table: pl.LazyFrame) -> pl.LazyFrame:
    """Cleaned columns under their names, and segments of consecutive bars."""
    seen = pl.col("range_known").fill_null(value=False)
    return table.with_columns(
        *(_positive(name) for name in ("close", "volume", "market_cap")),
        *(pl.when(seen).then(_positive(name)).alias(name) for name in ("open", "high", "low")),
    ).with_columns(
        _segment(pl.col("close").is_not_null()).alias(SEGMENT),
        _segment(pl.all_horizontal(pl.col("close", "high", "low").is_not_null())).alias(RANGE_SEGMENT),
    )


def _positive(name: str) -> pl.Expr:
    column = pl.col(name)
    return pl.when(column.is_finite() & (column > 0.0)).then(column).alias(name)


def _segment(known: pl.Expr) -> pl.Expr:
    """A number for each stretch of rows of one coin that are all known, or all not."""
    return pl.struct(pl.col("coin"), known).rle_id()


def _with_context(working: pl.LazyFrame, features: Sequence[Feature]) -> pl.LazyFrame:
    """The columns of `market` that these expressions read, and no others."""
    read = {name for f in features if isinstance(f.expr, pl.Expr) for name in f.expr.meta.root_names()}
    if market.BITCOIN_CLOSE in read:
        bitcoin = working.filter(pl.col("coin") == market.BITCOIN)
        bitcoin = bitcoin.select("close_time", pl.col("close").alias(market.BITCOIN_CLOSE))
        working = working.join(bitcoin, on="close_time", how="left", maintain_order="left")
    returns = log_return(1)
    own = {
        market.OWN_RETURN: log_return(market.CROSS_WINDOW),
        market.OWN_VOLATILITY: 0.5 * log_variance(mean(returns**2, market.CROSS_WINDOW)),
    }
    return working.with_columns([expr.over("coin").alias(name) for name, expr in own.items() if name in read])


# What serving keeps of each coin.
LOOKBACK: Final = required_history(FEATURES)
