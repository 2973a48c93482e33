"""Coins as people name them: ids, tickers and pairs, and the table of what each ticker means, and from when to when."""

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Final, TypeAlias

# Where a coin has no market in dollars, one in a stablecoin of the dollar is the next best, and said.
STABLE: Final[Mapping[str, tuple[str, ...]]] = {"usd": ("USDT", "USDC")}
QUOTES: Final = (
    *("USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USD", "EUR", "GBP", "JPY", "KRW", "TRY", "BRL", "AUD", "CAD", "CHF"),
    *("BTC", "XBT", "ETH", "BNB"),
)
# How exchanges spell what others call otherwise.
SPELLINGS: Final[Mapping[str, str]] = {"XBT": "BTC", "XDG": "DOGE", "BCC": "BCH", "BCHABC": "BCH", "STR": "XLM"}
TICKER: Final = re.compile(r"[A-Z0-9]{1,20}", re.ASCII)
PAIR: Final = re.compile(r"([A-Z0-9]{1,20}|[A-Z0-9-]{1,100}(?=/))[/_-]([A-Z0-9]{2,10})", re.ASCII)


@dataclass(frozen=True, slots=True)
class CoinTicker:
    """A ticker that meant a coin between two moments, None: without a bound. since included, until not."""

    coin: str
    ticker: str
    since: datetime | None = None
    until: datetime | None = None


FindTicker: TypeAlias = Callable[[str], CoinTicker | None]


@dataclass(frozen=True, slots=True)
class CoinName:
    """What a text names: a coin, the other side of a pair, and the row of the ticker by which it was found, if any."""

    text: str
    coin: str
    quote: str = ""
    row: CoinTicker | None = None

    @property
    def vs(self) -> str | None:
        """The currency of a pair: usd for a stablecoin of the dollar."""
        return next((vs for vs, coins in STABLE.items() if self.quote in coins), self.quote.lower() or None)

    def allows(self, vs: str) -> bool:
        """Whether prices in a currency are what it names; of a pair in USDT those in usd and those in usdt."""
        return not self.quote or vs in (self.vs, self.quote.lower())

    def in_words(self) -> str:
        """One sentence, which names other coins that the ticker meant at other times."""
        words = f"{self.text} means {self.coin}{f' in {self.vs}' if self.vs else ''}"
        if self.row is None:
            return f"{words}."
        ticker, until = self.row.ticker, self.row.until
        if until is not None:
            words += f", which had the ticker {ticker} until {until:%Y-%m-%d}"
        others = [one for one in ticker_table() if one.ticker == ticker and one.coin != self.coin]
        words += "".join(f"; until {one.until:%Y-%m-%d} {ticker} was {one.coin}" for one in others if one.until)
        return f"{words}."


@cache
def ticker_table() -> tuple[CoinTicker, ...]:
    """Every row of the table, in its order."""
    text = resources.files("cryptocast.data.sources.exchanges").joinpath("coins.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return tuple(CoinTicker(row["id"], row["ticker"], _day(row["since"]), _day(row["until"])) for row in rows)


def _day(text: str) -> datetime | None:
    return datetime.fromisoformat(text).replace(tzinfo=UTC) if text else None


@cache
def coins_in_table() -> frozenset[str]:
    """The ids of the table."""
    return frozenset(row.coin for row in ticker_table())


def tickers_of(coin: str, own: Mapping[str, str]) -> tuple[CoinTicker, ...]:
    """What a coin is called on exchanges, best first. own: the user's names, which replace those of the table."""
    if coin in own:
        return (CoinTicker(coin, own[coin].upper()),)
    return tuple(row for row in ticker_table() if row.coin == coin)


def row_of(ticker: str, own: Mapping[str, str]) -> CoinTicker | None:
    """Whose ticker it is: the user's word, else today's coin, else the one that had it. None if nobody ever did."""
    ticker = SPELLINGS.get(ticker, ticker)
    mine = next((coin for coin, name in own.items() if name.upper() == ticker), None)
    if mine is not None:
        return CoinTicker(mine, ticker)
    rows = [row for row in ticker_table() if row.ticker == ticker and row.coin not in own]
    return next((row for row in rows if row.until is None), rows[0] if rows else None)


def read_coin_name(text: str, find: FindTicker) -> CoinName | None:
    """The coin of a ticker or a pair: `BTC`, `btc-usd`, `BTC/USDT`, `XBT`, `BTCUSDT`, `bitcoin/eur`; None if no table
    has it. Without a sign between them only capitals are a pair: small letters may be the id of a coin (crvusd)."""
    upper = text.upper()
    if TICKER.fullmatch(upper) and (row := find(upper)) is not None:
        return CoinName(text, row.coin, row=row)
    for base, quote in _pairs(text):
        if base.lower() in coins_in_table() and "/" in text:
            return CoinName(text, base.lower(), quote)
        if (row := find(base)) is not None:
            return CoinName(text, row.coin, quote, row)
    return None


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    upper = text.upper()
    pair = PAIR.fullmatch(upper)
    if pair is not None and is_quote(pair[2]):
        yield pair[1], SPELLINGS.get(pair[2], pair[2])
    elif text == upper and TICKER.fullmatch(upper):
        bases = ((upper.removesuffix(quote), SPELLINGS.get(quote, quote)) for quote in QUOTES)
        yield from ((base, quote) for base, quote in bases if 1 < len(base) < len(upper))


def is_quote(text: str) -> bool:
    """Whether it may be the other side of a pair."""
    return text.upper() in QUOTES
