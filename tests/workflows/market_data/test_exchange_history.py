"""Long histories from exchanges: within their limits, both ways, and whatever is killed in the middle."""

import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import get_args

import polars as pl
import pytest

from cryptocast.config import Config, ExchangeName, ExchangesConfig, StoreConfig
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.exchanges.base import HttpExchange
from cryptocast.data.sources.table import SOURCES
from cryptocast.market import Market
from cryptocast.rehearsal import FakeUpstream, Rule
from cryptocast.times import as_moment
from cryptocast.workflows.context import Context, Selection
from cryptocast.workflows.forecast import Request, forecast
from cryptocast.workflows.market_data.downloads import AT_ONCE
from cryptocast.workflows.market_data.fetch import FetchOrder, fetch
from cryptocast.workflows.market_data.resolve import open_store
from tests.cli.commands import finished, started
from tests.workflows.market_data.virtual_time import ExchangeStall, VirtualTime

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
EXCHANGES = [source for source in SOURCES.values() if isinstance(source, HttpExchange)]
# What they publish for one address: so many calls in so many seconds.
PUBLISHED = {
    "bitstamp": [(400, 1), (10_000, 600)],
    "coinbase": [(10, 1)],
    "binance": [(3_000, 60)],
    "kraken": [(60, 60)],
    "okx": [(20, 2)],
    "bybit": [(600, 5)],
}


@pytest.fixture(params=EXCHANGES, ids=lambda exchange: exchange.name)
def exchange(request: pytest.FixtureRequest) -> HttpExchange:
    source: HttpExchange = request.param
    return source


@pytest.fixture
def stall(exchange: HttpExchange, tmp_path: Path) -> Iterator[ExchangeStall]:
    time = VirtualTime(NOW)
    with FakeUpstream(now=time.wall, coins=60) as fake:
        yield ExchangeStall(tmp_path, fake, exchange, time)


def bars_of(stall: ExchangeStall, coin: str = "bitcoin", granularity: str = "daily") -> pl.DataFrame:
    key = SeriesKey(Market(stall.exchange.name, "usd", "hourly" if granularity == "hourly" else "daily"), coin)
    candles = stall.store.read(key)
    assert candles is not None
    return candles.frame


def most_in(calls_at: list[float], window_s: float) -> int:
    """The most calls in any window of this length."""
    return max(sum(begin <= at < begin + window_s for at in calls_at) for begin in calls_at)


@pytest.mark.slow
def test_fifty_coins_and_eight_years_stay_within_what_the_exchange_publishes(
    stall: ExchangeStall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cryptocast.rehearsal.exchanges.LISTED_LATER_MS", 0)  # or the youngest exchange has fewer coins
    stall.fake.exchanges.per_minute = max(calls * 60 // seconds for calls, seconds in PUBLISHED[stall.exchange.name])
    coins = ["bitcoin", "ethereum", *(f"c{number:03d}" for number in range(48))]
    report = stall.fetch(*coins, since=NOW - timedelta(days=8 * 365))
    assert [coin.error for coin in report.coins if coin.error is not None] == []
    limits = stall.exchange.limits
    pages = -(-min(8 * 365, (NOW - stall.exchange.opened).days) // limits.page_bars) if not limits.keeps_bars else 1
    assert len(stall.time.calls_at) == 1 + 50 * pages
    assert stall.fake.calls.summary()["statuses"] == {"200": 1 + 50 * pages}
    for calls, window_s in PUBLISHED[stall.exchange.name]:
        assert most_in(stall.time.calls_at, window_s) <= calls
    assert stall.time.passed_s <= 120


@pytest.mark.parametrize("granularity", ["daily", "hourly"])
def test_after_some_bars_one_call_a_coin_brings_them_and_after_none_nobody_is_asked(
    stall: ExchangeStall, granularity: str, tmp_path: Path
) -> None:
    bar = timedelta(hours=1) if granularity == "hourly" else timedelta(days=1)
    options = {"granularity": granularity, "since": NOW - 400 * bar}
    stall.fetch("bitcoin", "ethereum", **options)
    for bars in (1, 5, 0):
        stall.time.passed_s += bars * bar.total_seconds()
        before = stall.fake.calls.count("exchange_bars")
        stall.fetch("bitcoin", "ethereum", **options)
        assert stall.fake.calls.count("exchange_bars") - before == (2 if bars else 0)
    whole = ExchangeStall(tmp_path / "whole", stall.fake, stall.exchange, stall.time)
    whole.fetch("bitcoin", "ethereum", **options)
    for coin in ("bitcoin", "ethereum"):
        assert bars_of(stall, coin, granularity).equals(bars_of(whole, coin, granularity))


def test_an_earlier_since_asks_for_the_older_bars_alone(stall: ExchangeStall, tmp_path: Path) -> None:
    limits = stall.exchange.limits
    early, late = NOW - timedelta(days=700), NOW - timedelta(days=100)
    stall.fetch("bitcoin", since=late)
    before = stall.fake.calls.count("exchange_bars")
    stall.fetch("bitcoin", since=early)
    assert stall.fake.calls.count("exchange_bars") - before == -(-600 // limits.page_bars)
    whole = ExchangeStall(tmp_path / "whole", stall.fake, stall.exchange, stall.time)
    whole.fetch("bitcoin", since=early)
    assert bars_of(stall).equals(bars_of(whole))
    assert set(bars_of(stall)["close_time"].diff().drop_nulls()) == {timedelta(days=1)}


def test_prices_in_a_stablecoin_are_told_with_the_candles_and_with_each_forecast(tmp_path: Path) -> None:
    time = VirtualTime(NOW)
    with FakeUpstream(now=time.wall) as fake:
        for name, market in (("okx", "BTC/USDT"), ("bitstamp", "BTC/USD")):
            exchange = SOURCES[name]
            assert isinstance(exchange, HttpExchange)
            stall = ExchangeStall(tmp_path / name, fake, exchange, time)
            (fetched,) = stall.fetch("bitcoin", since=NOW - timedelta(days=400)).coins
            context = Context(stall.config, wall_clock=time.wall, candles=stall.store)
            (made,) = forecast(context, Request(Selection(("bitcoin",), exchange.name), horizons=(1,))).forecasts
            told = market == "BTC/USDT"
            assert ("prices in usdt, taken for usd" in fetched.notes) == told
            assert ("prices of BTC/USDT are taken for usd." in made.notices) == told


# Two series, in some thirty pages, at eight calls a second.
FETCH = ("fetch", "bitcoin", "ethereum", "--source", "coinbase", "--json")


def killed_at(calls: int, fake: FakeUpstream, folder: Path, *arguments: str, **environment: str) -> None:
    """Kill the process of a command once so many pages of bars were answered."""
    before = fake.calls.total
    process = started(*arguments, folder=folder, **environment)
    assert fake.calls.wait(before + calls, timeout_s=120)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, "it was done before it was killed"


def stored(folder: Path, granularity: str, until: datetime) -> dict[str, pl.DataFrame]:
    """What the store has of both coins."""
    store = open_store(Config(store=StoreConfig(path=folder / "data")))
    frames = {}
    for coin in ("bitcoin", "ethereum"):
        market = Market("coinbase", "usd", "hourly" if granularity == "hourly" else "daily")
        candles = store.read(SeriesKey(market, coin))
        if candles is not None:
            frames[coin] = candles.frame.filter(pl.col("close_time") <= until)
    assert store.verify() == []
    return frames


def undisturbed_fetch(folder: Path, fake: FakeUpstream, granularity: str, since: str) -> None:
    """The same command in this process."""
    config = Config(store=StoreConfig(path=folder / "data"), exchanges=ExchangesConfig(base_url=fake.origin))
    bars = Selection(("bitcoin", "ethereum"), "coinbase", None, "hourly" if granularity == "hourly" else "daily")
    report = fetch(Context(config), FetchOrder(bars, as_moment(date.fromisoformat(since))))
    assert report.exit_code == 0


def check_kills(folder: Path, kills: list[int], granularity: str, *sinces: str) -> None:
    """Kill a fetch after so many calls each, for each --since; the runs after that ask for the rest alone, and the
    store is that of a run that nobody disturbed."""
    folder.mkdir()
    calm = folder.parent / "calm"
    calm.mkdir()
    with FakeUpstream(coins=0) as fake:
        until = fake.clock.now() - timedelta(hours=2)
        settings = {"CRYPTOCAST_EXCHANGES__BASE_URL": fake.origin}
        words = (*FETCH, "--granularity", granularity)
        for since in sinces:
            fake.script([Rule(fault="slow", seconds=0.1, endpoints=("exchange_bars",))])
            before, kept = fake.calls.count("exchange_bars"), 0
            for calls in kills:
                killed_at(calls, fake, folder, *words, "--since", since, **settings)
                rows = sum(len(frame) for frame in stored(folder, granularity, until).values())
                assert rows >= kept > -1
                kept = rows
            assert kept > 0
            assert finished(*words, "--since", since, folder=folder, **settings).code == 0
            asked = fake.calls.count("exchange_bars") - before
            fake.script([])
            before = fake.calls.count("exchange_bars")
            undisturbed_fetch(calm, fake, granularity, since)
            pages = fake.calls.count("exchange_bars") - before
            # What was under way when it was killed, and the newest bars of each coin, which age meanwhile.
            assert asked <= pages + len(kills) * (AT_ONCE + 2)
            disturbed, undisturbed = (stored(place, granularity, until) for place in (folder, calm))
            assert disturbed.keys() == undisturbed.keys() == {"bitcoin", "ethereum"}
            for coin, frame in undisturbed.items():
                assert disturbed[coin].equals(frame)


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
def test_a_kill_in_the_middle_of_paging_loses_nothing(tmp_path: Path) -> None:
    check_kills(tmp_path / "killed", [6], "daily", "2022-01-01")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kill -9 is POSIX")
@pytest.mark.parametrize(
    ("granularity", "sinces"), [("daily", ("2021-01-01", "2015-01-01")), ("hourly", ("2026-09-01", "2026-04-01"))]
)
def test_kills_lose_nothing_also_on_the_way_to_an_earlier_since(
    tmp_path: Path, granularity: str, sinces: tuple[str, ...]
) -> None:
    check_kills(tmp_path / "killed", [5, 9], granularity, *sinces)


@pytest.mark.slow
def test_train_in_an_empty_folder_fetches_the_whole_history_in_a_few_calls(tmp_path: Path) -> None:
    with FakeUpstream() as fake:
        settings = {
            "CRYPTOCAST_DATA__EXCHANGES": ",".join(get_args(ExchangeName)),  # the default, which the tests do without
            "CRYPTOCAST_EXCHANGES__BASE_URL": fake.origin,
            "CRYPTOCAST_COINGECKO__BASE_URL": fake.url,
        }
        ended = finished("train", "bitcoin", "--json", folder=tmp_path, **settings)
        assert ended.code == 0, ended.err
        assert 0 < fake.calls.total < 30
        words = ("backtest", "bitcoin", "ethereum", "litecoin", "--walk-forward", "--model", "baseline")
        ended = finished(*words, "--json", folder=tmp_path, **settings)
        assert ended.code == 0, ended.err
        rows = {one["coin"]: one["rows"] for one in json.loads(ended.out)["data"]}
        assert rows.keys() == {"bitcoin", "ethereum", "litecoin"}
        assert min(rows.values()) > 2500
        assert fake.calls.total < 30
