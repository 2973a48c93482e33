"""Coinbase Exchange: dollars since 2015.

Source: https://docs.cdp.coinbase.com/exchange/reference/exchangerestapi_getproductcandles and .../getproducts.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from cryptocast.choices import Granularity
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.exchanges.base import CallLimits, HttpExchange, MarketCall, Row
from cryptocast.data.sources.exchanges.markets import Listing


class Coinbase(HttpExchange):
    """Volumes in coins; no bar where nobody traded."""

    name: ClassVar[str] = "coinbase"
    title: ClassVar[str] = "Coinbase"
    address: ClassVar[str] = "https://api.exchange.coinbase.com"
    opened: ClassVar[datetime] = datetime(2015, 1, 1, tzinfo=UTC)
    limits = CallLimits(page_bars=300, calls=8, window_s=1.0)  # 10 a second

    def call(self, symbol: str, granularity: Granularity, first_s: int, last_s: int) -> MarketCall:
        """Both ends count; more than 300 bars are an error."""
        span = {name: _iso(at) for name, at in (("start", first_s), ("end", last_s))}
        return MarketCall(f"/products/{symbol}/candles", {"granularity": str(BAR_US[granularity] // 1_000_000), **span})

    def rows(self, answer: Any) -> Iterable[Row]:
        """Newest first; low before high, open after both."""
        for opened, low, high, first, last, volume in answer:
            yield Row(int(opened), float(first), float(high), float(low), float(last), float(volume))

    def markets_call(self) -> MarketCall:
        """Every product."""
        return MarketCall("/products", {})

    def markets(self, answer: Any) -> Iterable[Listing]:
        """Those that are delisted stay in the list, and their bars too."""
        for product in answer:
            trades = product["status"] == "online" and not product.get("trading_disabled")
            yield Listing(product["id"], product["base_currency"], product["quote_currency"], trades)

    def is_unknown_market(self, code: str) -> bool:
        """The address of a product that does not exist does not exist."""
        return code == "404"


COINBASE: Final = Coinbase()


def _iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
