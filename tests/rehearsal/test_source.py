"""cryptocast's own CoinGecko source against the stand-in, end to end over a socket."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from cryptocast.choices import Granularity
from cryptocast.config import CoinGeckoConfig
from cryptocast.data.candle_checks import check_candles
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.coingecko.client import CoinGecko
from cryptocast.errors import ConfigError, DataError, UpstreamError, UsageError
from cryptocast.market import Market
from cryptocast.rehearsal import DEMO_KEY, WORST, FakeUpstream, Rule
from cryptocast.rehearsal.faults import Fault
from tests.data.sources.coingecko.history import history
from tests.rehearsal.conftest import NOW


def config_of(fake: FakeUpstream, **settings: object) -> CoinGeckoConfig:
    defaults: dict[str, object] = {"calls_per_minute": 1000, "max_retries": 0}
    known = {**defaults, **settings}
    return CoinGeckoConfig(base_url=fake.url, pro_base_url=fake.url, **known)  # type: ignore[arg-type]


@pytest.fixture
def source(fake: FakeUpstream) -> Iterator[CoinGecko]:
    with CoinGecko(config_of(fake)) as source:
        yield source


def test_a_year_of_days_takes_one_call_and_has_the_true_closes(fake: FakeUpstream, source: CoinGecko) -> None:
    frame = history(source, "bitcoin", "usd", "daily", 365, NOW).frame
    check_candles(frame, SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin"))
    assert fake.calls.total == fake.calls.count("market_chart", coin="bitcoin") == 1
    assert frame.height == 365
    truth = [fake.price("bitcoin", at) for at in frame["close_time"]]
    assert frame["close"].to_list() == pytest.approx(truth)
    assert frame["close_time"][-1] == NOW.replace(hour=0, minute=0, second=0)
    assert 0 < frame["market_cap"].null_count() < 30
    assert 0 < frame["volume"].null_count() < 30


def test_a_year_of_hours_takes_a_call_for_each_quarter(fake: FakeUpstream, source: CoinGecko) -> None:
    frame = history(source, "ethereum", "eur", "hourly", 365, NOW).frame
    check_candles(frame, SeriesKey(Market("coingecko", "eur", "hourly"), "ethereum"))
    assert fake.calls.total == 5
    # An hour at the seam of two calls may be stamped on the wrong side of both.
    assert 8755 <= frame.height <= 8760
    truth = [fake.price("ethereum", at, "eur") for at in frame["close_time"][::97]]
    assert frame["close"].to_list()[::97] == pytest.approx(truth)


def test_hours_add_up_to_days(fake: FakeUpstream, source: CoinGecko) -> None:
    hours = history(source, "bitcoin", "usd", "hourly", 90, NOW).frame
    days = history(source, "bitcoin", "usd", "daily", 91, NOW).frame
    joined = days.join(hours, on="close_time", suffix="_hourly")
    assert joined.height >= 89
    assert joined["close"].to_list() == pytest.approx(joined["close_hourly"].to_list())


@pytest.mark.parametrize(("granularity", "days", "bars"), [("daily", 365, 350), ("hourly", 90, 2000)])
def test_the_worst_series_still_make_valid_candles(
    fake: FakeUpstream, source: CoinGecko, granularity: Granularity, days: int, bars: int
) -> None:
    fake.set_quirks(WORST)
    frame = history(source, "bitcoin", "usd", granularity, days, NOW).frame
    check_candles(frame, SeriesKey(Market("coingecko", "usd", granularity), "bitcoin"))
    assert bars < frame.height < days * (24 if granularity == "hourly" else 1)


@pytest.mark.parametrize("minutes", [-1, 0, 5, 11, 40])
def test_over_midnight_no_bar_is_taken_before_it_is_there(fake: FakeUpstream, source: CoinGecko, minutes: int) -> None:
    midnight = datetime(2026, 1, 3, tzinfo=UTC)
    fake.set_now(midnight + timedelta(minutes=minutes, seconds=3))
    frame = history(source, "bitcoin", "usd", "daily", 91, fake.clock.now()).frame
    expected = midnight if minutes >= 10 else midnight - timedelta(days=1)
    assert frame["close_time"][-1] == expected
    assert frame["close"][-1] == pytest.approx(fake.price("bitcoin", expected))


def test_young_stopped_and_dead_coins(source: CoinGecko) -> None:
    assert history(source, "young-coin", "usd", "daily", 365, NOW).frame.height == 20
    stopped = history(source, "stopped-coin", "usd", "daily", 365, NOW).frame
    assert stopped["close_time"][-1] < NOW - timedelta(days=29)
    with pytest.raises(DataError, match="has no coin"):
        history(source, "dead-coin", "usd", "daily", 365, NOW)
    with pytest.raises(UsageError, match="zzz"):
        history(source, "bitcoin", "zzz", "daily", 365, NOW)


@pytest.mark.parametrize(
    "fault",
    [
        "truncated",
        "reset",
        "reset_body",
        "close",
        "garbage",
        "not_json",
        "empty",
        "cut_json",
        "error",
        "hang",
        "hang_body",
    ],
)
def test_a_fault_is_an_upstream_error_and_the_next_call_is_good(
    fake: FakeUpstream, source: CoinGecko, fault: Fault
) -> None:
    fake.script([Rule(fault=fault, seconds=2, times=1)])
    with CoinGecko(config_of(fake, read_timeout_s=0.5)) as impatient, pytest.raises(UpstreamError):
        history(impatient, "bitcoin", "usd", "daily", 91, NOW)
    assert history(source, "bitcoin", "usd", "daily", 91, NOW).frame.height == 91


def test_a_single_fault_is_survived_by_a_retry(fake: FakeUpstream) -> None:
    fake.script([Rule(fault="error", status=503, shape="html", calls=(1,))])
    with CoinGecko(config_of(fake, max_retries=2)) as source:
        assert history(source, "bitcoin", "usd", "daily", 91, NOW).frame.height == 91
    assert [call.status for call in fake.calls.log] == [503, 200]


def test_the_rate_limit_is_told(fake: FakeUpstream, source: CoinGecko) -> None:
    fake.set_limits(1)
    history(source, "bitcoin", "usd", "daily", 91, NOW)
    with pytest.raises(UpstreamError, match="rate limit"):
        history(source, "bitcoin", "usd", "daily", 91, NOW)


def test_a_demo_key_opens_the_demo_plan_and_a_wrong_one_does_not() -> None:
    with FakeUpstream(now=NOW, plan="demo", coins=0) as fake:
        with CoinGecko(config_of(fake, plan="demo"), api_key=DEMO_KEY) as source:
            assert history(source, "bitcoin", "usd", "daily", 91, NOW).frame.height == 91
        with (
            CoinGecko(config_of(fake, plan="demo"), api_key="wrong") as source,
            pytest.raises(ConfigError, match="rejected the demo key"),
        ):
            history(source, "bitcoin", "usd", "daily", 91, NOW)
        with (
            CoinGecko(config_of(fake, plan="pro"), api_key="any") as source,
            pytest.raises(ConfigError, match="another plan"),
        ):
            history(source, "bitcoin", "usd", "daily", 91, NOW)
