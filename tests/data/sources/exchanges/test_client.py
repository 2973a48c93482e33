"""The six exchanges over a real socket, as the stand-in plays them."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from cryptocast.choices import Granularity
from cryptocast.config import Config, ExchangesConfig, StoreConfig
from cryptocast.data.candle_checks import check_candles
from cryptocast.data.schema import BAR_US, SeriesKey
from cryptocast.data.sources.base import Access
from cryptocast.data.sources.coingecko.coin_list import CoinList, ListedCoin, write_coin_list
from cryptocast.data.sources.errors import RateLimited, UnknownCoin
from cryptocast.data.sources.exchanges.base import ExchangeClient, HttpExchange
from cryptocast.data.sources.exchanges.markets import Listing, MarketList
from cryptocast.data.sources.table import SOURCES
from cryptocast.data.sources.upstream import History, Page
from cryptocast.errors import UpstreamError
from cryptocast.market import Market
from cryptocast.rehearsal import FAULTS, FakeUpstream, Rule

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
EXCHANGES = [source for source in SOURCES.values() if isinstance(source, HttpExchange)]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeUpstream]:
    with FakeUpstream(now=NOW) as fake:
        yield fake


@pytest.fixture(autouse=True)
def calm(fake: FakeUpstream) -> None:
    fake.reset()
    fake.exchanges.per_minute = 0


@pytest.fixture(params=EXCHANGES, ids=lambda exchange: exchange.name)
def exchange(request: pytest.FixtureRequest) -> HttpExchange:
    found: HttpExchange = request.param
    return found


def connected(exchange: HttpExchange, fake: FakeUpstream, folder: Path, **settings: object) -> ExchangeClient:
    options = {"deadline_s": 30.0, "max_retries": 0, **settings}
    config = Config(
        store=StoreConfig(path=folder),
        exchanges=ExchangesConfig(base_url=fake.origin, **options),  # type: ignore[arg-type]
    )
    return exchange.connect(Access(config, lambda: NOW))


def key(exchange: HttpExchange, coin: str = "bitcoin", granularity: Granularity = "daily") -> SeriesKey:
    return SeriesKey(Market(exchange.name, "usd", granularity), coin)


def last_days(exchange: HttpExchange, days: int, granularity: Granularity = "daily") -> tuple[Page, ...]:
    return exchange.pages(key(exchange, granularity=granularity), [(NOW - timedelta(days=days), NOW)], NOW)


@pytest.mark.parametrize("granularity", ["daily", "hourly"])
def test_bars_are_whole_closed_and_say_what_the_market_paid(
    exchange: HttpExchange, granularity: Granularity, fake: FakeUpstream, tmp_path: Path
) -> None:
    with connected(exchange, fake, tmp_path) as client:
        parts = [client.run(client.page(page, NOW)) for page in last_days(exchange, 20, granularity)]
    frame = pl.concat([part.frame for part in reversed(parts)])
    check_candles(frame, key(exchange, granularity=granularity))
    bar = timedelta(microseconds=BAR_US[granularity])
    newest = NOW.replace(hour=0 if granularity == "daily" else 12, minute=0)
    assert frame["close_time"].max() == newest
    assert timedelta(days=19.9) <= newest - frame["close_time"][0] + bar <= timedelta(days=20) + bar
    assert frame["range_known"].all()
    closes = [fake.price("bitcoin", at) for at in frame["close_time"].to_list()]
    assert frame["close"].to_list() == pytest.approx(closes)
    coins = frame["volume"] / frame["close"]
    assert coins.is_between(0.0005 * 1.99e7 * bar.days, 0.005 * 1.99e7).all()
    assert parts[0].market in ("BTC/USD", "BTC/USDT")


def test_pages_join_without_a_seam(exchange: HttpExchange, fake: FakeUpstream, tmp_path: Path) -> None:
    days = min(exchange.limits.page_bars, 700) + 300 if exchange.limits.keeps_bars is None else 700
    pages = last_days(exchange, days)
    with connected(exchange, fake, tmp_path) as client:
        frames = [client.run(client.page(page, NOW)).frame for page in pages]
    whole = pl.concat(list(reversed(frames)))
    assert len(pages) == (1 if exchange.limits.page_bars >= days else -(-days // exchange.limits.page_bars))
    assert set(whole["close_time"].diff().drop_nulls()) == {timedelta(days=1)}
    assert len(whole) == days


def test_the_list_of_markets_is_asked_for_once_a_day(
    exchange: HttpExchange, fake: FakeUpstream, tmp_path: Path
) -> None:
    (page, *_) = last_days(exchange, 5)
    for _ in range(2):
        with connected(exchange, fake, tmp_path) as client:
            client.run(client.page(page, NOW))
    assert (fake.calls.count("exchange_markets"), fake.calls.count("exchange_bars")) == (1, 2)


def test_an_old_list_of_markets_is_better_than_none(exchange: HttpExchange, fake: FakeUpstream, tmp_path: Path) -> None:
    later = NOW + timedelta(days=3)
    (page, *_) = last_days(exchange, 5)
    with connected(exchange, fake, tmp_path) as client:
        client.run(client.page(page, NOW))
        fake.script([Rule(fault="error", endpoints=("exchange_markets",))])
        assert len(client.run(client.page(page, later)).frame)


def test_a_coin_without_a_market_is_named_and_one_without_this_currency_too(
    exchange: HttpExchange, fake: FakeUpstream, tmp_path: Path
) -> None:
    (page, *_) = last_days(exchange, 5)
    with connected(exchange, fake, tmp_path) as client:
        with pytest.raises(UnknownCoin, match="does not trade") as missing:
            client.run(client.page(Page(key(exchange, "no-such-coin"), page.start, page.end, ends_now=True), NOW))
        yen = SeriesKey(Market(exchange.name, "jpy", "daily"), "bitcoin")
        with pytest.raises(UnknownCoin, match=r"trades bitcoin not in jpy, but in .*USD") as other:
            client.run(client.page(Page(yen, page.start, page.end, ends_now=True), NOW))
    assert missing.value.is_certain
    assert other.value.is_certain


def test_the_market_of_stored_bars_stays_whatever_else_is_listed(fake: FakeUpstream, tmp_path: Path) -> None:
    exchange = SOURCES["coinbase"]
    assert isinstance(exchange, HttpExchange)
    (page, *_) = last_days(exchange, 5)
    with connected(exchange, fake, tmp_path) as client:
        fresh = client.run(client.page(page, NOW))
        kept = client.run(client.page(Page(page.key, page.start, page.end, ends_now=True, market="BTC/USDC"), NOW))
        gone = Page(page.key, page.start, page.end, ends_now=True, market="BTC/XYZ")
        with pytest.raises(UpstreamError, match="does not list BTC/XYZ any more"):
            client.run(client.page(gone, NOW))
    assert (fresh.market, kept.market) == ("BTC/USD", "BTC/USDC")
    assert any("usdc, taken for usd" in note for note in kept.notes)


def test_too_many_calls_are_a_rate_limit_in_every_dialect(
    exchange: HttpExchange, fake: FakeUpstream, tmp_path: Path
) -> None:
    (page, *_) = last_days(exchange, 5)
    with connected(exchange, fake, tmp_path) as client:
        client.run(client.page(page, NOW))
        fake.exchanges.per_minute = 1
        with pytest.raises(RateLimited, match="takes no more calls for now"):
            client.run(client.page(page, NOW))


@pytest.mark.parametrize("status", [403, 451])
def test_a_country_that_is_not_served_is_said(
    exchange: HttpExchange, status: int, fake: FakeUpstream, tmp_path: Path
) -> None:
    fake.script([Rule(fault="error", status=status, shape="html")])
    (page, *_) = last_days(exchange, 5)
    with (
        connected(exchange, fake, tmp_path) as client,
        pytest.raises(UpstreamError, match=f"does not serve this address .{status}.*HTTPS_PROXY"),
    ):
        client.run(client.page(page, NOW))


def answered(client: ExchangeClient, page: Page) -> tuple[pl.DataFrame | None, UpstreamError | None]:
    try:
        return client.run(client.page(page, NOW)).frame, None
    except UpstreamError as error:
        return None, error


QUICK = [fault for fault in FAULTS if fault not in ("huge", "drop_ids")]


@pytest.mark.parametrize("fault", QUICK)
def test_a_fault_ends_in_the_right_candles_or_in_a_clear_error(
    exchange: HttpExchange, fault: str, fake: FakeUpstream, tmp_path: Path
) -> None:
    (page, *_) = last_days(exchange, 5)
    with connected(exchange, fake, tmp_path) as client:
        right = client.run(client.page(page, NOW)).frame
    short = Rule(fault=fault, seconds=0.2, endpoints=("exchange_bars",))  # type: ignore[arg-type]
    fake.script([short])
    with connected(exchange, fake, tmp_path, deadline_s=1.0) as client:
        frame, error = answered(client, page)
    assert (frame is None) != (error is None)
    assert frame is None or frame.equals(right)
    assert error is None or exchange.title in str(error)


def test_pages_of_many_coins_go_out_side_by_side(fake: FakeUpstream, tmp_path: Path) -> None:
    exchange = SOURCES["binance"]
    assert isinstance(exchange, HttpExchange)
    (page, *_) = last_days(exchange, 5)
    coins = ("bitcoin", "ethereum", "litecoin", "solana")
    with connected(exchange, fake, tmp_path) as client:

        async def all_of_them() -> list[int]:
            pages = [Page(key(exchange, coin), page.start, page.end, ends_now=True) for coin in coins]
            return [len(part.frame) for part in await asyncio.gather(*(client.page(one, NOW) for one in pages))]

        assert client.run(all_of_them()) == [5, 5, 5, 5]
    assert fake.calls.count("exchange_bars") == 4


def test_a_coin_that_no_table_has_is_found_by_its_symbol_at_coingecko_or_by_its_own_name_and_said(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    exchange = SOURCES["binance"]
    assert isinstance(exchange, HttpExchange)
    (page, *_) = last_days(exchange, 5)

    def brought(coin: str) -> History:
        with connected(exchange, fake, tmp_path) as client:
            return client.run(client.page(replace(page, key=key(exchange, coin)), NOW))

    assert brought("c000").market == "C000/USDT"
    assert "C000 is in no table of tickers and was taken for c000" in brought("c000").notes
    with pytest.raises(UnknownCoin, match="does not trade coin-000"):
        brought("coin-000")
    coins = CoinList(fetched_at=NOW, coins=(ListedCoin("coin-000", "c000"), ListedCoin("c001", "c002")))
    write_coin_list(tmp_path / "cache/coingecko/coins.json", coins)
    assert brought("coin-000").market == "C000/USDT"
    with pytest.raises(UnknownCoin, match=r"does not trade c000.*tickers = "):
        brought("c000")
    assert brought("c001").market == "C002/USDT"


def test_a_ticker_of_another_coin_is_never_guessed(fake: FakeUpstream, tmp_path: Path) -> None:
    exchange = SOURCES["binance"]
    assert isinstance(exchange, HttpExchange)
    (page, *_) = last_days(exchange, 5)
    with connected(exchange, fake, tmp_path) as client, pytest.raises(UnknownCoin, match="Did you mean bitcoin"):
        client.run(client.page(replace(page, key=key(exchange, "btc")), NOW))


def test_bars_outside_the_days_in_which_a_ticker_meant_the_coin_are_not_asked_for(
    fake: FakeUpstream, tmp_path: Path
) -> None:
    exchange = SOURCES["binance"]
    assert isinstance(exchange, HttpExchange)
    moved = datetime(2024, 9, 4, tzinfo=UTC), datetime(2024, 9, 10, tzinfo=UTC)
    listings = [Listing("POLUSDT", "MATIC", "USDT"), Listing("POLUSDT", "POL", "USDT")]
    MarketList(tmp_path / "cache/binance/markets.json").write(listings, NOW)
    old, new = (
        Page(key(exchange, coin), NOW - timedelta(days=900), NOW, ends_now=True)
        for coin in ("matic-network", "polygon-ecosystem-token")
    )
    with connected(exchange, fake, tmp_path) as client:
        before, after = (client.run(client.page(page, NOW)).frame["close_time"] for page in (old, new))
        assert (before.max(), after.min()) == (moved[1], moved[0] + timedelta(days=1))
        calls = fake.calls.count("exchange_bars")
        nothing = client.run(client.page(replace(old, start=NOW - timedelta(days=5)), NOW))
    assert (len(nothing.frame), fake.calls.count("exchange_bars")) == (0, calls)
