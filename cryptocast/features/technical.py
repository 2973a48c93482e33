"""Technical indicators: TA-Lib's own values as functions, and the scale-free ratios of them that the catalogue holds.

Recursions are TA-Lib's, called on each stretch of consecutive bars, so that they start anew behind a gap and are not
known until then; sums over windows are Polars', which are more exact. The functions of the first half equal TA-Lib to
1e-9 in every row of a stretch, first valid row included, with one stated exception: on a flat series RSI and stochastic
stand in the middle (no view), where TA-Lib writes 0.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from cryptocast.arrays import FloatArray
from cryptocast.features.expressions import (
    CLOSE,
    DEVIATION_FLOOR,
    HIGH,
    LOW,
    by_run,
    shared,
    shared_by_run,
    talib,
)

# A range or deviation below this share of the price is rounding, and counts as this: ratios to it are 0.
ROUNDING: Final = 1e-12
DECAYED: Final = 1e-8


class Bands(NamedTuple):
    """Bollinger bands, in units of price."""

    upper: pl.Expr
    middle: pl.Expr
    lower: pl.Expr
    reach: pl.Expr  # from the middle to either band


class Macd(NamedTuple):
    """Moving average convergence divergence, in units of price."""

    line: pl.Expr
    signal: pl.Expr
    histogram: pl.Expr


class Stochastic(NamedTuple):
    """Slow stochastic oscillator, 0 to 100."""

    k: pl.Expr
    d: pl.Expr


class Directional(NamedTuple):
    """Wilder's directional movement, 0 to 100 each."""

    plus: pl.Expr
    minus: pl.Expr
    adx: pl.Expr


def settled(alpha: float, *, gain: float = 1.0) -> int:
    """Bars until a first-order recursion has forgotten its start: gain (1 - alpha)^bars is 1e-8.

    `gain` is how large the start's error may be against what the feature shows: 1 for an average, 100 for a small
    difference of two large averages. RMA14 gives 249, EMA200 1,842.
    """
    return round(math.log(DECAYED / gain) / math.log(1.0 - alpha))


@shared
def sma(bars: int) -> pl.Expr:
    """Simple moving average of the close. TA-Lib SMA."""
    return CLOSE.rolling_mean(bars)


@shared_by_run
def ema(bars: int) -> pl.Expr:
    """Exponential moving average of the close, seeded with the simple one. TA-Lib EMA."""
    return by_run(partial(talib.EMA, timeperiod=bars), CLOSE)


def roc(bars: int) -> pl.Expr:
    """Rate of change in percent. TA-Lib ROC."""
    return (CLOSE / CLOSE.shift(bars) - 1.0) * 100.0


@shared_by_run
def cmo(bars: int) -> pl.Expr:
    """Chande momentum oscillator, -100 to 100: ups minus downs over their sum, Wilder smoothing. TA-Lib CMO."""
    return by_run(_near_one(talib.CMO, bars), CLOSE)


def rsi(bars: int) -> pl.Expr:
    """Relative strength index, 0 to 100, Wilder smoothing. TA-Lib RSI, but 50 on a flat series. Source: Wilder (1978).

    100 U / (U + D) = 50 + 50 (U - D) / (U + D), of the averages of up and down moves.
    """
    return 50.0 + 0.5 * cmo(bars)


def macd(fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """MACD line, its signal and their difference. TA-Lib MACD. Source: Appel (1979)."""
    lines = _macd(fast, slow, signal)
    return Macd(*(lines.struct.field(name) for name in Macd._fields))


@shared_by_run
def _macd(fast: int, slow: int, signal: int) -> pl.Expr:
    function = partial(talib.MACD, fastperiod=fast, slowperiod=slow, signalperiod=signal)
    return by_run(function, CLOSE, fields=Macd._fields)


def bollinger(bars: int = 20, width: float = 2.0) -> Bands:
    """Mean of the close and `width` population standard deviations around it. TA-Lib BBANDS.

    Source: Bollinger (2001).
    """
    middle, reach = sma(bars), width * _deviation(bars)
    return Bands(middle + reach, middle, middle - reach, reach)


@shared
def _deviation(bars: int) -> pl.Expr:
    return CLOSE.rolling_std(bars, ddof=0)


@shared_by_run
def atr(bars: int = 14) -> pl.Expr:
    """Average true range, Wilder smoothing, in units of price. TA-Lib ATR."""
    return by_run(partial(talib.ATR, timeperiod=bars), HIGH, LOW, CLOSE)


def stochastic(bars: int = 14, slow: int = 3, signal: int = 3) -> Stochastic:
    """Slow stochastic: where the close stands in the range of the window, smoothed; and its average. TA-Lib STOCH.

    Both begin where the second begins (row bars + slow + signal - 3), as in TA-Lib; 50 where the window has no range.
    Source: Lane (1984).
    """
    k = _slow_k(bars, slow)
    d = k.rolling_mean(signal)
    return Stochastic(k + d * 0.0, d)


@shared
def _slow_k(bars: int, slow: int) -> pl.Expr:
    low, high = _lowest(bars), _highest(bars)
    # max_horizontal passes over a range that is null; so is the numerator, in the same rows.
    position = (2.0 * CLOSE - low - high) / pl.max_horizontal(high - low, CLOSE * ROUNDING)
    return (50.0 + 50.0 * position).rolling_mean(slow)


@shared_by_run
def _lowest(bars: int) -> pl.Expr:
    return by_run(partial(talib.MIN, timeperiod=bars), LOW)  # a tenth of the time of rolling_min


@shared_by_run
def _highest(bars: int) -> pl.Expr:
    return by_run(partial(talib.MAX, timeperiod=bars), HIGH)


def directional(bars: int = 14) -> Directional:
    """Directional indicators and their average index. TA-Lib PLUS_DI, MINUS_DI and ADX; all 0 on a flat series.

    Source: Wilder (1978).
    """
    return Directional(_plus_di(bars), _minus_di(bars), _adx(bars))


@shared_by_run
def _plus_di(bars: int) -> pl.Expr:
    return by_run(_near_one(talib.PLUS_DI, bars), HIGH, LOW, CLOSE)


@shared_by_run
def _minus_di(bars: int) -> pl.Expr:
    return by_run(_near_one(talib.MINUS_DI, bars), HIGH, LOW, CLOSE)


@shared_by_run
def _adx(bars: int) -> pl.Expr:
    return by_run(_near_one(talib.ADX, bars), HIGH, LOW, CLOSE)


def cci(bars: int = 20, *, least: float = ROUNDING) -> pl.Expr:
    """Commodity channel index: distance of the typical price from its mean, in 0.015 mean absolute deviations.

    TA-Lib CCI. least: the smallest deviation that is taken at its word, as a share of the close.
    Source: Lambert, Commodities (1980).
    """
    price = typical_price()
    bound = (price - price.rolling_mean(bars)).abs() / (0.015 * least * CLOSE)
    return pl.min_horizontal(_cci(bars).abs(), bound) * _cci(bars).sign()


@shared_by_run
def typical_price() -> pl.Expr:
    """Mean of high, low and close. TA-Lib TYPPRICE, whose last digit decides which way an unchanged price has moved."""
    return by_run(talib.TYPPRICE, HIGH, LOW, CLOSE)


@shared_by_run
def _cci(bars: int) -> pl.Expr:
    return by_run(partial(talib.CCI, timeperiod=bars), HIGH, LOW, CLOSE)


def rsi_centred(bars: int) -> pl.Expr:
    """RSI from -1 (only falls) to 1 (only rises); 0 on a flat series."""
    return cmo(bars) / 100.0


def macd_ratio() -> pl.Expr:
    """MACD(12, 26) line over the close."""
    return macd().line / CLOSE


def macd_histogram_ratio() -> pl.Expr:
    """MACD(12, 26, 9) histogram over the close."""
    return macd().histogram / CLOSE


def band_position(bars: int) -> pl.Expr:
    """Where the close stands between the Bollinger bands: -1 lower, 1 upper (%B scaled). 0 on a flat series.

    Standard deviations below 0.01 % of the close count as that.
    """
    bands = bollinger(bars)
    return (CLOSE - bands.middle) / pl.max_horizontal(bands.reach, CLOSE * (2.0 * DEVIATION_FLOOR))


def band_width(bars: int) -> pl.Expr:
    """Log of the Bollinger band's width over its middle; not below log 0.0004 (four standard deviations of 0.01 %)."""
    bands = bollinger(bars)
    return (2.0 * bands.reach / bands.middle).clip(lower_bound=4.0 * DEVIATION_FLOOR).log()


def atr_ratio(bars: int) -> pl.Expr:
    """Log of the average true range over the close; not below log 0.0001."""
    return (atr(bars) / CLOSE).clip(lower_bound=DEVIATION_FLOOR).log()


def stochastic_k_centred(bars: int) -> pl.Expr:
    """Slow stochastic k from -1 to 1; 0 where the window has no range."""
    return stochastic(bars).k / 50.0 - 1.0


def stochastic_d_centred(bars: int) -> pl.Expr:
    """Slow stochastic d from -1 to 1; 0 where the window has no range."""
    return stochastic(bars).d / 50.0 - 1.0


def adx_share(bars: int) -> pl.Expr:
    """Average directional index from 0 (no trend) to 1; 0 on a flat series."""
    return directional(bars).adx / 100.0


def directional_balance(bars: int) -> pl.Expr:
    """Plus minus minus directional indicator, over 100: above 0 when highs rise faster than lows fall."""
    lines = directional(bars)
    return (lines.plus - lines.minus) / 100.0


def cci_scaled(bars: int) -> pl.Expr:
    """Commodity channel index over 100; deviations below 0.01 % of the close count as that."""
    return cci(bars, least=DEVIATION_FLOOR) / 100.0


def sma_ratio(bars: int) -> pl.Expr:
    """Log of the close over its simple moving average."""
    return (CLOSE / sma(bars)).log()


def ema_ratio(bars: int) -> pl.Expr:
    """Log of the close over its exponential moving average."""
    return (CLOSE / ema(bars)).log()


def _near_one(indicator: Callable[..., FloatArray], bars: int) -> Callable[..., FloatArray]:
    """The indicator of prices in units of a power of two near the first close.

    TA-Lib takes sums of moves below 1e-14 for zero, whatever a coin costs. A power of two changes no digit.
    """

    def scaled(*prices: FloatArray) -> FloatArray:
        unit = np.ldexp(1.0, -np.frexp(prices[-1][0])[1])
        return indicator(*(price * unit for price in prices), timeperiod=bars)

    return scaled
