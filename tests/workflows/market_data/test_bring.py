from pathlib import Path

import pytest

from cryptocast.config import CoinGeckoConfig, Config, StoreConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.errors import UnknownCoin
from cryptocast.data.store import CandleStore
from cryptocast.errors import CryptocastError
from cryptocast.market import Market
from cryptocast.net import Priority
from cryptocast.rehearsal import FakeUpstream
from cryptocast.workflows.context import Context, Resolved
from cryptocast.workflows.market_data.bring import Fetched, bring
from cryptocast.workflows.market_data.connect import access_of

MARKET = Market("coingecko", "usd", "daily")


def brought(store: Path, address: str, *coins: str, candles: CandleStore | None = None) -> tuple[Fetched, bool]:
    calls = CoinGeckoConfig(base_url=address, calls_per_minute=1000, max_retries=0)
    context = Context(Config(store=StoreConfig(path=store), coingecko=calls), candles=candles)
    request = Resolved(coins, MARKET.source, MARKET.vs, MARKET.granularity, now=None)
    return bring(context, request, lambda source: source.connect(access_of(context)), priority=Priority.USER)


def test_coins_are_brought_beside_those_that_cannot_be_and_a_second_time_nothing_is_written(tmp_path: Path) -> None:
    with FakeUpstream(coins=5) as fake:
        fetched, is_changed = brought(tmp_path, fake.url, "bitcoin", "no-coin")
        assert (fetched["bitcoin"], type(fetched["no-coin"]), is_changed) == (None, UnknownCoin, True)
        assert brought(tmp_path, fake.url, "bitcoin") == ({"bitcoin": None}, False)
    assert CandleStore(tmp_path, lock_timeout_s=5).read(SeriesKey(MARKET, "bitcoin")) is not None


def test_what_nobody_foresaw_is_an_error_of_each_coin_and_stands_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(CandleStore):
        def load(self, *_: object) -> None:
            raise ZeroDivisionError("of the store")

    broken = Broken(tmp_path, lock_timeout_s=5)
    fetched, is_changed = brought(tmp_path, "http://127.0.0.1:9", "bitcoin", "ethereum", candles=broken)

    assert {type(error) for error in fetched.values()} == {CryptocastError}
    assert (set(fetched), is_changed) == ({"bitcoin", "ethereum"}, False)
    assert "of the store" in caplog.text
