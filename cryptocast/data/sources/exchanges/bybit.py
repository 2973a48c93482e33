"""Bybit: spot since 2021, in USDT and USDC.

Source: https://bybit-exchange.github.io/docs/v5/market/kline and .../instrument.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from cryptocast.choices import Granularity
from cryptocast.data.sources.exchanges.base import CallLimits, HttpExchange, MarketCall, Row
from cryptocast.data.sources.exchanges.markets import Listing

INTERVALS: Final[dict[Granularity, str]] = {"daily": "D", "hourly": "60"}
INVALID: Final = "10001"  # parameters; with a symbol of the list it can only be the symbol
TOO_MANY: Final = ("10006", "10018")


class Bybit(HttpExchange):
    """Volumes in both sides. Errors come with status 200."""

    name: ClassVar[str] = "bybit"
    title: ClassVar[str] = "Bybit"
    address: ClassVar[str] = "https://api.bybit.com/v5"
    opened: ClassVar[datetime] = datetime(2021, 7, 1, tzinfo=UTC)
    limits = CallLimits(page_bars=1000, calls=480, window_s=5.0)  # 600 in 5 seconds

    def call(self, symbol: str, granularity: Granularity, first_s: int, last_s: int) -> MarketCall:
        """Both ends are times of opening, in milliseconds; without a category the market would be a linear future."""
        span = {"start": str(first_s * 1000), "end": str(last_s * 1000), "limit": str(self.limits.page_bars)}
        bar = {"category": "spot", "symbol": symbol, "interval": INTERVALS[granularity]}
        return MarketCall("/market/kline", {**bar, **span})

    def rows(self, answer: Any) -> Iterable[Row]:
        """Newest first, strings; nothing says which bar is open."""
        for opened, first, high, low, last, base, quote in answer["result"]["list"]:
            prices = (float(first), float(high), float(low), float(last))
            yield Row(int(opened) // 1000, *prices, float(base), float(quote))

    def markets_call(self) -> MarketCall:
        """Spot has one page."""
        return MarketCall("/market/instruments-info", {"category": "spot", "limit": "1000"})

    def markets(self, answer: Any) -> Iterable[Listing]:
        """Symbols are BTCUSDT."""
        for one in answer["result"]["list"]:
            yield Listing(one["symbol"], one["baseCoin"], one["quoteCoin"], one["status"] == "Trading")

    def complaint(self, status: int, answer: Any) -> str | None:
        """A code other than 0."""
        code = answer.get("retCode") if isinstance(answer, dict) else None
        return str(code) if code not in (None, 0) else None if status == 200 else str(status)

    def is_unknown_market(self, code: str) -> bool:
        """Invalid symbol."""
        return code == INVALID

    def is_busy(self, code: str) -> bool:
        """Too many visits."""
        return code in TOO_MANY


BYBIT: Final = Bybit()
