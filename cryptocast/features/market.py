"""Market: bitcoin at the same close time, and where a coin stands among the coins that are in the frame at that moment.

The builder adds bitcoin's close to every coin's bars. Cross-sections have scope "moment": they compare the coins' own
30-bar returns and volatilities at one close time, and need three coins. They depend on which coins are in the frame, so
serving must hold the same pool as training did; never on the order of coins.
"""

from typing import Final

from cryptocast.features.formula import (
    VARIANCE_FLOOR,
    Formula,
    across,
    column,
    correlation,
    covariance,
    known_with,
    log_return,
    log_variance,
    mean,
    variation,
    where,
)
from cryptocast.features.volatility import realized_volatility

__all__ = [
    "BITCOIN",
    "BITCOIN_CLOSE",
    "CROSS_WINDOW",
    "OWN_RETURN",
    "OWN_VOLATILITY",
    "beta_to_bitcoin",
    "bitcoin_return",
    "bitcoin_volatility",
    "breadth",
    "correlation_to_bitcoin",
    "market_volatility",
    "own_return",
    "own_volatility",
    "relative_strength",
    "return_dispersion",
    "return_rank",
    "volatility_over_market",
    "volatility_rank",
]

BITCOIN: Final = "bitcoin"
# Columns that the builder adds for features written as Polars expressions, where they read them.
BITCOIN_CLOSE: Final = "__bitcoin_close"
OWN_RETURN: Final = "__own_return"
OWN_VOLATILITY: Final = "__own_volatility"
BITCOINS: Final = column("bitcoin_close")
CROSS_WINDOW = 30
LEAST_COINS = 3


def bitcoin_return(bars: int) -> Formula:
    """Bitcoin's log return over the same bars; for bitcoin its own. Null if bitcoin is not in the frame."""
    return (BITCOINS / BITCOINS.shift(bars)).log()


def bitcoin_volatility(bars: int) -> Formula:
    """Log of the root mean square of bitcoin's one-bar log returns. Null if bitcoin is not in the frame."""
    return 0.5 * log_variance(mean(bitcoin_return(1) ** 2, bars))


def beta_to_bitcoin(bars: int) -> Formula:
    """Slope of the coin's one-bar log returns on bitcoin's, within -5 and 5; bitcoin has 1. 0 if one is flat."""
    own, bitcoin = log_return(1), bitcoin_return(1)
    variance = (variation(known_with(bitcoin, own), bars) ** 2).at_least(VARIANCE_FLOOR)
    return (covariance(own, bitcoin, bars) / variance).within(-5.0, 5.0)


def correlation_to_bitcoin(bars: int) -> Formula:
    """Correlation of the coin's one-bar log returns with bitcoin's; bitcoin has 1. 0 if one is flat."""
    return correlation(log_return(1), bitcoin_return(1), bars)


def relative_strength(bars: int) -> Formula:
    """The coin's log return minus bitcoin's."""
    return log_return(bars) - bitcoin_return(bars)


def own_return() -> Formula:
    """What the cross-sections compare: the coin's 30-bar log return."""
    return log_return(CROSS_WINDOW)


def own_volatility() -> Formula:
    """What the cross-sections compare: the log of the coin's 30-bar realised volatility."""
    return realized_volatility(CROSS_WINDOW)


def return_rank() -> Formula:
    """Rank of the coin's 30-bar return among the coins of the moment, from 0 (worst) to 1 (best); ties share."""
    return _rank(own_return())


def volatility_rank() -> Formula:
    """Rank of the coin's 30-bar volatility among the coins of the moment, from 0 (calmest) to 1; ties share."""
    return _rank(own_volatility())


def market_volatility() -> Formula:
    """Mean over coins of the log 30-bar volatility."""
    return _where_enough(own_volatility(), across("mean", own_volatility()))


def volatility_over_market() -> Formula:
    """The coin's log 30-bar volatility minus the mean over coins."""
    own = own_volatility()
    return _where_enough(own, own - across("mean", own))


def breadth() -> Formula:
    """Mean sign of the coins' 30-bar returns: 1 when all rose, -1 when all fell."""
    own = own_return()
    return _where_enough(own, across("mean", own.sign()))


def return_dispersion() -> Formula:
    """Standard deviation (ddof 0) over coins of the 30-bar return."""
    own = own_return()
    return _where_enough(own, across("std", own))


def _rank(own: Formula) -> Formula:
    return _where_enough(own, (across("rank", own) - 1.0) / (across("count", own) - 1.0))


def _where_enough(own: Formula, value: Formula) -> Formula:
    # The bar itself must be there: a coin in a gap has no place among the others, and is given none.
    return where((across("count", own) >= LEAST_COINS) & own.known(), value)
