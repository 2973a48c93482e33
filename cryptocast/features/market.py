"""Market: bitcoin at the same close time, and where a coin stands among the coins that are in the frame at that moment.

The builder adds bitcoin's close to every coin's bars. Cross-sections have scope "moment": they are evaluated over the
rows of one close time, compare the coins' own 30-bar returns and volatilities, and need three coins. They depend on
which coins are in the frame, so serving must hold the same pool as training did; never on the order of coins.
"""

from typing import Final

import polars as pl

from cryptocast.features.expressions import (
    VARIANCE_FLOOR,
    correlation,
    covariance,
    known_with,
    log_return,
    log_variance,
    mean,
    shared,
    variation,
)
from cryptocast.features.volatility import realized_volatility

BITCOIN: Final = "bitcoin"
BITCOIN_CLOSE: Final = "__bitcoin_close"  # the builder's column, where a formula reads it
CROSS_WINDOW: Final = 30
LEAST_COINS: Final = 3


@shared
def bitcoin_return(bars: int) -> pl.Expr:
    """Bitcoin's log return over the same bars; for bitcoin its own. Null if bitcoin is not in the frame."""
    price = pl.col(BITCOIN_CLOSE)
    return (price / price.shift(bars)).log()


@shared
def bitcoin_square() -> pl.Expr:
    """Square of bitcoin's one-bar log return."""
    return bitcoin_return(1) ** 2


def bitcoin_volatility(bars: int) -> pl.Expr:
    """Log of the root mean square of bitcoin's one-bar log returns. Null if bitcoin is not in the frame."""
    return 0.5 * log_variance(mean(bitcoin_square(), bars))


def beta_to_bitcoin(bars: int) -> pl.Expr:
    """Slope of the coin's one-bar log returns on bitcoin's, within -5 and 5; bitcoin has 1. 0 if one is flat."""
    own, bitcoin = known_with(log_return(1), bitcoin_return(1)), known_with(bitcoin_return(1), log_return(1))
    variance = (variation(bitcoin, bars) ** 2).clip(lower_bound=VARIANCE_FLOOR)
    return (covariance(own, bitcoin, bars) / variance).clip(-5.0, 5.0)


def correlation_to_bitcoin(bars: int) -> pl.Expr:
    """Correlation of the coin's one-bar log returns with bitcoin's; bitcoin has 1. 0 if one is flat."""
    return correlation(log_return(1), bitcoin_return(1), bars)


def relative_strength(bars: int) -> pl.Expr:
    """The coin's log return minus bitcoin's."""
    return log_return(bars) - bitcoin_return(bars)


def own_return() -> pl.Expr:
    """What the cross-sections compare: the coin's 30-bar log return."""
    return log_return(CROSS_WINDOW)


def own_volatility() -> pl.Expr:
    """What the cross-sections compare: the log of the coin's 30-bar realised volatility."""
    return realized_volatility(CROSS_WINDOW)


def return_rank() -> pl.Expr:
    """Rank of the coin's 30-bar return among the coins of the moment, from 0 (worst) to 1 (best); ties share."""
    return _rank(own_return())


def volatility_rank() -> pl.Expr:
    """Rank of the coin's 30-bar volatility among the coins of the moment, from 0 (calmest) to 1; ties share."""
    return _rank(own_volatility())


def market_volatility() -> pl.Expr:
    """Mean over coins of the log 30-bar volatility."""
    own = own_volatility()
    return _where_enough(own, own.mean())


def volatility_over_market() -> pl.Expr:
    """The coin's log 30-bar volatility minus the mean over coins."""
    own = own_volatility()
    return _where_enough(own, own - own.mean())


def breadth() -> pl.Expr:
    """Mean sign of the coins' 30-bar returns: 1 when all rose, -1 when all fell."""
    own = own_return()
    return _where_enough(own, own.sign().mean())


def return_dispersion() -> pl.Expr:
    """Standard deviation (ddof 0) over coins of the 30-bar return."""
    own = own_return()
    return _where_enough(own, own.std(ddof=0))


def _rank(own: pl.Expr) -> pl.Expr:
    return _where_enough(own, (own.rank("average") - 1.0) / (own.count() - 1.0))


def _where_enough(own: pl.Expr, value: pl.Expr) -> pl.Expr:
    # The bar itself must be there: a coin in a gap has no place among the others, and is given none.
    return pl.when((own.count() >= LEAST_COINS) & own.is_not_null()).then(value)
