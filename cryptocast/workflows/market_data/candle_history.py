"""The candles that forecasts rest on, as the store has them: nothing is fetched for it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Literal, TypeAlias

import msgspec

from cryptocast.errors import CryptocastError, DataError, UpstreamError
from cryptocast.times import Moment
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.market_data.resolve import CoinCandles, obtain
from cryptocast.workflows.reports import CoinError, Document, MarketRow

COLUMNS: Final = ("close_time", "open", "high", "low", "close", "volume", "range_known")


class CandleRow(Document, frozen=True, kw_only=True, gc=False):
    """One bar."""

    close_time: Moment
    open: float
    high: float
    low: float
    close: float
    volume: float | None
    range_known: bool


class CandleHistory(MarketRow, frozen=True, kw_only=True):
    """The last bars of one coin."""

    coin: str
    market: str | None
    fetched_at: Moment
    stale: bool
    candles: tuple[CandleRow, ...]


class CandlesDocument(Document, frozen=True, kw_only=True):
    """The last bars of several coins."""

    schema: Literal["cryptocast.candles/1"] = "cryptocast.candles/1"
    series: tuple[CandleHistory, ...]
    errors: tuple[CoinError, ...] = ()
    names: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


Histories: TypeAlias = Mapping[str, CandleHistory | CryptocastError]


def candle_histories(context: Context, request: Resolved, last: int) -> Histories:
    """The last bars of each coin, oldest first, or why there are none."""
    outcomes = obtain(context, replace(request, as_of=None, stored=False), fetch_allowed=False)
    return {coin: _history(coin, request, outcome, last) for coin, outcome in outcomes.items()}


def _history(
    coin: str, request: Resolved, outcome: CoinCandles | CryptocastError, last: int
) -> CandleHistory | CryptocastError:
    if isinstance(outcome, UpstreamError):
        return DataError(f"There are no {request.granularity} candles of {coin} in {request.vs} in the store.")
    if isinstance(outcome, CryptocastError):
        return outcome
    provenance = outcome.candles.provenance
    rows = outcome.candles.frame.select(COLUMNS).tail(last).iter_rows(named=True)
    return CandleHistory(
        coin=coin,
        **msgspec.structs.asdict(provenance.key.market),
        market=provenance.market,
        fetched_at=provenance.fetched_at,
        stale=outcome.stale,
        candles=tuple(CandleRow(**row) for row in rows),
    )
