"""Tickers and pairs, and the coins that they mean."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryptocast.data.coin_names import (
    QUOTES,
    CoinTicker,
    coins_in_table,
    is_quote,
    read_coin_name,
    row_of,
    ticker_table,
    tickers_of,
)
from cryptocast.data.coins import check_coin

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OWN = {"a-coin-of-tomorrow": "ACT", "bitcoin": "BTC"}


def read(text: str) -> tuple[str, str | None] | None:
    name = read_coin_name(text, lambda ticker: row_of(ticker, OWN))
    return None if name is None else (name.coin, name.vs)


@pytest.mark.parametrize(
    ("text", "coin", "vs"),
    [
        ("BTC", "bitcoin", None),
        ("btc", "bitcoin", None),
        ("XBT", "bitcoin", None),
        ("btc-usd", "bitcoin", "usd"),
        ("BTC/USDT", "bitcoin", "usd"),
        ("BTC_USDC", "bitcoin", "usd"),
        ("XBT/EUR", "bitcoin", "eur"),
        ("BTCUSDT", "bitcoin", "usd"),
        ("XBTEUR", "bitcoin", "eur"),
        ("ETHXBT", "ethereum", "btc"),
        ("bitcoin-cash/eur", "bitcoin-cash", "eur"),
        ("LUNA", "terra-luna-2", None),
        ("LUNC", "terra-luna", None),
        ("MATIC", "matic-network", None),
        ("act", "a-coin-of-tomorrow", None),
    ],
)
def test_tickers_and_pairs_of_all_spellings_mean_their_coin(text: str, coin: str, vs: str | None) -> None:
    assert read(text) == (coin, vs)


@pytest.mark.parametrize("text", ["", "nonsense", "crvusd", "USDT/", "/USD", "BTC/LIGHTGBM", "a b", "BTC/USD/EUR", "é"])
def test_what_no_table_has_is_not_guessed_at(text: str) -> None:
    assert read(text) is None


@given(st.text(max_size=20))
def test_whatever_is_typed_gives_a_well_formed_id_or_nothing(text: str) -> None:
    name = read(text)
    assert name is None or check_coin(name[0]) == name[0]


@given(st.sampled_from([row for row in ticker_table() if row.until is None]), st.sampled_from(QUOTES))
def test_each_pair_of_the_table_is_read_with_and_without_a_sign(row: CoinTicker, quote: str) -> None:
    separated = [read(f"{row.ticker}{sign}{quote}") for sign in "/-_"]
    assert {None if found is None else found[0] for found in separated} == {row.coin}
    assert is_quote(quote.lower())


def test_a_ticker_that_moved_names_the_coins_of_other_times() -> None:
    luna, matic = (read_coin_name(text, lambda ticker: row_of(ticker, {})) for text in ("LUNA", "MATIC/USDT"))
    assert luna is not None
    assert luna.in_words() == "LUNA means terra-luna-2; until 2022-05-13 LUNA was terra-luna."
    assert matic is not None
    assert matic.in_words() == "MATIC/USDT means matic-network in usd, which had the ticker MATIC until 2024-09-10."


def test_a_pair_in_a_stablecoin_allows_dollars_and_no_other_currency() -> None:
    tether, euro, alone = (
        read_coin_name(text, lambda ticker: row_of(ticker, {})) for text in ("BTC/USDT", "BTC/EUR", "BTC")
    )
    assert tether is not None
    assert euro is not None
    assert alone is not None
    assert [tether.allows(vs) for vs in ("usd", "usdt", "usdc", "eur")] == [True, True, False, False]
    assert [euro.allows(vs) for vs in ("usd", "eur")] == [False, True]
    assert alone.allows("jpy")


def test_the_table_has_two_hundred_coins_with_well_formed_names() -> None:
    assert len(coins_in_table()) >= 200
    for row in ticker_table():
        check_coin(row.coin)
        assert row.ticker == row.ticker.strip().upper() != ""
        assert row.since is None or row.until is None or row.since < row.until


def test_no_ticker_means_two_coins_at_one_moment() -> None:
    by_ticker: dict[str, list[CoinTicker]] = {}
    for row in ticker_table():
        by_ticker.setdefault(row.ticker, []).append(row)
    far = timedelta(days=36_500)
    for rows in by_ticker.values():
        spans = sorted((row.since or NOW - far, row.until or NOW + far) for row in rows)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans)), rows


def test_names_of_the_user_replace_those_of_the_table() -> None:
    assert [name.ticker for name in tickers_of("bitcoin", {"bitcoin": "wbtc"})] == ["WBTC"]
    assert tickers_of("a-coin-of-tomorrow", {}) == ()
    assert tickers_of("a-coin-of-tomorrow", OWN) == (CoinTicker("a-coin-of-tomorrow", "ACT"),)
    assert row_of("BTC", {"another-coin": "btc"}) == CoinTicker("another-coin", "BTC")
    assert row_of("BTC", {"bitcoin": "BTCX"}) is None
