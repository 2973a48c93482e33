"""The quirks of the upstream, one test each, numbered as in the list that the source keeps to. Over a real socket."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from cryptocast.config import CoinGeckoConfig
from cryptocast.data.candle_checks import check_candles
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.coingecko.client import CoinGecko
from cryptocast.data.sources.coingecko.market_chart import market_chart
from cryptocast.data.sources.upstream import Page
from cryptocast.errors import DataError
from cryptocast.market import Market
from cryptocast.rehearsal import CLEAN, WORST, Coin, FakeUpstream
from tests.data.sources.coingecko.history import history

NOW = datetime(2026, 1, 2, 15, 1, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
DAILY = SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin")
HOURLY = SeriesKey(Market("coingecko", "usd", "hourly"), "bitcoin")


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    with FakeUpstream(now=NOW, coins=3) as running:
        yield running


@pytest.fixture
def source(fake: FakeUpstream, tmp_path: Path) -> Iterator[CoinGecko]:
    config = CoinGeckoConfig(base_url=fake.url, calls_per_minute=1000, max_retries=0)
    with CoinGecko(config, cache=tmp_path / "cache") as opened:
        yield opened


def days(source: CoinGecko, fake: FakeUpstream, coin: str = "bitcoin", count: int = 100) -> pl.DataFrame:
    return history(source, coin, "usd", "daily", count, fake.clock.now()).frame


def hours(source: CoinGecko, fake: FakeUpstream, end: datetime, span: timedelta) -> pl.DataFrame:
    page = Page(HOURLY, end - span, end, ends_now=end >= fake.clock.now())
    return source.run(source.page(page, fake.clock.now())).frame


def test_1_the_last_point_is_now_and_never_a_bar(fake: FakeUpstream, source: CoinGecko) -> None:
    frame = days(source, fake)
    assert frame["close_time"][-1] == MIDNIGHT
    assert frame["close_time"].is_unique().all()
    fake.set_now(NOW + timedelta(minutes=4))
    assert hours(source, fake, fake.clock.now(), 2 * DAY)["close_time"][-1] == datetime(2026, 1, 2, 15, tzinfo=UTC)


def test_1_nor_in_an_answer_from_a_cache_that_is_older_than_the_hour() -> None:
    def ms(at: datetime) -> float:
        return at.timestamp() * 1000

    three = datetime(2026, 1, 2, 15, tzinfo=UTC)
    points = [[ms(three - HOUR), 1.0], [ms(three - timedelta(seconds=90)), 2.0]]  # "now" was 14:58:30
    frame = market_chart(msgspec.json.encode({"prices": points}), "bitcoin", "hourly", three + 5 * HOUR).frame
    assert frame["close_time"].to_list() == [three - HOUR]


def test_2_the_stamp_of_midnight_is_the_close_of_the_day_before(fake: FakeUpstream, source: CoinGecko) -> None:
    bar = days(source, fake).filter(pl.col("close_time") == MIDNIGHT)
    assert bar["close"].item() == pytest.approx(fake.price("bitcoin", MIDNIGHT))


@pytest.mark.parametrize(("minutes", "there"), [(0, False), (9, False), (11, True)])
def test_3_midnight_is_late_and_nothing_stands_in_for_it(
    fake: FakeUpstream, source: CoinGecko, minutes: int, there: bool
) -> None:
    midnight = MIDNIGHT + DAY
    fake.set_now(midnight + timedelta(minutes=minutes, seconds=1))
    assert (days(source, fake)["close_time"][-1] == midnight) is there


def test_4_hours_that_jitter_are_missing_or_come_twice_make_a_grid(fake: FakeUpstream, source: CoinGecko) -> None:
    fake.set_quirks(WORST)
    frame = hours(source, fake, MIDNIGHT, 89 * DAY)
    check_candles(frame, HOURLY)
    assert 2000 < len(frame) < 89 * 24
    told = frame.sample(50, seed=1)
    for at, close in told.select("close_time", "close").rows():
        if at < NOW - DAY:
            near = [fake.price("bitcoin", at + timedelta(minutes=m)) for m in (0, 5)]
            assert min(near) * 0.999 <= close <= max(near) * 1.001


def test_5_arrays_of_different_length_nulls_and_zeros_are_joined_by_stamp(
    fake: FakeUpstream, source: CoinGecko
) -> None:
    spoiled = days(source, fake, count=365)
    fake.set_quirks(CLEAN)
    clean = days(source, fake, count=365)
    both = spoiled.join(clean, on="close_time", suffix="_clean")
    for name in ("volume", "market_cap"):
        assert 0 < both[name].null_count() < 40
        differing = both.filter(pl.col(name).is_not_null() & (pl.col(name) != pl.col(f"{name}_clean")))
        assert differing.is_empty()
    assert (spoiled["volume"].drop_nulls() > 0).all()


def test_6_hourly_volumes_are_marked_as_sums_of_24_hours(fake: FakeUpstream, source: CoinGecko) -> None:
    found = history(source, "bitcoin", "usd", "hourly", 30, NOW)
    assert "hourly volume is a rolling sum of 24 hours" in found.notes
    midnights = found.frame.filter(pl.col("close_time").dt.hour() == 0).join(
        days(source, fake), on="close_time", suffix="_day"
    )
    ratio = (midnights["volume"] / midnights["volume_day"]).drop_nulls()
    assert ratio.to_list() == pytest.approx([1.0] * len(ratio), rel=0.05)  # a day's worth each, not an hour's


def test_7_a_young_coin_is_short_and_a_delisted_one_ends_without_a_word(fake: FakeUpstream, source: CoinGecko) -> None:
    assert len(days(source, fake, "young-coin", 365)) == 20
    stopped = days(source, fake, "stopped-coin", 365)
    assert stopped["close_time"][-1] == MIDNIGHT - 29 * DAY - DAY


def test_8_prices_are_asked_for_again_until_a_day_has_passed(fake: FakeUpstream, source: CoinGecko) -> None:
    """What the store does with them stands in the tests of the workflows; here, that they do change."""
    before = days(source, fake)["close"][-1]
    fake.revise("bitcoin", MIDNIGHT, 1.01)
    assert days(source, fake)["close"][-1] == pytest.approx(before * 1.01)


def test_9_a_coin_that_moved_is_named_by_its_new_id(fake: FakeUpstream, source: CoinGecko) -> None:
    with pytest.raises(DataError, match="it is now polygon-ecosystem-token"):
        days(source, fake, "matic-network")


def test_9_so_is_one_that_moves_while_we_watch(fake: FakeUpstream, source: CoinGecko) -> None:
    source.run(source.coin_list(NOW))
    fake.move("coin-001", "one-coin")
    fake.set_now(NOW + 25 * HOUR)  # the list is a day old
    with pytest.raises(DataError, match="it is now one-coin"):
        days(source, fake, "coin-001")
    assert len(days(source, fake, "one-coin")) > 90


def test_10_null_is_normal_and_nan_is_not_json(fake: FakeUpstream, source: CoinGecko) -> None:
    fake.set_quirks(WORST)
    frame = days(source, fake, count=365)
    assert frame["close"].is_finite().all()
    assert frame["market_cap"].null_count() > 10
    assert not frame["market_cap"].is_nan().any()


def test_11_headers_of_the_network_in_front_do_not_matter_to_the_bars(fake: FakeUpstream, source: CoinGecko) -> None:
    """`cache-control` says nothing about our times to live: the same call again goes out again."""
    first, second = days(source, fake), days(source, fake)
    assert first.equals(second)
    assert fake.calls.count("market_chart") == 2


def test_12_a_dead_coin_is_unknown_and_costs_one_call_and_the_list_a_day(fake: FakeUpstream, source: CoinGecko) -> None:
    for _ in range(3):
        with pytest.raises(DataError, match="has no coin 'dead-coin'"):
            days(source, fake, "dead-coin")
    assert (fake.calls.count("market_chart"), fake.calls.count("list")) == (1, 1)
    fake.add_coin(Coin(id="dead-coin", symbol="dead", name="Dead Coin", price=1.0))
    fake.set_now(NOW + 25 * HOUR)
    assert len(days(source, fake, "dead-coin")) > 90


def test_a_symbol_is_not_an_id_and_the_list_knows_which_was_meant(fake: FakeUpstream, source: CoinGecko) -> None:
    with pytest.raises(DataError, match="Did you mean bitcoin or batcat"):
        days(source, fake, "btc")
