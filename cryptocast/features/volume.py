"""Volume: how much is traded against what is usual, and how prices move with it.

A volume of 0 means "not known" in what publishers deliver, and is null here. All of these need the bar's own volume; a
rolling 24-hour sum on hourly bars is not that, see `needs` in the catalogue. Ratios only: the unit of volume cancels.
"""

from functools import partial

import polars as pl

from cryptocast.features.averages import window_mean
from cryptocast.features.expressions import (
    CLOSE,
    DEVIATION_FLOOR,
    MARKET_CAP,
    VOLUME,
    by_run,
    correlation,
    known_with,
    log_return,
    mean,
    shared,
    shared_by_run,
    spread,
    talib,
)
from cryptocast.features.price import side
from cryptocast.features.technical import typical_price

NOTHING = 1e-3


@shared_by_run
def obv() -> pl.Expr:
    """On-balance volume, in units of volume, starting at the first bar's, anew behind a gap. TA-Lib OBV.

    Source: Granville (1963).
    """
    return by_run(talib.OBV, CLOSE, VOLUME)


def mfi(bars: int = 14) -> pl.Expr:
    """Money flow index, 0 to 100: share of volume at rising typical prices. TA-Lib MFI, but 50 where nothing moved.

    Source: Quong and Soudack, Technical Analysis of Stocks and Commodities (1989).
    """
    # Where nothing moved both means are 0 but for rounding; a thousandth of the last bar's money stands for "nothing".
    total = pl.max_horizontal(gross_flow(bars), CLOSE * VOLUME * (NOTHING / bars))
    return 50.0 + 50.0 * net_flow(bars) / total


@shared_by_run
def net_flow(bars: int) -> pl.Expr:
    """Mean money flow of the window, with its signs."""
    return _mean_money(money_flow(), bars)


@shared_by_run
def gross_flow(bars: int) -> pl.Expr:
    """Mean size of the money flow of the window."""
    return _mean_money(money_flow().abs(), bars)


@shared_by_run
def mean_money(bars: int) -> pl.Expr:
    """Mean close times volume of the window."""
    return _mean_money(CLOSE * VOLUME, bars)


def _mean_money(money: pl.Expr, bars: int) -> pl.Expr:
    # Not by rolling_mean: its error is a share of the largest sum ever, and money in a dead coin falls by 1e12.
    return by_run(partial(window_mean, window=bars, least=bars), money)


def mfi_centred(bars: int) -> pl.Expr:
    """Money flow index from -1 (only outflow) to 1 (only inflow); 0 where nothing moved."""
    return mfi(bars) / 50.0 - 1.0


def volume_ratio(bars: int) -> pl.Expr:
    """Log of this bar's volume over the mean of the window."""
    return (VOLUME / mean(VOLUME, bars)).log()


def volume_trend(short: int, long: int) -> pl.Expr:
    """Log of the mean volume of a short window over that of a long one."""
    return (mean(VOLUME, short) / mean(VOLUME, long)).log()


def volume_zscore(bars: int) -> pl.Expr:
    """Standard deviations between the log volume and its mean over the window. Constant volume: 0."""
    level = log_volume()
    return (level - mean(level, bars)) / spread(level, bars).clip(lower_bound=DEVIATION_FLOOR)


def volume_volatility(bars: int) -> pl.Expr:
    """Standard deviation of the one-bar change of log volume."""
    return spread(volume_change(), bars)


def obv_change(bars: int) -> pl.Expr:
    """Change of on-balance volume over the window as a share of the volume traded in it: -1 to 1."""
    return mean(signed_volume(), bars) / mean(known_with(VOLUME, side()), bars)


def price_volume_correlation(bars: int) -> pl.Expr:
    """Correlation of one-bar log returns with the change of log volume. 0 where one of them is constant."""
    return correlation(log_return(1), volume_change(), bars)


def vwap_distance(bars: int) -> pl.Expr:
    """Log of the close over the window's volume-weighted mean close."""
    return (CLOSE * mean(VOLUME, bars) / mean_money(bars)).log()


def illiquidity(short: int, long: int) -> pl.Expr:
    """Log of the mean |return| per unit of volume of a short window over that of a long one.

    Relative to its own past because the unit is not comparable between coins. A move counts as at least 0.0001.
    Source: Amihud, Journal of Financial Markets 5 (2002).
    """
    return (mean(impact(), short) / mean(impact(), long)).log()


def turnover(bars: int) -> pl.Expr:
    """Log of the mean volume of the window over the market capitalisation: the share of the coin that changes hands."""
    return (mean(VOLUME, bars) / MARKET_CAP).log()


def turnover_ratio(bars: int) -> pl.Expr:
    """Log of this bar's volume per market capitalisation over the mean of the window."""
    return (capital_share() / mean(capital_share(), bars)).log()


@shared
def log_volume() -> pl.Expr:
    """Log of the volume."""
    return VOLUME.log()


@shared
def volume_change() -> pl.Expr:
    """One-bar change of the log volume."""
    return (VOLUME / VOLUME.shift(1)).log()


@shared
def signed_volume() -> pl.Expr:
    """Volume with the sign of the bar's move."""
    return side() * VOLUME


@shared
def impact() -> pl.Expr:
    """Absolute one-bar log return, of at least 0.0001, per unit of volume."""
    return log_return(1).abs().clip(lower_bound=DEVIATION_FLOOR) / VOLUME


@shared
def capital_share() -> pl.Expr:
    """Volume over market capitalisation."""
    return VOLUME / MARKET_CAP


@shared
def money_flow() -> pl.Expr:
    """Typical price times volume, with the sign of the typical price's move."""
    price = typical_price()
    return price.diff().sign() * price * VOLUME
