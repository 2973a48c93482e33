"""Which market of an exchange a coin and a currency mean: the list of its markets, and the choice among them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from cryptocast.data.coin_names import STABLE, CoinTicker
from cryptocast.data.parquet import write_atomically

FRESH: Final = timedelta(days=1)


class Listing(msgspec.Struct, frozen=True, array_like=True):
    """A spot market: its symbol in calls, the tickers of both sides in common spelling, and whether it trades now."""

    symbol: str
    base: str
    quote: str
    trades: bool = True

    @property
    def name(self) -> str:
        """BTC/USDT."""
        return f"{self.base}/{self.quote}"


class StoredList(msgspec.Struct, frozen=True):
    """The markets of an exchange at one moment."""

    fetched_at: datetime
    listings: tuple[Listing, ...]

    def is_fresh(self, now: datetime) -> bool:
        """Whether it is younger than a day; a list from the future is not."""
        return timedelta(0) <= now - self.fetched_at < FRESH


@dataclass(frozen=True, slots=True)
class MarketList:
    """The list of markets in a file."""

    path: Path

    def read(self) -> StoredList | None:
        """None where there is none, or none that can be read: it can be fetched again."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=StoredList)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def write(self, listings: Sequence[Listing], now: datetime) -> None:
        """Raises DataError where the disk refuses."""
        write_atomically(self.path, msgspec.json.encode(StoredList(now, tuple(listings))))


@dataclass(frozen=True, slots=True)
class Traded:
    """The market in which a coin is traded, and between which moments its ticker means the coin."""

    listing: Listing
    since: datetime | None = None
    until: datetime | None = None

    def clipped(self, start: datetime, end: datetime) -> tuple[datetime, datetime]:
        """A span cut to these moments; empty (start >= end) where it lies outside."""
        return max(start, self.since or start), min(end, self.until or end)


def choose_market(names: Iterable[CoinTicker], listings: Iterable[Listing], vs: str) -> Traded | None:
    """The market of a coin in a currency; where there is none in dollars, in the first stablecoin of the dollar that
    has one. Markets that trade come before those that do not any more. None where the exchange has none at all."""
    by_name = {(listing.base, listing.quote): listing for listing in sorted(listings, key=lambda one: one.trades)}
    quotes = (vs.upper(), *STABLE.get(vs, ()))
    found = [
        Traded(by_name[name.ticker, quote], name.since, name.until)
        for quote in quotes
        for name in names
        if (name.ticker, quote) in by_name
    ]
    return next((traded for traded in found if traded.listing.trades), found[0] if found else None)
