"""The feature catalogue: what each feature is, as a table.

A new feature is a function in a module of its family and a line here; the tests of this room cover it at once.
"""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import polars as pl

from cryptocast.features import market, price, technical, time, volatility, volume
from cryptocast.features.expressions import enough, log_return
from cryptocast.features.technical import settled

Family: TypeAlias = Literal["price", "technical", "volatility", "volume", "time", "market"]
# coin: the rows of one coin's grid, gaps as null rows; segment: consecutive bars only (with known ranges, if the
# feature needs them), so that recursions restart behind a gap; moment: the rows of all coins at one close time.
Scope: TypeAlias = Literal["coin", "segment", "moment"]

RANGE: Final = "range"  # true highs and lows
BAR_VOLUME: Final = "bar_volume"  # the volume of the bar itself, not a rolling 24-hour sum
CAP: Final = "market_cap"
WITH_BITCOIN: Final = "bitcoin"  # bitcoin in the frame
COINS: Final = "coins"  # three coins or more in the frame


@dataclass(frozen=True, slots=True, eq=False)
class Feature:
    """One column: its formula and the facts about it.

    warmup    leading nulls on a series without gaps where everything is known
    memory    bars until the start of the history matters less than 1e-8 (the weight of a recursion's start)
    source    where the formula comes from
    unit      log, share, ratio, sd (standard deviations), flag
    needs     what must be known, beyond closes, for it not to be null
    scope     which rows the expression sees
    lenient   its window may miss up to half of its bars (`enough`); a strict feature is null if one is missing
    """

    name: str
    family: Family
    expr: pl.Expr
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
    *(Feature(f"ret_{w}", "price", log_return(w), w, w, RETURNS, "log") for w in (1, 2, 3, 7, 14, 30, 90)),
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
