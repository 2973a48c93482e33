"""Volatility: how far prices move, by several estimators, over several windows. What the main model lives on.

Levels are logs of the standard deviation (or, for the HAR components, of the variance) of one bar, so that a model sees
doubling as a constant step. A variance below 1e-8 (moves of 0.01 %) counts as 1e-8: a flat series sits on that floor.
Estimators that use highs and lows are null on bars that only saw a close. Windows as in `expressions.enough`.
"""

import math

import polars as pl

from cryptocast.features.expressions import (
    CLOSE,
    DEVIATION_FLOOR,
    HIGH,
    LOW,
    OPEN,
    ROW,
    VARIANCE_FLOOR,
    enough,
    log_return,
    log_variance,
    mean,
    shared,
    spread,
    squared_return,
    variation,
)
from cryptocast.features.price import cubed_return

SHOCK_LIMIT = 20.0  # standard deviations; a bad print says no more than "very large"
LARGE_MOVE = 3.0  # standard deviations
LARGE_MOVE_HORIZON = 90  # bars after which a large move is forgotten
SPEED_WINDOW = 7


@shared
def realized_volatility(bars: int) -> pl.Expr:
    """Log of the root mean square of one-bar log returns. The mean return is taken as 0; not annualised."""
    return _log_deviation(mean(squared_return(), bars))


def ewma_volatility(decay: float, least: int) -> pl.Expr:
    """Log volatility from exponentially weighted squared returns, weights decay^k normalised, from `least` returns on.

    Source: RiskMetrics Technical Document (1996), with weights that sum to one instead of a start value.
    """
    return _log_deviation(squared_return().ewm_mean(alpha=1.0 - decay, adjust=True, min_samples=least))


@shared
def parkinson(bars: int) -> pl.Expr:
    """Log volatility from ranges: mean of ln(H/L)^2 / (4 ln 2). Source: Parkinson, Journal of Business 53 (1980)."""
    return _log_deviation(mean(log_range() ** 2 / (4.0 * math.log(2.0)), bars))


def garman_klass(bars: int) -> pl.Expr:
    """Log volatility from mean 0.5 ln(H/L)^2 - (2 ln 2 - 1) ln(C/O)^2.

    Source: Garman and Klass, Journal of Business 53 (1980), equation 20.
    """
    return _log_deviation(mean(garman_klass_variance(), bars))


def rogers_satchell(bars: int) -> pl.Expr:
    """Log volatility from mean ln(H/C) ln(H/O) + ln(L/C) ln(L/O): unmoved by a drift.

    Source: Rogers and Satchell, Annals of Applied Probability 1 (1991).
    """
    return _log_deviation(mean(rogers_satchell_variance(), bars))


@shared
def bar_variance() -> pl.Expr:
    """Variance of one bar from what is known of it: squared opening gap plus Garman-Klass, else the squared return.

    Null where the bar or the one before is missing. A bar that only saw its close gives the squared return, which has
    the same mean and about seven times the noise.
    """
    gap = (OPEN / CLOSE.shift(1)).log()
    return pl.coalesce(gap**2 + garman_klass_variance(), squared_return())


def har_component(bars: int) -> pl.Expr:
    """Log of the mean `bar_variance` over the window: a component of the heterogeneous autoregression.

    Source: Corsi, Journal of Financial Econometrics 7 (2009), in logs.
    """
    return log_variance(mean(bar_variance(), bars))


def semivariance_balance(bars: int) -> pl.Expr:
    """Downside minus upside share of the realised variance: 1 when all moves fell, -1 when all rose; flat 0.

    Source: Barndorff-Nielsen, Kinnebrock and Shephard (2010); Patton and Sheppard, REStat 97 (2015).
    """
    return -mean(signed_square(), bars) / mean(squared_return(), bars).clip(lower_bound=VARIANCE_FLOOR)


def volatility_ratio(short: int, long: int) -> pl.Expr:
    """Log of the realised volatility of a short over that of a long window. Flat series: 0."""
    return realized_volatility(short) - realized_volatility(long)


def volatility_of_volatility(bars: int) -> pl.Expr:
    """Standard deviation over the window of the log 7-bar realised volatility."""
    return spread(realized_volatility(SPEED_WINDOW), bars)


def volatility_zscore(bars: int) -> pl.Expr:
    """Standard deviations between the log 7-bar volatility and its mean over a long window. Flat series: 0."""
    level = realized_volatility(SPEED_WINDOW)
    return (level - mean(level, bars)) / spread(level, bars).clip(lower_bound=DEVIATION_FLOOR)


def jump_share(bars: int) -> pl.Expr:
    """Share of the realised variance that bipower variation does not explain, cut at 0; flat series 0.

    Bipower variation pi/2 |r_t| |r_t-1| hardly sees single jumps. Source: Barndorff-Nielsen and Shephard, Journal of
    Financial Econometrics 2 (2004).
    """
    smooth = mean(bipower(), bars) * (math.pi / 2.0)
    total = mean(squared_return(), bars)
    return ((total - smooth) / total.clip(lower_bound=VARIANCE_FLOOR)).clip(lower_bound=0.0)


def range_surprise(bars: int) -> pl.Expr:
    """Log of this bar's range ln(H/L) over the mean of the window, ranges of at least 0.0001."""
    reach = log_range().clip(lower_bound=DEVIATION_FLOOR)
    return (reach / mean(reach, bars)).log()


def range_to_close(bars: int) -> pl.Expr:
    """Log of Parkinson's over the close-to-close volatility: above 0 when ranges are wide and closes come back."""
    return parkinson(bars) - realized_volatility(bars)


@shared
def return_shock(bars: int) -> pl.Expr:
    """This bar's return over the volatility of the window before it, within 20 standard deviations either way."""
    before = mean(squared_return(), bars).shift(1).clip(lower_bound=VARIANCE_FLOOR).sqrt()
    return (log_return(1) / before).clip(-SHOCK_LIMIT, SHOCK_LIMIT)


def largest_move(short: int, long: int) -> pl.Expr:
    """Log of the largest absolute return of the short window over the volatility of the long one."""
    largest = log_return(1).abs().rolling_max(short, min_samples=enough(short)).clip(lower_bound=DEVIATION_FLOOR)
    return largest.log() - realized_volatility(long)


def large_move_age(bars: int) -> pl.Expr:
    """Bars since a return beyond three standard deviations of the window before it, as a share from 0 (now) to 1.

    log(1 + age) / log(91); 1 where none came in the last 90 bars. Null unless half of those bars could be judged.
    """
    shock = return_shock(bars)
    since = ROW - pl.when(shock.abs() > LARGE_MOVE).then(ROW).forward_fill()
    age = pl.when(since < LARGE_MOVE_HORIZON).then(since).otherwise(LARGE_MOVE_HORIZON)
    enough_known = mean(shock, LARGE_MOVE_HORIZON).is_not_null() & shock.is_not_null()
    return pl.when(enough_known).then((age + 1.0).log() / math.log(LARGE_MOVE_HORIZON + 1.0))


def return_kurtosis(bars: int) -> pl.Expr:
    """Log of the kurtosis (population form, normal = log 3) of one-bar log returns. Flat series: log 3."""
    first, second, third = (mean(moment, bars) for moment in (log_return(1), squared_return(), cubed_return()))
    fourth, deviation = mean(squared_return() ** 2, bars), variation(log_return(1), bars)
    shape = (fourth - 4.0 * first * third + 6.0 * first**2 * second - 3.0 * first**4) / deviation**4
    return pl.when(deviation < DEVIATION_FLOOR).then(math.log(3.0)).otherwise(shape.clip(lower_bound=1.0).log())


def variance_ratio(step: int, bars: int) -> pl.Expr:
    """Log of the variance of `step`-bar returns over `step` times that of one-bar returns; random walk and flat: 0.

    Both by their mean squares. Above 0 moves continue, below they revert. Source: Lo and MacKinlay, RFS 1 (1988).
    """
    return log_variance(mean(log_return(step) ** 2, bars) / step) - log_variance(mean(squared_return(), bars))


@shared
def log_range() -> pl.Expr:
    """Log of the high over the low."""
    return (HIGH / LOW).log()


@shared
def garman_klass_variance() -> pl.Expr:
    """Variance of one bar within its hours, by Garman and Klass."""
    return 0.5 * log_range() ** 2 - (2.0 * math.log(2.0) - 1.0) * (CLOSE / OPEN).log() ** 2


@shared
def rogers_satchell_variance() -> pl.Expr:
    """Variance of one bar within its hours, by Rogers and Satchell."""
    up = (HIGH / CLOSE).log() * (HIGH / OPEN).log()
    return up + (LOW / CLOSE).log() * (LOW / OPEN).log()


@shared
def signed_square() -> pl.Expr:
    """Square of the one-bar log return with the sign of the return."""
    return log_return(1) * log_return(1).abs()


@shared
def bipower() -> pl.Expr:
    """Product of the absolute returns of this bar and the bar before."""
    return log_return(1).abs() * log_return(1).shift(1).abs()


def _log_deviation(variance: pl.Expr) -> pl.Expr:
    return 0.5 * log_variance(variance)
