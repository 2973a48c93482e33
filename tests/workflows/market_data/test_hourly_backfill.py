"""Fetches over a virtual clock: how long they take at the limit, what a kill loses, what midnight brings."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.errors import RateLimited
from cryptocast.errors import DataError
from cryptocast.market import Market
from cryptocast.net import Unreachable
from cryptocast.rehearsal import DEMO_KEY, WORST, FakeUpstream, Rule
from cryptocast.workflows.context import Context, NoProgress, Resolved
from cryptocast.workflows.market_data.resolve import CoinCandles, obtain
from tests.data.sources.coingecko.history import history
from tests.workflows.market_data.virtual_time import Stall, VirtualTime

NOW = datetime(2026, 1, 2, 15, 1, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)
KEYLESS = 5  # calls a minute


def series(coin: str, granularity: str = "daily") -> SeriesKey:
    return SeriesKey(Market("coingecko", "usd", "hourly" if granularity == "hourly" else "daily"), coin)


class Phases(NoProgress):
    """When each phase of a fetch ended, in seconds of the virtual clock, and of how many steps it was."""

    def __init__(self, time: VirtualTime) -> None:
        self._time, self._now = time, ""
        self.ended: dict[str, float] = {}
        self.steps: dict[str, int] = {}

    def begin(self, task: str, total: int) -> None:
        self._now = task.split(",")[0]
        self.steps[self._now] = total

    def step(self, note: str) -> None:
        """Not looked at."""

    def end(self) -> None:
        self.ended[self._now] = self._time.passed_s


def seconds_for(calls: int, per_minute: int) -> int:
    """The soonest that the last of so many calls can go out: a burst, then another each minute."""
    return (calls - 1) // per_minute * 60


def year_of(folder: Path, count: int) -> None:
    time = VirtualTime(NOW)
    coins = [f"coin-{number:03d}" for number in range(count)]
    with FakeUpstream(now=time.wall, coins=count, limits=KEYLESS, limit_clock="virtual") as fake:
        stall, phases = Stall(folder, fake, time), Phases(time)
        report = stall.fetch(*coins, progress=phases)
        assert (report.exit_code, report.summary.failed, report.summary.pages_left) == (0, 0, 0)
        assert fake.calls.summary()["statuses"] == {"200": 6 * count}  # never a 429
        assert phases.ended == {"fetch": seconds_for(count, 5), "hours": seconds_for(6 * count, KEYLESS)}
        assert phases.steps == {"fetch": count, "hours": 5 * count}
        for coin in coins:
            daily = stall.store.read(series(coin))
            assert daily is not None
            assert len(daily.frame) == 365
            # The oldest day began before the year that the plan shows.
            assert daily.frame["range_known"].to_list() == [False] + [True] * 364
        before = fake.calls.total
        assert stall.fetch(*coins).summary.calls == 0
        assert fake.calls.total == before


def test_a_year_of_days_comes_first_and_their_hours_as_soon_as_the_limit_allows(tmp_path: Path) -> None:
    year_of(tmp_path, 4)


@pytest.mark.slow
def test_fifty_coins_have_their_closes_in_ten_minutes_and_their_hours_within_the_hour(tmp_path: Path) -> None:
    assert seconds_for(50, KEYLESS) <= 600
    assert seconds_for(300, KEYLESS) < 3600
    year_of(tmp_path, 50)


@pytest.fixture
def stall(tmp_path: Path) -> Iterator[Stall]:
    time = VirtualTime(NOW)
    with FakeUpstream(now=time.wall, coins=3) as fake:
        yield Stall(tmp_path, fake, time, calls_per_minute=1000)


def test_highs_and_lows_are_those_of_the_hours(stall: Stall) -> None:
    stall.fetch("bitcoin", since=stall.time.wall() - timedelta(days=100))
    daily = stall.store.read(series("bitcoin"))
    assert daily is not None
    assert "high and low of days are those of their hours' prices" in " ".join(daily.provenance.notes)
    for bar in daily.frame.tail(90).sample(10, seed=3).rows(named=True):
        begin = bar["close_time"] - DAY
        truth = [stall.fake.price("bitcoin", begin + timedelta(hours=h)) for h in range(25)]
        # An hour's point is up to two minutes late.
        assert bar["high"] == pytest.approx(max(truth), rel=0.01)
        assert bar["low"] == pytest.approx(min(truth), rel=0.01)
        assert (bar["open"], bar["close"]) == pytest.approx((truth[0], truth[-1]))


class Killed(Exception):  # noqa: N818 - what happens
    """The process ends here."""


class DiesAt(NoProgress):
    """Progress that does not come back from its nth step: the page is stored by then, as before any kill."""

    def __init__(self, step: int) -> None:
        self._left, self._hours = step, False

    def begin(self, task: str, total: int) -> None:
        self._hours = task.startswith("hours")

    def step(self, note: str) -> None:
        self._left -= self._hours
        if self._left == 0:
            raise Killed

    def end(self) -> None:
        """Shows nothing."""


@pytest.mark.parametrize("at", [2, 7])
def test_a_kill_loses_at_most_the_page_in_flight(tmp_path: Path, at: int) -> None:
    time = VirtualTime(NOW)
    with FakeUpstream(now=time.wall, coins=3) as fake:
        stall = Stall(tmp_path, fake, time, calls_per_minute=KEYLESS)
        with pytest.raises(Killed):
            stall.fetch("bitcoin", "ethereum", progress=DiesAt(at))
        asked = fake.calls.count("range")
        assert asked in (at, at + 1)
        report = stall.fetch("bitcoin", "ethereum")
        assert [coin.hours_problem for coin in report.coins] == [None, None]
        assert fake.calls.count("range") <= 10 + 1
        assert fake.calls.count("market_chart") == 2
        assert stall.store.verify() == []
        for coin in ("bitcoin", "ethereum"):
            daily = stall.store.read(series(coin))
            assert daily is not None
            assert daily.frame["range_known"].sum() == 364


def test_days_get_their_highs_and_lows_from_hours_that_are_there_already(stall: Stall) -> None:
    stall.fetch("bitcoin")
    stall.store.path(series("bitcoin")).unlink()
    stall.fetch("bitcoin")
    daily = stall.store.read(series("bitcoin"))
    assert daily is not None
    assert daily.frame["range_known"].sum() == 364


# --- over midnight


@pytest.mark.parametrize("vendor_cache", [False, True])
def test_over_midnight_no_partial_bar_enters_the_store(tmp_path: Path, vendor_cache: bool) -> None:
    """Each few minutes from 23:52 to 00:52, with the upstream's delays, days and hours; all that is stored is true."""
    time = VirtualTime(NOW)
    with FakeUpstream(now=time.wall, coins=3, quirks=WORST, vendor_cache=vendor_cache) as fake:
        over_midnight(Stall(tmp_path, fake, time, calls_per_minute=1000))


def over_midnight(stall: Stall) -> None:
    time = stall.time
    time.start = MIDNIGHT - timedelta(minutes=8) + timedelta(seconds=7)
    seen: dict[tuple[str, datetime], datetime] = {}
    for _ in range(13):
        now = time.wall()
        for granularity in ("daily", "hourly"):
            since = now - timedelta(days=4)
            stall.fetch("bitcoin", granularity=granularity, since=since, refresh=True, hours=granularity == "daily")
            stored = stall.store.read(series("bitcoin", granularity))
            assert stored is not None
            frame = stored.frame
            assert frame["close_time"].max() <= now  # type: ignore[operator]
            off = pl.col("close_time").dt.truncate("1d" if granularity == "daily" else "1h") != pl.col("close_time")
            assert frame.filter(off).is_empty()
            for at in frame["close_time"].to_list():
                seen.setdefault((granularity, at), now)
        time.passed_s += 300
    final = stall.store.read(series("bitcoin"))
    assert final is not None
    for at, close in final.frame.select("close_time", "close").rows():
        told = stall.fake.price("bitcoin", at)
        assert close == pytest.approx(told, rel=0.0021)  # provisional prices are off by up to a share of 0.002
    assert seen["daily", MIDNIGHT] - MIDNIGHT == timedelta(minutes=12, seconds=7)
    hourly = stall.store.read(series("bitcoin", "hourly"))
    assert hourly is not None
    for at, close in hourly.frame.tail(12).select("close_time", "close").rows():
        late = [stall.fake.price("bitcoin", at + timedelta(minutes=m)) for m in (0, 5)]
        assert min(late) * 0.997 <= close <= max(late) * 1.003


def test_the_plain_command_asks_for_a_new_day_when_it_is_sure_to_be_there_and_then_once(stall: Stall) -> None:
    stall.fetch("bitcoin", hours=False)
    stall.time.start = MIDNIGHT + DAY
    came = {}
    for minute in (1, 9, 14, 16, 20, 44):
        stall.time.passed_s = minute * 60.0
        came[minute] = stall.fetch("bitcoin", hours=False).summary.calls
    assert came == {1: 0, 9: 0, 14: 0, 16: 1, 20: 0, 44: 0}


def test_the_hours_of_a_new_day_wait_for_the_range_to_be_there(stall: Stall) -> None:
    stall.fetch("bitcoin")
    stall.time.start = MIDNIGHT + DAY
    calls = {}
    for minute in (16, 40, 46, 50):
        stall.time.passed_s = minute * 60.0
        report = stall.fetch("bitcoin")
        calls[minute] = (report.summary.calls, report.coins[0].refined)
    assert calls == {16: (1, 0), 40: (0, 0), 46: (1, 1), 50: (0, 0)}


def test_a_price_that_is_revised_within_a_day_is_taken_and_the_old_one_can_be_read(stall: Stall) -> None:
    stall.fetch("bitcoin")
    first = stall.time.wall()
    stall.fake.revise("bitcoin", MIDNIGHT, 1.02)
    stall.time.passed_s += DAY.total_seconds()
    row = stall.fetch("bitcoin").coins[0]
    assert (row.added, row.revised) == (1, 1)
    now, then = stall.store.read(series("bitcoin")), stall.store.read(series("bitcoin"), first)
    assert now is not None
    assert then is not None
    bar = pl.col("close_time") == MIDNIGHT
    assert now.frame.filter(bar)["close"].item() == pytest.approx(1.02 * then.frame.filter(bar)["close"].item())
    assert then.frame["close_time"][-1] == MIDNIGHT
    assert now.frame.filter(bar)["range_known"].item()


# --- one coin and the others


def test_one_coin_that_fails_does_not_fail_the_others(stall: Stall) -> None:
    for fault in ("error", "hang", "cut_json", "not_json", "truncated"):
        stall.fake.script([Rule(fault=fault, ids=("ethereum",), seconds=3)])
        report = stall.fetch("ethereum", "bitcoin", "solana", refresh=True, hours=False)
        assert [row.error is None for row in report.coins] == [False, True, True], fault
        assert report.exit_code == 0
        assert (report.summary.came, report.summary.failed) == (2, 1)


def test_the_exit_code_is_4_only_if_the_upstream_failed_for_all(stall: Stall) -> None:
    stall.fake.script(["error"])
    assert stall.fetch("bitcoin", "ethereum").exit_code == 4
    stall.fake.script([])
    assert stall.fetch("bitcoin", "no-such-coin").exit_code == 3


def test_a_dead_network_is_asked_twice_and_not_for_each_coin(stall: Stall) -> None:
    stall.fake.kill()
    report = stall.fetch("bitcoin", "ethereum", "solana", "dogecoin")
    assert report.exit_code == 4
    assert report.summary.calls == 2


def test_commands_without_a_network_never_wait_for_the_limit(tmp_path: Path) -> None:
    time = VirtualTime(NOW)
    with FakeUpstream(now=time.wall, coins=1) as fake:
        stall = Stall(tmp_path, fake, time)
        fake.kill()
        with stall.upstream() as upstream:
            for _ in range(12):
                with pytest.raises(Unreachable):
                    history(upstream, "bitcoin", "usd", "daily", 365, NOW)
    assert time.passed_s == 0


def test_a_coin_without_hours_keeps_its_closes_and_says_why(stall: Stall) -> None:
    stall.fake.script([Rule(fault="error", endpoints=("range",), ids=("ethereum",))])
    report = stall.fetch("bitcoin", "ethereum")
    bitcoin, ethereum = report.coins
    assert (bitcoin.hours_problem, bitcoin.refined) == (None, 364)
    assert (ethereum.error, ethereum.added, ethereum.refined) == (None, 365, 0)
    assert "status 500" in (ethereum.hours_problem or "")
    assert report.summary.pages_left >= 3
    stall.fake.script([])
    assert stall.fetch("bitcoin", "ethereum").summary.calls == 5


def test_a_wait_that_the_upstream_asks_for_is_kept_by_all_and_then_the_call_is_made(tmp_path: Path) -> None:
    time = VirtualTime(NOW)
    with FakeUpstream(now=time.wall, coins=3) as fake:
        stall = Stall(tmp_path, fake, time, calls_per_minute=1000)
        fake.script([Rule(fault="too_many", seconds=119, calls=(2,))])
        report = stall.fetch("bitcoin", "ethereum", "solana", hours=False)
        assert (report.exit_code, report.summary.calls) == (0, 4)
        assert time.passed_s == pytest.approx(119, abs=2)


def test_a_pause_of_an_hour_is_told_and_not_sat_through(tmp_path: Path) -> None:
    time = VirtualTime(NOW)
    with FakeUpstream(now=time.wall, coins=3) as fake:
        stall = Stall(tmp_path, fake, time, calls_per_minute=1000)
        fake.script([Rule(fault="too_many", seconds=3600)])
        report = stall.fetch("bitcoin", "ethereum", "solana", "dogecoin", hours=False)
        assert (report.exit_code, report.summary.calls) == (4, 1)
        assert {row.error is None for row in report.coins} == {False}
        assert "Try again in 3600 s" in str(report.coins[0].error)
        assert time.passed_s == 0


def test_who_comes_while_the_upstream_wants_an_hour_of_peace_hears_when_to_come_again(tmp_path: Path) -> None:
    time = VirtualTime(NOW)
    with FakeUpstream(now=time.wall, coins=3) as fake:
        stall = Stall(tmp_path, fake, time, calls_per_minute=1000)
        with stall.upstream() as upstream:
            fake.script([Rule(fault="too_many", seconds=3600, times=1)])
            with pytest.raises(RateLimited):
                history(upstream, "bitcoin", "usd", "daily", 365, NOW)
            with pytest.raises(RateLimited, match=r"long pause. Try again in 3\d\d\d s"):
                history(upstream, "bitcoin", "usd", "daily", 365, NOW)
            assert (fake.calls.total, time.passed_s) == (1, 0)
            time.passed_s += 3601
            assert len(history(upstream, "bitcoin", "usd", "daily", 365, NOW).frame) > 360


def test_a_limit_that_stays_used_up_after_the_wait_is_a_quota_that_is_gone(stall: Stall) -> None:
    stall.fake.script([Rule(fault="too_many", seconds=119, after=1)])
    report = stall.fetch("bitcoin", "ethereum", "solana", "dogecoin")
    assert [row.error is None for row in report.coins] == [True, False, False, False]
    assert stall.fake.calls.total == 1 + 3 * 2  # those that were under way beside it came to the same end
    assert "still used up after the wait" in str(report.coins[-1].error)


# --- the credits of the month


def test_the_backfill_leaves_credits_for_the_user_and_goes_on_next_month(tmp_path: Path) -> None:
    time = VirtualTime(NOW)
    with FakeUpstream(now=time.wall, plan="demo", coins=3) as fake:
        stall = Stall(tmp_path, fake, time, api_key=DEMO_KEY, plan="demo", calls_per_minute=1000, monthly_credits=10)
        report = stall.fetch("bitcoin", "ethereum", "solana")
        assert report.exit_code == 0
        assert (report.summary.calls, report.summary.credits_used, report.summary.credits_left) == (6, 6, 4)
        assert "6 of the 10 credits" in (report.summary.stopped or "")
        assert report.summary.in_words().startswith("3 of 3 coins came; 6 calls; ")
        assert "4 credits are left this month. 12 pages of hours are still to come" in report.summary.in_words()
        assert report.summary.pages_left == 12
        again = stall.fetch("bitcoin", "ethereum", "solana", "dogecoin", hours=False)
        assert (again.summary.calls, again.summary.credits_left) == (1, 3)
        time.passed_s += 30 * DAY.total_seconds()
        assert stall.fetch("bitcoin", hours=False).summary.credits_used == 1


def test_the_upstreams_own_word_on_the_month_stops_the_backfill_for_an_hour(stall: Stall) -> None:
    stall.fetch("bitcoin", hours=False)
    message = "You've exceeded your monthly call credits. Please upgrade your plan."
    stall.fake.script([Rule(fault="error", status=429, shape="status", message=message)])
    report = stall.fetch("bitcoin")
    assert report.exit_code == 0
    assert "monthly credits" in (report.summary.stopped or "")
    stall.fake.script([])
    assert stall.fetch("bitcoin").summary.calls == 0
    stall.time.passed_s += 3700
    assert stall.fetch("bitcoin").summary.calls == 5


# --- young, delisted and moved coins


def test_a_young_coin_is_asked_for_once_a_day_and_its_first_part_of_a_day_stays_close_only(stall: Stall) -> None:
    first = stall.fetch("young-coin")
    assert first.coins[0].rows == 20
    assert first.coins[0].refined in (19, 20)
    assert stall.fetch("young-coin").summary.calls == 0
    stall.time.passed_s += DAY.total_seconds()
    assert stall.fetch("young-coin").summary.calls == 2  # the new day, and its hours


def test_the_hours_of_the_days_are_no_fetch_of_the_newest_hours(stall: Stall) -> None:
    stall.fetch("bitcoin", since=NOW - 60 * DAY)
    hours = stall.store.read(series("bitcoin", "hourly"))
    assert hours is not None
    assert (hours.provenance.last, hours.provenance.fetched_at) == (MIDNIGHT, MIDNIGHT)
    row = stall.fetch("bitcoin", granularity="hourly", since=NOW - 30 * DAY).coins[0]
    assert (row.last, row.stale, row.added) == (MIDNIGHT + timedelta(hours=14), False, 14)
    assert stall.fetch("bitcoin", granularity="hourly", since=NOW - 30 * DAY).summary.calls == 0
    stall.time.passed_s += 4 * 3600
    stall.fetch("bitcoin", refresh=True, since=NOW - 70 * DAY)  # its hours come again, and no newer ones
    assert stall.fetch("bitcoin", granularity="hourly", since=NOW - 30 * DAY).coins[0].added == 5


def test_a_delisted_coin_is_stale_and_says_that_it_may_be_delisted(stall: Stall) -> None:
    row = stall.fetch("stopped-coin", hours=False).coins[0]
    assert row.stale
    assert "may be delisted" in (row.notice or "")


def test_a_delisted_coin_is_live_for_its_longest_horizon_and_then_it_has_ended(stall: Stall) -> None:
    context = Context(stall.config, wall_clock=stall.time.wall, candles=stall.store)
    request = Resolved(("stopped-coin",), "coingecko", "usd", "daily", now=None)
    ages = []
    for days in (0, 0, 1):  # asked again at once, and one day later
        stall.time.passed_s += days * DAY.total_seconds()
        bars = obtain(context, request, connect=lambda _: stall.connect())["stopped-coin"]
        assert isinstance(bars, CoinCandles)
        ages.append((bars.stale, bars.age.has_ended, bars.age.late))
    assert ages == [(True, False, 30), (True, False, 30), (True, True, 0)]
    assert stall.fake.calls.count("market_chart") == 2


def test_a_symbol_a_name_and_a_moved_id_are_answered_with_the_right_id(stall: Stall) -> None:
    report = stall.fetch("btc", "eth", "matic-network", "dead-coin", source="coingecko")
    said = [str(row.error and row.error.message) for row in report.coins]
    assert "Did you mean bitcoin or batcat?" in said[0]
    assert "Did you mean ethereum?" in said[1]
    assert "it is now polygon-ecosystem-token" in said[2]
    assert report.exit_code == DataError.exit_code
    assert stall.fake.calls.count("list") == 1
    before = stall.fake.calls.total
    stall.fetch("btc", "eth", "matic-network", "dead-coin", source="coingecko")
    assert stall.fake.calls.total == before
