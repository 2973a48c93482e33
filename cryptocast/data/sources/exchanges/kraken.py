"""Kraken: the last 720 bars, whatever is asked for. For refreshing; older bars come as files from its archive.

Source: https://docs.kraken.com/api/docs/rest-api/get-ohlc-data and .../get-tradable-asset-pairs.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from cryptocast.choices import Granularity
from cryptocast.data.coin_names import SPELLINGS
from cryptocast.data.schema import BAR_US
from cryptocast.data.sources.exchanges.base import CallLimits, HttpExchange, MarketCall, Row
from cryptocast.data.sources.exchanges.markets import Listing

UNKNOWN: Final = ("EQuery:Unknown asset pair", "EQuery:Invalid asset pair")
TOO_MANY: Final = ("EGeneral:Too many requests", "EAPI:Rate limit exceeded")


class Kraken(HttpExchange):
    """Volumes in coins, with their mean price. Errors come with status 200."""

    name: ClassVar[str] = "kraken"
    title: ClassVar[str] = "Kraken"
    address: ClassVar[str] = "https://api.kraken.com/0/public"
    opened: ClassVar[datetime] = datetime(2013, 9, 10, tzinfo=UTC)
    limits = CallLimits(page_bars=720, calls=6, window_s=6.0, keeps_bars=720)  # about one a second

    def call(self, symbol: str, granularity: Granularity, first_s: int, last_s: int) -> MarketCall:  # noqa: ARG002 - no end
        """`since` leaves out the bar that opens then."""
        minutes = BAR_US[granularity] // 60_000_000
        return MarketCall("/OHLC", {"pair": symbol, "interval": str(minutes), "since": str(first_s - 1)})

    def rows(self, answer: Any) -> Iterable[Row]:
        """Below a key that is another name of the pair. A bar without trades has no mean price."""
        (bars,) = (value for name, value in answer["result"].items() if name != "last")
        for opened, first, high, low, last, mean, base, _ in bars:
            price = float(mean) or float(last)
            yield Row(int(opened), float(first), float(high), float(low), float(last), float(base), price * float(base))

    def markets_call(self) -> MarketCall:
        """Every pair."""
        return MarketCall("/AssetPairs", {})

    def markets(self, answer: Any) -> Iterable[Listing]:
        """XBT is what others call BTC."""
        for pair in answer["result"].values():
            if "wsname" not in pair:  # of the dark pool
                continue
            base, quote = (SPELLINGS.get(name, name) for name in pair["wsname"].split("/"))
            yield Listing(pair["altname"], base, quote, pair.get("status", "online") == "online")

    def complaint(self, status: int, answer: Any) -> str | None:
        """The first of its list of errors."""
        errors = answer.get("error") if isinstance(answer, dict) else None
        return str(errors[0]) if errors else None if status == 200 else str(status)

    def is_unknown_market(self, code: str) -> bool:
        """Unknown asset pair."""
        return code in UNKNOWN

    def is_busy(self, code: str) -> bool:
        """Too many requests, of this address or of all."""
        return code in TOO_MANY


KRAKEN: Final = Kraken()
