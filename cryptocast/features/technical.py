"""Technical indicators: TA-Lib's own values as functions, and the scale-free ratios of them that the catalogue holds.

The functions of the first half equal TA-Lib to 1e-9 in every row of a segment of consecutive bars, first valid row
included, with one stated exception: on a flat series RSI, stochastic and %R stand in the middle (no view), where TA-Lib
writes 0. Behind a gap what is recursive starts anew, and is not known until then.
"""

from typing import NamedTuple

from cryptocast.features.formula import CLOSE, DEVIATION_FLOOR, HIGH, LOW, Formula, larger, where
from cryptocast.features.recursion import exponential, wilder

__all__ = [
    "Bands",
    "Directional",
    "Macd",
    "Stochastic",
    "adx_share",
    "atr",
    "atr_ratio",
    "band_position",
    "band_width",
    "bollinger",
    "cci",
    "cci_scaled",
    "directional",
    "directional_balance",
    "ema",
    "ema_ratio",
    "macd",
    "macd_histogram_ratio",
    "macd_ratio",
    "roc",
    "rsi",
    "rsi_centred",
    "sma",
    "sma_ratio",
    "stochastic",
    "stochastic_d_centred",
    "stochastic_k_centred",
    "true_range",
    "williams_r",
]

# A band, range or sum of moves below this share of the price is rounding, and counts as this: ratios to it are 0.
ROUNDING = 1e-12


class Bands(NamedTuple):
    """Bollinger bands, in units of price."""

    upper: Formula
    middle: Formula
    lower: Formula
    reach: Formula  # from the middle to either band


class Macd(NamedTuple):
    """Moving average convergence divergence, in units of price."""

    line: Formula
    signal: Formula
    histogram: Formula


class Stochastic(NamedTuple):
    """Slow stochastic oscillator, 0 to 100."""

    k: Formula
    d: Formula


class Directional(NamedTuple):
    """Wilder's directional movement, 0 to 100 each."""

    plus: Formula
    minus: Formula
    adx: Formula


def sma(bars: int) -> Formula:
    """Simple moving average of the close. TA-Lib SMA."""
    return CLOSE.rolling_mean(bars)


def ema(bars: int) -> Formula:
    """Exponential moving average of the close, seeded with the simple one. TA-Lib EMA."""
    return exponential(CLOSE, bars)


def roc(bars: int) -> Formula:
    """Rate of change in percent. TA-Lib ROC."""
    return (CLOSE / CLOSE.shift(bars) - 1.0) * 100.0


def rsi(bars: int) -> Formula:
    """Relative strength index, 0 to 100, Wilder smoothing. TA-Lib RSI, but 50 on a flat series.

    100 U / (U + D) = 50 + 50 (U - D) / (U + D), of the averages of up and down moves. Source: Wilder (1978).
    """
    move = CLOSE.diff()
    net, total = wilder(move, bars), wilder(move.abs(), bars)
    return 50.0 + 50.0 * net / _above_rounding(total)


def macd(fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """MACD line, its signal and their difference. TA-Lib MACD: both averages start at row slow - 1.

    TA-Lib shows the line only from where the signal exists (row slow + signal - 2); so do we. Source: Appel (1979).
    """
    line = exponential(CLOSE, fast, lead=slow - fast) - exponential(CLOSE, slow)
    smooth = exponential(line, signal)
    return Macd(where(smooth.known(), line), smooth, line - smooth)


def bollinger(bars: int = 20, width: float = 2.0) -> Bands:
    """Mean of the close and `width` population standard deviations around it. TA-Lib BBANDS.

    Source: Bollinger (2001).
    """
    middle, reach = sma(bars), width * CLOSE.rolling_std(bars)
    return Bands(middle + reach, middle, middle - reach, reach)


def true_range() -> Formula:
    """The bar's range with the previous close in it; null on the first bar. TA-Lib TRANGE. Source: Wilder (1978)."""
    before = CLOSE.shift(1)
    return HIGH - LOW + (before - HIGH).at_least(0.0) + (LOW - before).at_least(0.0)


def atr(bars: int = 14) -> Formula:
    """Average true range, Wilder smoothing, in units of price. TA-Lib ATR."""
    return wilder(_continued_range(), bars)


def _continued_range() -> Formula:
    """The true range where the bar before has a range too, so that a segment starts with its second bar."""
    return where(HIGH.shift(1).known(), true_range())


def stochastic(bars: int = 14, slow: int = 3, signal: int = 3) -> Stochastic:
    """Slow stochastic: where the close stands in the range of the window, smoothed; and its average. TA-Lib STOCH.

    Both begin where the second begins (row bars + slow + signal - 3), as in TA-Lib; 50 where the window has no range.
    Source: Lane (1984).
    """
    k = (50.0 + 50.0 * _range_position(bars)).rolling_mean(slow)
    d = k.rolling_mean(signal)
    return Stochastic(k + d * 0.0, d)


def williams_r(bars: int = 14) -> Formula:
    """Williams %R, -100 to 0. TA-Lib WILLR, but -50 where the window has no range."""
    return 50.0 * _range_position(bars) - 50.0


def _range_position(bars: int) -> Formula:
    """Where the close stands in the range of the window: -1 the lowest low, 1 the highest high, 0 without a range."""
    low, high = LOW.rolling_min(bars), HIGH.rolling_max(bars)
    return (2.0 * CLOSE - low - high) / _above_rounding(high - low)


def directional(bars: int = 14) -> Directional:
    """Directional indicators and their average index. TA-Lib PLUS_DI, MINUS_DI and ADX; all 0 on a flat series.

    TA-Lib seeds the running sums with bars - 1 moves and shows them one bar later; the first index is the mean of the
    first `bars` directional indices, at row 2 bars - 1. Source: Wilder (1978).
    """
    net, total = _running(_net_move(), bars), _running(_net_move().abs(), bars)
    reach = _above_rounding(_running(_continued_range(), bars))
    index = 100.0 * net.abs() / _above_rounding(total)
    return Directional(50.0 * (total + net) / reach, 50.0 * (total - net) / reach, wilder(index, bars))


def _net_move() -> Formula:
    """Wilder's directional movement with its sign: the larger of the high's rise and the low's fall, if above 0."""
    rise, fall = HIGH.diff(), -LOW.diff()
    up, down = where((rise > fall) & (rise > 0.0), rise, 0.0), where((fall > rise) & (fall > 0.0), fall, 0.0)
    return where(rise.known() & fall.known(), up - down)


def _running(moves: Formula, bars: int) -> Formula:
    """Wilder's average of directional moves, shown from row `bars`, its start as in TA-Lib."""
    average = moves.smooth(1.0 / bars, bars - 1, divisor=bars)
    return where(average.shift(1).known(), average)


def cci(bars: int = 20, *, least: float = ROUNDING) -> Formula:
    """Commodity channel index: distance of the typical price from its mean, in 0.015 mean absolute deviations.

    TA-Lib CCI. 0 on a flat series. least: the smallest deviation that is taken at its word, as a share of the close.
    Source: Lambert, Commodities (1980).
    """
    price = (HIGH + LOW + CLOSE) / 3.0
    middle = price.rolling_mean(bars)
    deviation = price.deviation_from(middle, bars)
    return (price - middle) / (0.015 * larger(deviation, CLOSE * least))


def rsi_centred(bars: int) -> Formula:
    """RSI from -1 (only falls) to 1 (only rises); 0 on a flat series."""
    return rsi(bars) / 50.0 - 1.0


def macd_ratio() -> Formula:
    """MACD(12, 26) line over the close."""
    return macd().line / CLOSE


def macd_histogram_ratio() -> Formula:
    """MACD(12, 26, 9) histogram over the close."""
    return macd().histogram / CLOSE


def band_position(bars: int) -> Formula:
    """Where the close stands between the Bollinger bands: -1 lower, 1 upper (%B scaled). 0 on a flat series.

    Standard deviations below 0.01 % of the close count as that.
    """
    bands = bollinger(bars)
    return (CLOSE - bands.middle) / larger(bands.reach, CLOSE * (2.0 * DEVIATION_FLOOR))


def band_width(bars: int) -> Formula:
    """Log of the Bollinger band's width over its middle; not below log 0.0004 (four standard deviations of 0.01 %)."""
    bands = bollinger(bars)
    return (2.0 * bands.reach / bands.middle).at_least(4.0 * DEVIATION_FLOOR).log()


def atr_ratio(bars: int) -> Formula:
    """Log of the average true range over the close; not below log 0.0001."""
    return (atr(bars) / CLOSE).at_least(DEVIATION_FLOOR).log()


def stochastic_k_centred(bars: int) -> Formula:
    """Slow stochastic k from -1 to 1; 0 where the window has no range."""
    return stochastic(bars).k / 50.0 - 1.0


def stochastic_d_centred(bars: int) -> Formula:
    """Slow stochastic d from -1 to 1; 0 where the window has no range."""
    return stochastic(bars).d / 50.0 - 1.0


def adx_share(bars: int) -> Formula:
    """Average directional index from 0 (no trend) to 1; 0 on a flat series."""
    return directional(bars).adx / 100.0


def directional_balance(bars: int) -> Formula:
    """Plus minus minus directional indicator, over 100: above 0 when highs rise faster than lows fall."""
    return _running(_net_move(), bars) / _above_rounding(_running(_continued_range(), bars))


def cci_scaled(bars: int) -> Formula:
    """Commodity channel index over 100; deviations below 0.01 % of the close count as that."""
    return cci(bars, least=DEVIATION_FLOOR) / 100.0


def sma_ratio(bars: int) -> Formula:
    """Log of the close over its simple moving average."""
    return (CLOSE / sma(bars)).log()


def ema_ratio(bars: int) -> Formula:
    """Log of the close over its exponential moving average."""
    return (CLOSE / ema(bars)).log()


def _above_rounding(size: Formula) -> Formula:
    # `larger` passes over a size that is not known; so is the numerator, in the same rows.
    return larger(size, CLOSE * ROUNDING)
