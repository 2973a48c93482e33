"""Binance: the deepest markets, since 2017, from the host that serves market data everywhere.

Source: https://github.com/binance/binance-spot-api-docs, rest-api.md and faqs/market_data_only.md.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from cryptocast.choices import Granularity
from cryptocast.data.sources.exchanges.base import CallLimits, HttpExchange, MarketCall, Row
from cryptocast.data.sources.exchanges.markets import Listing

INTERVALS: Final[dict[Granularity, str]] = {"daily": "1d", "hourly": "1h"}
INVALID_SYMBOL: Final = "-1121"
TOO_MANY: Final = "-1003"


class Binance(HttpExchange):
    """Its dollars are USDT and USDC; volumes in both sides."""

    name: ClassVar[str] = "binance"
    title: ClassVar[str] = "Binance"
    address: ClassVar[str] = "https://data-api.binance.vision/api/v3"
    opened: ClassVar[datetime] = datetime(2017, 7, 14, tzinfo=UTC)
    limits = CallLimits(page_bars=1000, calls=1200)  # 6,000 of weight a minute, 2 a call

    def call(self, symbol: str, granularity: Granularity, first_s: int, last_s: int) -> MarketCall:
        """Both ends are times of opening, in milliseconds of UTC."""
        span = {"startTime": str(first_s * 1000), "endTime": str(last_s * 1000), "limit": str(self.limits.page_bars)}
        return MarketCall("/klines", {"symbol": symbol, "interval": INTERVALS[granularity], **span})

    def rows(self, answer: Any) -> Iterable[Row]:
        """Oldest first, in twelve columns, numbers as strings."""
        for opened, first, high, low, last, base, _, quote, *_ in answer:
            prices = (float(first), float(high), float(low), float(last))
            yield Row(int(opened) // 1000, *prices, float(base), float(quote))

    def markets_call(self) -> MarketCall:
        """Spot only: other permissions are for margin and leveraged tokens."""
        return MarketCall("/exchangeInfo", {"permissions": "SPOT"})

    def markets(self, answer: Any) -> Iterable[Listing]:
        """Symbols that went have no bars any more."""
        for symbol in answer["symbols"]:
            trades = symbol["status"] == "TRADING"
            yield Listing(symbol["symbol"], symbol["baseAsset"], symbol["quoteAsset"], trades)

    def complaint(self, status: int, answer: Any) -> str | None:
        """A negative code."""
        code = answer.get("code") if isinstance(answer, dict) else None
        return str(code) if code is not None else None if status == 200 else str(status)

    def is_unknown_market(self, code: str) -> bool:
        """Invalid symbol."""
        return code == INVALID_SYMBOL

    def is_busy(self, code: str) -> bool:
        """Too much weight."""
        return code == TOO_MANY


BINANCE: Final = Binance()
