"""Volatility: how far prices move, by several estimators, over several windows. What the main model lives on.

Levels are logs of the standard deviation (or, for the HAR components, of the variance) of one bar, so that a model sees
doubling as a constant step. A variance below 1e-8 (moves of 0.01 %) counts as 1e-8: a flat series sits on that floor.
Estimators that use highs and lows are null on bars that only saw a close. Windows as in `bars.enough`.
"""

import math

from cryptocast.features.formula import (
    CLOSE,
    DEVIATION_FLOOR,
    HIGH,
    LOW,
    OPEN,
    VARIANCE_FLOOR,
    Formula,
    coalesce,
    enough,
    kurtosis,
    log_return,
    log_variance,
    mean,
    spread,
    where,
)

__all__ = [
    "bar_variance",
    "ewma_volatility",
    "garman_klass",
    "har_component",
    "jump_share",
    "large_move_age",
    "largest_move",
    "parkinson",
    "range_surprise",
    "range_to_close",
    "realized_volatility",
    "return_kurtosis",
    "return_shock",
    "rogers_satchell",
    "semivariance_balance",
    "variance_ratio",
    "volatility_of_volatility",
    "volatility_ratio",
    "volatility_zscore",
]

SHOCK_LIMIT = 20.0  # standard deviations; a bad print says no more than "very large"
LARGE_MOVE = 3.0  # standard deviations
LARGE_MOVE_HORIZON = 90  # bars after which a large move is forgotten
SPEED_WINDOW = 7


def realized_volatility(bars: int) -> Formula:
    """Log of the root mean square of one-bar log returns. The mean return is taken as 0; not annualised."""
    return _log_deviation(mean(log_return(1) ** 2, bars))


def ewma_volatility(decay: float, least: int) -> Formula:
    """Log volatility from exponentially weighted squared returns, weights decay^k normalised, from `least` returns on.

    Source: RiskMetrics Technical Document (1996), with weights that sum to one instead of a start value.
    """
    return _log_deviation((log_return(1) ** 2).decayed_mean(decay, least))


def parkinson(bars: int) -> Formula:
    """Log volatility from ranges: mean of ln(H/L)^2 / (4 ln 2). Source: Parkinson, Journal of Business 53 (1980)."""
    return _log_deviation(mean((HIGH / LOW).log() ** 2 / (4.0 * math.log(2.0)), bars))


def garman_klass(bars: int) -> Formula:
    """Log volatility from mean 0.5 ln(H/L)^2 - (2 ln 2 - 1) ln(C/O)^2.

    Source: Garman and Klass, Journal of Business 53 (1980), equation 20.
    """
    return _log_deviation(mean(_garman_klass(), bars))


def rogers_satchell(bars: int) -> Formula:
    """Log volatility from mean ln(H/C) ln(H/O) + ln(L/C) ln(L/O): unmoved by a drift.

    Source: Rogers and Satchell, Annals of Applied Probability 1 (1991).
    """
    up = (HIGH / CLOSE).log() * (HIGH / OPEN).log()
    down = (LOW / CLOSE).log() * (LOW / OPEN).log()
    return _log_deviation(mean(up + down, bars))


def bar_variance() -> Formula:
    """Variance of one bar from what is known of it: squared opening gap plus Garman-Klass, else the squared return.

    Null where the bar or the one before is missing. A bar that only saw its close gives the squared return, which has
    the same mean and about seven times the noise.
    """
    gap = (OPEN / CLOSE.shift(1)).log()
    return coalesce(gap**2 + _garman_klass(), log_return(1) ** 2)


def har_component(bars: int) -> Formula:
    """Log of the mean `bar_variance` over the window: a component of the heterogeneous autoregression.

    Source: Corsi, Journal of Financial Econometrics 7 (2009), in logs.
    """
    return log_variance(mean(bar_variance(), bars))


def semivariance_balance(bars: int) -> Formula:
    """Downside minus upside share of the realised variance: 1 when all moves fell, -1 when all rose; flat 0.

    Source: Barndorff-Nielsen, Kinnebrock and Shephard (2010); Patton and Sheppard, REStat 97 (2015).
    """
    returns = log_return(1)
    return -mean(returns * returns.abs(), bars) / mean(returns**2, bars).at_least(VARIANCE_FLOOR)


def volatility_ratio(short: int, long: int) -> Formula:
    """Log of the realised volatility of a short over that of a long window. Flat series: 0."""
    return realized_volatility(short) - realized_volatility(long)


def volatility_of_volatility(bars: int) -> Formula:
    """Standard deviation over the window of the log 7-bar realised volatility."""
    return spread(realized_volatility(SPEED_WINDOW), bars)


def volatility_zscore(bars: int) -> Formula:
    """Standard deviations between the log 7-bar volatility and its mean over a long window. Flat series: 0."""
    level = realized_volatility(SPEED_WINDOW)
    return (level - mean(level, bars)) / spread(level, bars).at_least(DEVIATION_FLOOR)


def jump_share(bars: int) -> Formula:
    """Share of the realised variance that bipower variation does not explain, cut at 0; flat series 0.

    Bipower variation pi/2 |r_t| |r_t-1| hardly sees single jumps. Source: Barndorff-Nielsen and Shephard, Journal of
    Financial Econometrics 2 (2004).
    """
    returns = log_return(1)
    smooth = mean(returns.abs() * returns.shift(1).abs(), bars) * (math.pi / 2.0)
    total = mean(returns**2, bars)
    return ((total - smooth) / total.at_least(VARIANCE_FLOOR)).at_least(0.0)


def range_surprise(bars: int) -> Formula:
    """Log of this bar's range ln(H/L) over the mean of the window, ranges of at least 0.0001."""
    reach = (HIGH / LOW).log().at_least(DEVIATION_FLOOR)
    return (reach / mean(reach, bars)).log()


def range_to_close(bars: int) -> Formula:
    """Log of Parkinson's over the close-to-close volatility: above 0 when ranges are wide and closes come back."""
    return parkinson(bars) - realized_volatility(bars)


def return_shock(bars: int) -> Formula:
    """This bar's return over the volatility of the window before it, within 20 standard deviations either way."""
    before = mean(log_return(1) ** 2, bars).shift(1).at_least(VARIANCE_FLOOR).sqrt()
    return (log_return(1) / before).within(-SHOCK_LIMIT, SHOCK_LIMIT)


def largest_move(short: int, long: int) -> Formula:
    """Log of the largest absolute return of the short window over the volatility of the long one."""
    largest = log_return(1).abs().rolling_max(short, enough(short)).at_least(DEVIATION_FLOOR)
    return largest.log() - realized_volatility(long)


def large_move_age(bars: int) -> Formula:
    """Bars since a return beyond three standard deviations of the window before it, as a share from 0 (now) to 1.

    log(1 + age) / log(91); 1 where none came in the last 90 bars. Null unless half of those bars could be judged.
    """
    shock = return_shock(bars)
    age = (shock.abs() > LARGE_MOVE).bars_since().at_most(LARGE_MOVE_HORIZON)
    judged = mean(shock, LARGE_MOVE_HORIZON).known() & shock.known()
    return where(judged, (age + 1.0).log() / math.log(LARGE_MOVE_HORIZON + 1.0))


def return_kurtosis(bars: int) -> Formula:
    """Log of the kurtosis (population form, normal = log 3) of one-bar log returns. Flat series: log 3."""
    return kurtosis(log_return(1), bars).at_least(1.0).log()


def variance_ratio(step: int, bars: int) -> Formula:
    """Log of the variance of `step`-bar returns over `step` times that of one-bar returns; random walk and flat: 0.

    Both by their mean squares. Above 0 moves continue, below they revert. Source: Lo and MacKinlay, RFS 1 (1988).
    """
    return log_variance(mean(log_return(step) ** 2, bars) / step) - log_variance(mean(log_return(1) ** 2, bars))


def _garman_klass() -> Formula:
    return 0.5 * (HIGH / LOW).log() ** 2 - (2.0 * math.log(2.0) - 1.0) * (CLOSE / OPEN).log() ** 2


def _log_deviation(variance: Formula) -> Formula:
    return 0.5 * log_variance(variance)
