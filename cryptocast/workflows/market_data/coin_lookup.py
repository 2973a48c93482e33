"""Which coin a person means: by the tickers of the settings, the table, CoinGecko's list and what the store holds."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptocast.config import Config
from cryptocast.data.coin_names import CoinName, CoinTicker, coins_in_table, is_quote, read_coin_name, row_of
from cryptocast.data.coins import COIN_ID
from cryptocast.data.sources.coingecko.source import coin_list_of
from cryptocast.errors import UsageError


def find_coin(config: Config, text: str) -> CoinName:
    """The coin that is meant. An id that exists is always itself, and what nobody has heard of is left as it is.

    A ticker that no table has, in capitals, is taken for a coin of that name: the exchange's list of markets decides.
    Raises UsageError for a ticker of several coins that CoinGecko lists and the table does not tell apart.
    """
    own, is_id = config.exchanges.tickers, COIN_ID.fullmatch(text) is not None
    if text in own or text.lower() in coins_in_table():
        return CoinName(text, text.lower())
    name = read_coin_name(text, lambda ticker: row_of(ticker, own) or (None if is_id else _listed(config, ticker)))
    if name is None and not is_id:
        name = read_coin_name(text, lambda ticker: CoinTicker(ticker.lower(), ticker))
    if name is None or (is_id and _exists(config, text)):
        return CoinName(text, text)
    return name


@dataclass(frozen=True, slots=True)
class NamedCoins:
    """Names with the id of the coin in the place of its ticker or pair, and the currency of the pairs. lookups: of all
    of them, in their order."""

    names: tuple[str, ...]
    vs: str | None
    lookups: tuple[CoinName, ...]

    @property
    def ids(self) -> dict[str, str]:
        """What was typed, and the id that it means, where these differ."""
        return {one.text: one.coin for one in self.lookups if one.coin not in (one.text, one.text.lower())}

    @property
    def notices(self) -> tuple[str, ...]:
        """The same in sentences."""
        return tuple(one.in_words() for one in self.lookups if one.text in self.ids)


def name_coins(texts: Sequence[str], vs: str | None, find: Callable[[str], CoinName]) -> NamedCoins:
    """The coins of names as people write them, be they of versions: BTC, BTC/EUR, BTC/lightgbm:3, BTC#hourly.

    `BTC/EUR` without a currency is bitcoin in eur. find: see `find_coin`. Raises UsageError for a pair in another
    currency than `vs`.
    """
    heads = [_head(text) for text in texts]
    lookups = tuple(find(head) for head in heads)
    for one in lookups:
        if vs is not None and not one.allows(vs):
            raise UsageError(f"{one.text!a} is in {one.vs}, and {vs} is asked for: one currency at a time.")
        vs = vs or one.vs
    names = (one.coin + text[len(head) :] for one, text, head in zip(lookups, texts, heads, strict=True))
    return NamedCoins(tuple(names), vs, lookups)


def _head(text: str) -> str:
    """The part that names the coin; with a slash and a currency behind it a pair, with anything else a kind."""
    head = re.split("[@#:( ]", text, maxsplit=1)[0]
    coin, _, kind = head.partition("/")
    return head if is_quote(kind) else coin


def _listed(config: Config, ticker: str) -> CoinTicker | None:
    coins = coin_list_of(config)
    ids = () if coins is None else coins.with_symbol(ticker)
    if len(ids) > 1:
        shown = ", ".join(sorted(ids, key=len)[:4])
        raise UsageError(
            f"{ticker} is the ticker of {len(ids)} coins, among them {shown}: name the one that is meant by its id,"
            f" or in the settings: [exchanges] tickers = {{ {min(ids, key=len)} = '{ticker}' }}."
        )
    return CoinTicker(ids[0], ticker) if ids else None


def _exists(config: Config, coin: str) -> bool:
    """Whether the store has candles of a coin by that id, or CoinGecko lists it."""
    if any((config.store.path / "candles").glob(f"*/*/*/{coin}.parquet")):
        return True
    coins = coin_list_of(config)
    return coins is not None and coin in coins
