from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptocast.data.coin_names import tickers_of
from cryptocast.data.sources.exchanges.markets import Listing, MarketList, choose_market

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def listed(*names: str) -> list[Listing]:
    return [Listing(name.replace("/", ""), name.split("/")[0], name.split("/")[1]) for name in names]


def test_dollars_come_before_the_stablecoins_that_stand_for_them() -> None:
    names = tickers_of("bitcoin", {})
    both = choose_market(names, listed("BTC/USDT", "BTC/USD"), "usd")
    stable = choose_market(names, listed("BTC/USDC", "BTC/USDT", "BTC/EUR"), "usd")
    euro = choose_market(names, listed("BTC/USDT", "BTC/EUR"), "eur")
    assert [traded and traded.listing.name for traded in (both, stable, euro)] == ["BTC/USD", "BTC/USDT", "BTC/EUR"]
    assert choose_market(names, listed("BTC/USDT"), "eur") is None


def test_a_market_that_trades_comes_before_one_that_does_not_any_more() -> None:
    markets = [Listing("BTCUSD", "BTC", "USD", trades=False), Listing("BTCUSDT", "BTC", "USDT")]
    traded = choose_market(tickers_of("bitcoin", {}), markets, "usd")
    assert traded is not None
    assert traded.listing.symbol == "BTCUSDT"
    alone = choose_market(tickers_of("bitcoin", {}), markets[:1], "usd")
    assert alone is not None
    assert alone.listing.symbol == "BTCUSD"


def test_before_and_after_its_crash_luna_is_two_coins() -> None:
    old, new = tickers_of("terra-luna", {}), tickers_of("terra-luna-2", {})
    before = choose_market(old, listed("LUNA/USDT"), "usd")
    after = choose_market(new, listed("LUNA/USDT"), "usd")
    assert before is not None
    assert after is not None
    year = datetime(2022, 1, 1, tzinfo=UTC), datetime(2023, 1, 1, tzinfo=UTC)
    assert before.clipped(*year) == (year[0], datetime(2022, 5, 13, tzinfo=UTC))
    assert after.clipped(*year) == (datetime(2022, 5, 31, tzinfo=UTC), year[1])


def test_a_list_of_markets_is_kept_for_a_day(tmp_path: Path) -> None:
    stored = MarketList(tmp_path / "deep" / "markets.json")
    assert stored.read() is None
    stored.write(listed("BTC/USD", "ETH/USD"), NOW)
    found = stored.read()
    assert found is not None
    assert found.listings == tuple(listed("BTC/USD", "ETH/USD"))
    assert [found.is_fresh(NOW + timedelta(hours=hours)) for hours in (-1, 0, 23, 25)] == [False, True, True, False]
    stored.path.write_bytes(b"{")
    assert stored.read() is None
