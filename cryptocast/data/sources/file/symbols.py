"""Which coin and which currency a text names, and whether that is what the import is for: BTC/USDT, XBTEUR_1440.csv."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Final, TypeAlias

from cryptocast.data.coin_names import QUOTES, SPELLINGS, STABLE, coins_in_table, row_of, tickers_of
from cryptocast.data.coins import shown
from cryptocast.errors import DataError

ASSETS: Final = ("BNB", "BTC", "BCH", "ADA", "DOGE", "EOS", "ETH", "ETC", "IOTA", "LTC", "MKR", "XMR", "XLM", "TRX")
ANY_COIN: Final = "*/"
# Numbers that stand for symbols, by column: of the assets at Kaggle's G-Research, of currencies at CoinMarketCap.
NUMBERS: Final[Mapping[str, Mapping[str, str]]] = {
    "asset_id": {str(number): ticker for number, ticker in enumerate(ASSETS)},
    "name": {"2781": f"{ANY_COIN}USD", "2790": f"{ANY_COIN}EUR"},
}
RankedSymbol: TypeAlias = tuple[int, str]  # how well it fits, and the place where it is first
# How well a symbol fits: below this in dollars or in what stands for them, above it not at all.
UNKNOWN_SYMBOL, OTHER_CURRENCY, OTHER_COIN = 10, 11, 12


@dataclass(frozen=True, slots=True)
class Symbol:
    """A coin by its id, None if no table knows it, and the currency of its prices, None if none is named.

    ticker: by which it was told, and which may have meant another coin earlier.
    """

    coin: str | None
    quote: str | None = None
    ticker: str = field(default="", compare=False)


@lru_cache(maxsize=4096)
def symbol_in(text: str) -> Symbol:
    """What a symbol, the id or name of a coin, or the name of a file says: BTC/USDT, btc-usd, Bitcoin, XBTEUR_1440."""
    slug = text.strip().lower().replace(" ", "-")
    if slug in coins_in_table():
        return Symbol(slug)
    words = [word for word in re.split(r"[^A-Z0-9]+", text.upper()) if word]
    for base, quote in pairwise(words):
        if quote in QUOTES and len(base) > 1 and (coin := _coin_of(base)):
            return Symbol(coin, SPELLINGS.get(quote, quote), base)
    for word in words:
        pair = word.rstrip("0123456789")  # MetaTrader: BTCUSD1440
        for quote in QUOTES:
            base = pair.removesuffix(quote)
            if base != pair and len(base) > 1 and _coin_of(word) is None and (coin := _coin_of(base)):
                return Symbol(coin, SPELLINGS.get(quote, quote), base)
    return Symbol(_coin_of(words[0]), ticker=words[0]) if len(words) == 1 else Symbol(None)


def named_symbol(file: str) -> str | None:
    """What the name of a file says of its coin, to be ranked: a pair in it, or all of it but the ending, if that is a
    ticker or an id: XBTEUR_1440.csv, ETH.csv, ethereum.csv."""
    if symbol_in(file).quote is not None:
        return file
    stem = file.partition(".")[0]
    says_coin = (stem.isupper() and len(stem) > 2) or stem in coins_in_table()  # not: one.csv
    return stem if says_coin and symbol_in(stem).coin is not None else None


def _coin_of(ticker: str) -> str | None:
    row = row_of(ticker, {})
    return None if row is None else row.coin


@dataclass(frozen=True, slots=True)
class Target:
    """What an import is for: the candles of a coin in a currency. names_coins: of several coins from one file, so that
    a symbol that no table knows is none of them."""

    coin: str
    vs: str
    names_coins: bool = False

    @property
    def currencies(self) -> tuple[str, ...]:
        """Whose prices count, best first: of the dollar also its stablecoins."""
        return (self.vs.upper(), *STABLE.get(self.vs, ()))

    def rank(self, text: str, *, is_id: bool = False) -> int:
        """How well a symbol, or the id of a coin, fits: 0 best, from OTHER_CURRENCY on not at all."""
        symbol = Symbol(self.coin, text[2:]) if text.startswith(ANY_COIN) else symbol_in(text)
        tickers = {row.ticker for row in tickers_of(self.coin, {})}
        if self.coin not in (symbol.coin, text.strip().lower()) and symbol.ticker not in tickers:
            return UNKNOWN_SYMBOL if symbol.coin is None and not is_id else OTHER_COIN
        if symbol.quote is None:
            return 0
        return self.currencies.index(symbol.quote) if symbol.quote in self.currencies else OTHER_CURRENCY

    def choose(self, symbols: Mapping[str, RankedSymbol]) -> tuple[int, str | None]:
        """The rank to keep, and what that assumes. DataError if none of the symbols fits.

        A symbol that no table knows is taken for the coin where it is the only one.
        """
        text, (best, _) = min(symbols.items(), key=lambda item: item[1][0])
        if best == 0:
            return best, None
        if best < UNKNOWN_SYMBOL:
            return best, f"prices in {self.currencies[best]} count as {self.vs.upper()}"
        if best == UNKNOWN_SYMBOL and len(symbols) == 1 and not self.names_coins:
            return best, f"{shown(text)} is in no table of symbols and was taken for {self.coin}"
        # The most telling one: another currency, else another coin, else the first that is unknown.
        telling = (OTHER_CURRENCY, OTHER_COIN, UNKNOWN_SYMBOL)
        text, (rank, place) = min(symbols.items(), key=lambda item: telling.index(item[1][0]))
        if rank == OTHER_CURRENCY:
            quote = symbol_in(text).quote or text.removeprefix(ANY_COIN)
            raise DataError(
                f"{place} is {shown(text)}, prices in {quote}, not in {self.vs.upper()}:"
                f" import them with --vs {quote.lower()}."
            )
        raise DataError(f"{place} is {shown(text)}, not {self.coin}, and nothing else in the import is.")
