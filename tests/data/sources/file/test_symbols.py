import pytest

from cryptocast.data.sources.file.symbols import UNKNOWN_SYMBOL, Symbol, Target, named_symbol, symbol_in
from cryptocast.errors import DataError


@pytest.mark.parametrize(
    ("text", "coin", "quote"),
    [
        ("BTC", "bitcoin", None),
        ("Bitcoin Cash", "bitcoin-cash", None),
        ("BTC/USDT", "bitcoin", "USDT"),
        ("btc-eur", "bitcoin", "EUR"),
        ("BTC/USDT:USDT", "bitcoin", "USDT"),
        ("BITSTAMP:BTCUSD", "bitcoin", "USD"),
        ("BITSTAMP_SPOT_ETH_USD", "ethereum", "USD"),
        ("ETHBTC", "ethereum", "BTC"),
        ("BNBUSD", "binancecoin", "USD"),
        ("EOS/USDT", "eos", "USDT"),
        ("DOTUSD", "polkadot", "USD"),
        ("BTCTUSD", "bitcoin", "TUSD"),
        ("tusd.csv", None, None),
        ("XBTEUR_1440.csv", "bitcoin", "EUR"),
        ("BTCUSDT-1d-2024-01.zip", "bitcoin", "USDT"),
        ("Bitstamp_BTCUSD_d.csv", "bitcoin", "USD"),
        ("BTC_USDT-1d.feather", "bitcoin", "USDT"),
        ("BTCUSD1440.csv", "bitcoin", "USD"),
        ("prices.csv", None, None),
        ("my-own-file_2024.csv", None, None),
        ("nonsense", None, None),
    ],
)
def test_a_symbol_and_the_name_of_a_file_tell_coin_and_currency(text: str, coin: str | None, quote: str | None) -> None:
    assert symbol_in(text) == Symbol(coin, quote)


def choose(target: Target, *symbols: str) -> tuple[int, str | None]:
    return target.choose({text: (target.rank(text), f"place of {text}") for text in symbols})


def test_the_best_currency_is_chosen_and_a_stablecoin_is_noted() -> None:
    target = Target("bitcoin", "usd")
    assert choose(target, "BTC/USDT", "BTC/USD", "ETH/USD") == (0, None)
    assert choose(target, "BTC/USDC", "BTC/USDT", "BTC/EUR") == (1, "prices in USDT count as USD")


@pytest.mark.parametrize(
    ("symbols", "words"),
    [
        (["ETH/USD"], "place of ETH/USD is 'ETH/USD', not bitcoin"),
        (["XYZQ", "ETH/USD"], "place of ETH/USD is 'ETH/USD', not bitcoin"),
        (["ETH/USD", "BTC/EUR"], "place of BTC/EUR is 'BTC/EUR', prices in EUR, not in USD: .* --vs eur"),
        (["*/EUR"], "prices in EUR, not in USD"),
        (["XYZQ", "QZYX"], "place of XYZQ is 'XYZQ', not bitcoin"),
    ],
)
def test_symbols_of_which_none_is_the_coin_are_refused(symbols: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        choose(Target("bitcoin", "usd"), *symbols)


def test_a_ticker_that_moved_to_another_coin_stands_for_both() -> None:
    assert Target("terra-luna", "usd").rank("LUNA/USDT") == Target("terra-luna-2", "usd").rank("LUNAUSDT-1d.csv") == 1
    assert Target("bitcoin", "usd").rank("LUNA/USDT") > UNKNOWN_SYMBOL


def test_the_only_symbol_is_taken_for_a_coin_that_no_table_knows() -> None:
    target = Target("my-coin", "usd")
    note = "'MYC' is in no table of symbols and was taken for my-coin"
    assert choose(target, "MYC") == (UNKNOWN_SYMBOL, note)
    assert target.rank("my-coin") == 0


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("XBTEUR_1440.csv", "XBTEUR_1440.csv"),
        ("ETH.csv", "ETH"),
        ("ethereum.feather", "ethereum"),
        ("one.csv", None),
        ("A.csv", None),
        ("PRICES.csv", None),
        ("prices.csv", None),
    ],
)
def test_the_name_of_a_file_names_a_coin_if_it_can_mean_nothing_else(file: str, text: str | None) -> None:
    assert named_symbol(file) == text
