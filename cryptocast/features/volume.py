"""Volume: how much is traded against what is usual, and how prices move with it.

A volume of 0 means "not known" in what publishers deliver, and is null here. All of these need the bar's own volume; a
rolling 24-hour sum on hourly bars is not that, see `needs` in the catalogue. Ratios only: the unit of volume cancels.
"""

from cryptocast.features.formula import (
    CLOSE,
    DEVIATION_FLOOR,
    HIGH,
    LOW,
    MARKET_CAP,
    VOLUME,
    Formula,
    coalesce,
    correlation,
    known_with,
    larger,
    log_return,
    mean,
    spread,
)

__all__ = [
    "illiquidity",
    "mfi",
    "mfi_centred",
    "obv",
    "obv_change",
    "price_volume_correlation",
    "turnover",
    "turnover_ratio",
    "volume_ratio",
    "volume_trend",
    "volume_volatility",
    "volume_zscore",
    "vwap_distance",
]

NOTHING = 1e-3


def obv() -> Formula:
    """On-balance volume, in units of volume, starting at the first bar's, anew behind a gap. TA-Lib OBV.

    Source: Granville (1963).
    """
    return (coalesce(CLOSE.diff().sign(), CLOSE / CLOSE) * VOLUME).running_sum()


def mfi(bars: int = 14) -> Formula:
    """Money flow index, 0 to 100: share of volume at rising typical prices. TA-Lib MFI, but 50 where nothing moved.

    Source: Quong and Soudack, Technical Analysis of Stocks and Commodities (1989).
    """
    price = (HIGH + LOW + CLOSE) / 3.0
    flow = price.diff().sign() * price * VOLUME
    # Where nothing moved both sums are 0 but for rounding; a thousandth of the last bar's money stands for "nothing".
    total = larger(flow.abs().rolling_sum(bars), CLOSE * VOLUME * NOTHING)
    return 50.0 + 50.0 * flow.rolling_sum(bars) / total


def mfi_centred(bars: int) -> Formula:
    """Money flow index from -1 (only outflow) to 1 (only inflow); 0 where nothing moved."""
    return mfi(bars) / 50.0 - 1.0


def volume_ratio(bars: int) -> Formula:
    """Log of this bar's volume over the mean of the window."""
    return (VOLUME / mean(VOLUME, bars)).log()


def volume_trend(short: int, long: int) -> Formula:
    """Log of the mean volume of a short window over that of a long one."""
    return (mean(VOLUME, short) / mean(VOLUME, long)).log()


def volume_zscore(bars: int) -> Formula:
    """Standard deviations between the log volume and its mean over the window. Constant volume: 0."""
    level = VOLUME.log()
    return (level - mean(level, bars)) / spread(level, bars).at_least(DEVIATION_FLOOR)


def volume_volatility(bars: int) -> Formula:
    """Standard deviation of the one-bar change of log volume."""
    return spread(_volume_change(), bars)


def obv_change(bars: int) -> Formula:
    """Change of on-balance volume over the window as a share of the volume traded in it: -1 to 1."""
    side = CLOSE.diff().sign()
    return mean(side * VOLUME, bars) / mean(known_with(VOLUME, side), bars)


def price_volume_correlation(bars: int) -> Formula:
    """Correlation of one-bar log returns with the change of log volume. 0 where one of them is constant."""
    return correlation(log_return(1), _volume_change(), bars)


def vwap_distance(bars: int) -> Formula:
    """Log of the close over the window's volume-weighted mean close."""
    weighted = mean(CLOSE * VOLUME, bars) / mean(VOLUME, bars)
    return (CLOSE / weighted).log()


def illiquidity(short: int, long: int) -> Formula:
    """Log of the mean |return| per unit of volume of a short window over that of a long one.

    Relative to its own past because the unit is not comparable between coins. A move counts as at least 0.0001.
    Source: Amihud, Journal of Financial Markets 5 (2002).
    """
    impact = log_return(1).abs().at_least(DEVIATION_FLOOR) / VOLUME
    return (mean(impact, short) / mean(impact, long)).log()


def turnover(bars: int) -> Formula:
    """Log of the mean volume of the window over the market capitalisation: the share of the coin that changes hands."""
    return (mean(VOLUME, bars) / MARKET_CAP).log()


def turnover_ratio(bars: int) -> Formula:
    """Log of this bar's volume per market capitalisation over the mean of the window."""
    share = VOLUME / MARKET_CAP
    return (share / mean(share, bars)).log()


def _volume_change() -> Formula:
    return (VOLUME / VOLUME.shift(1)).log()
