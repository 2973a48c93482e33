"""Which market of an exchange a coin and a currency mean: tickers, between which days they meant it, the choice."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

import msgspec

from cryptocast.data.parquet import write_atomically

FRESH: Final = timedelta(days=1)
# Where a coin has no market in dollars, one in a stablecoin of the dollar is the next best, and said.
STABLE: Final[Mapping[str, tuple[str, ...]]] = {"usd": ("USDT", "USDC")}


@dataclass(frozen=True, slots=True)
class CoinTicker:
    """A ticker that meant a coin between two moments, None: without a bound. since included, until not."""

    coin: str
    ticker: str
    since: datetime | None = None
    until: datetime | None = None


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


@cache
def ticker_table() -> tuple[CoinTicker, ...]:
    """Every row of the table, in its order."""
    text = resources.files("cryptocast.data.sources.exchanges").joinpath("coins.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(CoinTicker(row["id"], row["ticker"], _day(row["since"]), _day(row["until"])) for row in rows)


def _day(text: str) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None


def tickers_of(coin: str, own: Mapping[str, str]) -> tuple[CoinTicker, ...]:
    """What a coin is called on exchanges, best first. own: the user's names, which replace those of the table."""
    if coin in own:
        return (CoinTicker(coin, own[coin].upper()),)
    return tuple(row for row in ticker_table() if row.coin == coin)


def coin_of(text: str) -> str | None:
    """The id that a ticker or a pair means today: `BTC`, `btc-usd`, `BTC/USDT`, `XBT` are bitcoin. None if unknown."""
    ticker = text.strip().upper().replace("/", "-").replace("_", "-").split("-")[0]
    ticker = SPELLINGS.get(ticker, ticker)
    return next((row.coin for row in ticker_table() if row.ticker == ticker and row.until is None), None)


# How exchanges spell what others call otherwise.
SPELLINGS: Final[Mapping[str, str]] = {"XBT": "BTC", "XDG": "DOGE", "BCC": "BCH", "BCHABC": "BCH", "STR": "XLM"}


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
