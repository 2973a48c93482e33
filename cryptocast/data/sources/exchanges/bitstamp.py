"""Bitstamp: dollars since 2011.

Source: https://www.bitstamp.net/api/, "OHLC data" and "Markets".
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from cryptocast.choices import Granularity
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.exchanges.base import CallLimits, HttpExchange, MarketCall, Row
from cryptocast.data.sources.exchanges.markets import Listing


class Bitstamp(HttpExchange):
    """Volumes in coins."""

    name: ClassVar[str] = "bitstamp"
    title: ClassVar[str] = "Bitstamp"
    address: ClassVar[str] = "https://www.bitstamp.net/api/v2"
    opened: ClassVar[datetime] = datetime(2011, 8, 18, tzinfo=UTC)
    limits = CallLimits(page_bars=1000, calls=900)  # 10,000 in ten minutes

    def call(self, symbol: str, granularity: Granularity, first_s: int, last_s: int) -> MarketCall:
        """With both ends the end counts; the open bar is left out by its own switch, and by the clock."""
        span = {"start": str(first_s), "end": str(last_s), "limit": str(self.limits.page_bars)}
        step = {"step": str(BAR_US[granularity] // 1_000_000), "exclude_current_candle": "true"}
        return MarketCall(f"/ohlc/{symbol}/", {**step, **span})

    def rows(self, answer: Any) -> Iterable[Row]:
        """All of it is strings."""
        for bar in answer["data"]["ohlc"]:
            numbers = (float(bar[name]) for name in ("open", "high", "low", "close", "volume"))
            yield Row(int(bar["timestamp"]), *numbers)

    def markets_call(self) -> MarketCall:
        """Spot and perpetual."""
        return MarketCall("/markets/", {})

    def markets(self, answer: Any) -> Iterable[Listing]:
        """Symbols are btcusd."""
        for one in answer:
            if one["market_type"] == "SPOT":
                trades = one["trading"] == "Enabled"
                yield Listing(one["market_symbol"], one["base_currency"], one["counter_currency"], trades)

    def is_unknown_market(self, code: str) -> bool:
        """The address of a pair that does not exist does not exist."""
        return code == "404"


BITSTAMP: Final = Bitstamp()
