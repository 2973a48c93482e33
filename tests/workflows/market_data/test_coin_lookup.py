"""Which coin a person means, by what the settings, the tables and the store know."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from cryptocast.config import Config, ExchangesConfig, StoreConfig
from cryptocast.data.coin_names import CoinName, CoinTicker
from cryptocast.data.sources.coingecko.coin_list import CoinList, ListedCoin, write_coin_list
from cryptocast.errors import UsageError
from cryptocast.workflows.market_data.coin_lookup import find_coin, name_coins

LISTED = (("coin-000", "c000"), ("one-foo", "foo"), ("another-foo", "foo"), ("crvusd", "crvusd"), ("eth", "eth"))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(store=StoreConfig(path=tmp_path), exchanges=ExchangesConfig(tickers={"my-coin": "MINE"}))


@pytest.fixture
def with_list(config: Config) -> Config:
    coins = CoinList(fetched_at=datetime(2026, 1, 1, tzinfo=UTC), coins=tuple(ListedCoin(*row) for row in LISTED))
    write_coin_list(config.store.path / "cache/coingecko/coins.json", coins)
    return config


@pytest.mark.parametrize(
    ("text", "coin"),
    [
        ("bitcoin", "bitcoin"),
        ("Bitcoin", "bitcoin"),
        ("BTC", "bitcoin"),
        ("eth", "ethereum"),
        ("mine", "my-coin"),
        ("my-coin", "my-coin"),
        ("no-such-coin", "no-such-coin"),
        ("XYZZY", "xyzzy"),
        ("../x", "../x"),
    ],
)
def test_ids_stay_and_tickers_become_ids(config: Config, text: str, coin: str) -> None:
    assert find_coin(config, text).coin == coin


def test_an_id_that_coingecko_lists_or_the_store_holds_comes_before_a_ticker(config: Config, with_list: Config) -> None:
    assert find_coin(with_list, "eth").coin == "eth"
    assert find_coin(with_list, "ETH").coin == "ethereum"
    assert find_coin(config, "btc").coin == "bitcoin"
    file = config.store.path / "candles/file/usd/daily/btc.parquet"
    file.parent.mkdir(parents=True)
    file.touch()
    assert find_coin(config, "btc").coin == "btc"


def test_tickers_that_only_coingecko_knows_are_taken_unless_several_coins_have_them(with_list: Config) -> None:
    assert find_coin(with_list, "C000").coin == "coin-000"
    assert find_coin(with_list, "C000/USDT") == CoinName(
        "C000/USDT", "coin-000", "USDT", CoinTicker("coin-000", "C000")
    )
    assert find_coin(with_list, "CRVUSD").coin == "crvusd"
    with pytest.raises(UsageError, match="FOO is the ticker of 2 coins, among them one-foo, another-foo"):
        find_coin(with_list, "FOO")


@pytest.mark.parametrize(
    ("texts", "vs", "names", "currency"),
    [
        (["BTC", "ethereum"], None, ("bitcoin", "ethereum"), None),
        (["BTC/EUR", "ETH"], None, ("bitcoin", "ethereum"), "eur"),
        (["BTC/USDT"], "usd", ("bitcoin",), "usd"),
        (["BTC/lightgbm:3", "btc@best"], None, ("bitcoin/lightgbm:3", "bitcoin@best"), None),
        (["BTC/EUR#hourly"], None, ("bitcoin#hourly",), "eur"),
        (["bitcoin/lightgbm (sample, usd, daily)"], None, ("bitcoin/lightgbm (sample, usd, daily)",), None),
    ],
)
def test_names_of_versions_are_read_too(
    config: Config, texts: list[str], vs: str | None, names: tuple[str, ...], currency: str | None
) -> None:
    coins = name_coins(texts, vs, partial(find_coin, config))
    assert (coins.names, coins.vs) == (names, currency)
    assert len(coins.notices) == sum(not text.startswith(("bitcoin", "ethereum")) for text in texts)
    assert set(coins.ids.values()) <= {"bitcoin", "ethereum"}


@pytest.mark.parametrize(("texts", "vs"), [(["BTC/EUR"], "usd"), (["BTC/EUR", "ETH/USD"], None)])
def test_one_currency_at_a_time(config: Config, texts: list[str], vs: str | None) -> None:
    with pytest.raises(UsageError, match="one currency at a time"):
        name_coins(texts, vs, partial(find_coin, config))
