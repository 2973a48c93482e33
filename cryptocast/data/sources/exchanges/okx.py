"""OKX: since 2018, in USDT and USDC.

Source: https://www.okx.com/docs-v5/en/, "Get candlesticks history" and "Get instruments".
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from cryptocast.choices import Granularity
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.exchanges.base import CallLimits, HttpExchange, MarketCall, Row
from cryptocast.data.sources.exchanges.markets import Listing

# 1D opens at 16:00 UTC, which is midnight in Hong Kong.
BARS: Final[dict[Granularity, str]] = {"daily": "1Dutc", "hourly": "1H"}
NO_INSTRUMENT: Final = "51001"
TOO_MANY: Final = ("50011", "50061")


class Okx(HttpExchange):
    """Volumes in both sides. Errors come with status 200."""

    name: ClassVar[str] = "okx"
    title: ClassVar[str] = "OKX"
    address: ClassVar[str] = "https://www.okx.com/api/v5"
    opened: ClassVar[datetime] = datetime(2018, 1, 1, tzinfo=UTC)
    limits = CallLimits(page_bars=300, calls=16, window_s=2.0)  # 20 in 2 seconds

    def call(self, symbol: str, granularity: Granularity, first_s: int, last_s: int) -> MarketCall:
        """`after` and `before` are times of opening and do not count themselves; `after` means older than."""
        step_ms = BAR_US[granularity] // 1000
        span = {"after": str(last_s * 1000 + step_ms), "before": str(first_s * 1000 - 1)}
        bar = {"instId": symbol, "bar": BARS[granularity], "limit": str(self.limits.page_bars)}
        return MarketCall("/market/history-candles", {**bar, **span})

    def rows(self, answer: Any) -> Iterable[Row]:
        """Newest first, strings; `confirm` is 0 while a bar is open."""
        for opened, first, high, low, last, base, _, quote, confirm in answer["data"]:
            if confirm == "1":
                prices = (float(first), float(high), float(low), float(last))
                yield Row(int(opened) // 1000, *prices, float(base), float(quote))

    def markets_call(self) -> MarketCall:
        """Spot only."""
        return MarketCall("/public/instruments", {"instType": "SPOT"})

    def markets(self, answer: Any) -> Iterable[Listing]:
        """Symbols are BTC-USDT."""
        for one in answer["data"]:
            yield Listing(one["instId"], one["baseCcy"], one["quoteCcy"], one["state"] == "live")

    def complaint(self, status: int, answer: Any) -> str | None:
        """A code other than 0."""
        code = answer.get("code") if isinstance(answer, dict) else None
        return str(code) if code not in (None, "0") else None if status == 200 else str(status)

    def is_unknown_market(self, code: str) -> bool:
        """The instrument does not exist."""
        return code == NO_INSTRUMENT

    def is_busy(self, code: str) -> bool:
        """Too many requests."""
        return code in TOO_MANY


OKX: Final = Okx()
