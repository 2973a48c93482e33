"""What is worth telling of a coin and of its versions: each a condition that holds, or does not."""

from datetime import datetime
from typing import Final

import msgspec
import numpy as np

from cryptocast.data.sources.table import AUTO, is_fetched
from cryptocast.market import Market
from cryptocast.models.tails import interval_ends
from cryptocast.registry import PRODUCTION, Condition, LedgerRow, NoticeCode, Reason, Registry, Version, VersionKey
from cryptocast.registry.live_rows import WIDTH_OF
from cryptocast.times import as_microseconds
from cryptocast.workflows.fallbacks import Fallback, FallbackCode
from cryptocast.workflows.forecast import BASELINE
from cryptocast.workflows.pretrained import incumbent
from cryptocast.workflows.reports import CoinForecast

TAILS: Final = (0.01, 0.99)
MOST_WIDTHS: Final = 365
LEAST_WIDTHS: Final = 60  # of fewer the outer percents say nothing


def degraded(version: Version, reasons: tuple[Reason, ...]) -> tuple[Condition, ...]:
    """That a version does worse live than it should; none of one that is not in production, which serves nobody."""
    if PRODUCTION not in version.aliases:
        return ()
    facts = {**version.key.columns, "version": version.name, "reasons": msgspec.to_builtins(reasons)}
    return (Condition(NoticeCode.DEGRADED, str(version.key), facts if reasons else None),)


def stale(coin: str, market: Market, choice: str, *, is_stale: bool, last: datetime) -> tuple[Condition, ...]:
    """That the candles of a coin are late. choice: of the source by the settings; of a file or a sample that was chosen
    nothing is said, since nobody brings more. last: close of the last bar."""
    if choice != AUTO and not is_fetched(choice):
        return ()
    facts = {"coin": coin, **msgspec.structs.asdict(market), "last": last.isoformat()}
    # Not of the source: while one that failed is stood in for by another, it is one condition.
    subject = f"{coin} ({market.vs}, {market.granularity})"
    return (Condition(NoticeCode.STALE, subject, facts if is_stale else None),)


def answering(registry: Registry, coin: str, market: Market) -> Version | None:
    """The version that answers for a coin unless another one is named: the best, else the model that came with the
    package; None: the baseline."""
    return registry.best(coin, market) or incumbent(registry, VersionKey(coin, market, BASELINE))


def unusual_width(registry: Registry, coin: str, market: Market) -> tuple[Condition, ...]:
    """That the newest live forecast of whatever answers for a coin leaves its usual width: its 80 % interval of the
    shortest horizon is wider or narrower than all but 1 % of those of the 365 bars before whose outcome is known. None
    where fewer than 60 tell."""
    version = answering(registry, coin, market)
    key, number = (VersionKey(coin, market, BASELINE), 0) if version is None else (version.key, version.number)
    newest = registry.newest_history(key, number, 1)
    if not newest:
        return ()
    rows = registry.live_columns(key, number)
    known = (rows["horizon"] == newest[0].horizon) & (rows["issued_at"] < as_microseconds(newest[0].issued_at))
    widths = rows["width"][known][-MOST_WIDTHS:]
    if len(widths) < LEAST_WIDTHS:
        return ()
    width, (low, high) = _width(newest[0]), map(float, np.quantile(widths, TAILS))
    facts = {**key.columns, "level": WIDTH_OF, "horizon": newest[0].horizon, "width": width, "low": low, "high": high}
    facts["bars"] = len(widths)
    subject = f"{coin} ({market})"
    return (Condition(NoticeCode.UNUSUAL_WIDTH, subject, None if low <= width <= high else facts),)


def _width(row: LedgerRow) -> float:
    """As a share of the price at issue."""
    lower, upper = interval_ends(np.array([row.quantiles]), WIDTH_OF)
    return float(np.exp(upper[0]) - np.exp(lower[0]))


def standing_fallback(forecast: CoinForecast) -> Fallback | None:
    """Why another model answers than the one that was asked for; None: it does not, or nothing has been trained yet,
    which is no failure."""
    fallback = forecast.fallback_reason
    untrained = forecast.model_requested == "auto" and fallback is not None and fallback.code is FallbackCode.NO_VERSION
    return None if untrained else fallback


def lasting_fallback(forecast: CoinForecast, minutes: float | None) -> Condition:
    """That another model answers for a coin. minutes: for how long; None: it does not."""
    fallback = standing_fallback(forecast)
    names = ("coin", "source", "vs", "granularity", "model_requested", "model_used")
    facts = {name: getattr(forecast, name) for name in names}
    facts |= {"minutes": minutes, "fallback": msgspec.to_builtins(fallback)}
    subject = f"{forecast.coin} ({forecast.vs}, {forecast.granularity})"
    return Condition(NoticeCode.FALLBACK, subject, None if minutes is None else facts)
