"""The stand-in as a whole: its clock, its limits, its counts, its controls, its deaths."""

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from cryptocast.errors import UsageError
from cryptocast.rehearsal import Coin, FakeUpstream, Limits, Quirks, Rule, catalogue
from cryptocast.rehearsal.clock import Clock
from tests.rehearsal.conftest import NOW

DAY = 86_400_000
MIDNIGHT = datetime(2026, 1, 3, tzinfo=UTC)
MIDNIGHT_MS = int(MIDNIGHT.timestamp() * 1000)


def daily(client: httpx.Client) -> list[int]:
    answer = client.get("/coins/bitcoin/market_chart", params={"vs_currency": "usd", "days": "91"})
    return [int(at) for at, _ in answer.json()["prices"]]


def ranged(client: httpx.Client) -> list[int]:
    begin = int((MIDNIGHT - timedelta(days=120)).timestamp())
    params = {"vs_currency": "usd", "from": str(begin), "to": str(begin + 200 * 86_400)}
    answer = client.get("/coins/bitcoin/market_chart/range", params=params)
    return [int(at) for at, _ in answer.json()["prices"]]


def test_the_same_seed_answers_byte_for_byte_the_same() -> None:
    bodies = []
    for seed in (7, 7, 8):
        with FakeUpstream(now=NOW, seed=seed, coins=3) as fake, httpx.Client(base_url=fake.url) as client:
            chart = client.get("/coins/coin-001/market_chart?vs_currency=usd&days=90").content
            bodies.append((chart, client.get("/simple/price?ids=coin-001&vs_currencies=usd").content))
    assert bodies[0] == bodies[1]
    assert bodies[0][0] != bodies[2][0]


@pytest.mark.parametrize("minutes", [0, 9, 10, 34, 35, 39, 41])
def test_over_midnight_the_finished_day_comes_late(fake: FakeUpstream, client: httpx.Client, minutes: int) -> None:
    fake.set_now(MIDNIGHT + timedelta(minutes=minutes, seconds=1))
    now_ms = fake.clock.now_ms()
    chart, span = daily(client), ranged(client)
    assert (MIDNIGHT_MS in chart) == (minutes >= 10)
    assert (MIDNIGHT_MS in span) == (minutes >= 35)
    for found in (chart, span):
        assert MIDNIGHT_MS - DAY in found
        assert found[-1] == now_ms
        assert all(at % DAY == 0 for at in found[:-1])


def test_at_midnight_itself_the_last_point_has_its_stamp(fake: FakeUpstream, client: httpx.Client) -> None:
    fake.set_now(MIDNIGHT)
    assert daily(client)[-2:] == [MIDNIGHT_MS - DAY, MIDNIGHT_MS]


def test_the_window_of_a_year_slides_with_the_clock(fake: FakeUpstream, client: httpx.Client) -> None:
    begin = int((NOW - timedelta(days=365)).timestamp()) + 60
    params = {"vs_currency": "usd", "from": str(begin), "to": str(begin + 86_400)}
    assert client.get("/coins/bitcoin/market_chart/range", params=params).status_code == 200
    fake.advance(120)
    assert client.get("/coins/bitcoin/market_chart/range", params=params).status_code == 401


# --- the clock


def test_a_clock_stands_runs_faster_and_is_set() -> None:
    now = 50.0
    clock = Clock(NOW, monotonic=lambda: now)
    now += 1000
    assert clock.now() == NOW
    clock.set(speed=60)
    now += 2
    assert clock.now() == NOW + timedelta(minutes=2)
    clock.set(advance_s=60, speed=0)
    now += 5
    assert clock.now() == NOW + timedelta(minutes=3)
    clock.set(MIDNIGHT)
    assert clock.now() == MIDNIGHT


def test_a_clock_can_follow_another(fake: FakeUpstream) -> None:
    moment = NOW
    with FakeUpstream(now=lambda: moment, coins=0) as following:
        moment = MIDNIGHT + timedelta(hours=1)
        with httpx.Client(base_url=following.url) as client:
            assert daily(client)[-2] == MIDNIGHT_MS


def test_by_default_it_is_now() -> None:
    assert abs((Clock().now() - datetime.now(UTC)).total_seconds()) < 5


@pytest.mark.parametrize(
    "bad", [NOW.replace(tzinfo=None), datetime(1999, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)]
)
def test_a_clock_refuses_other_centuries_and_moments_without_a_zone(bad: datetime) -> None:
    with pytest.raises(ValueError, match=r"time zone|outside"):
        Clock(bad)


# --- limits


@pytest.fixture
def limited() -> Iterator[tuple[FakeUpstream, httpx.Client]]:
    """A stand-in that takes three calls a minute, by its own clock."""
    with (
        FakeUpstream(now=NOW, coins=0, limits=3, limit_clock="virtual") as fake,
        httpx.Client(base_url=fake.url) as client,
    ):
        yield fake, client


def test_more_calls_than_the_limit_are_429_until_the_minute_is_over(limited: tuple[FakeUpstream, httpx.Client]) -> None:
    fake, client = limited
    assert [client.get("/ping").status_code for _ in range(4)] == [200, 200, 200, 429]
    fake.advance(20)
    answer = client.get("/ping")
    assert answer.status_code == 429
    wait = int(answer.headers["retry-after"])
    assert 40 <= wait <= 60
    fake.advance(wait)
    assert client.get("/ping").status_code == 200
    assert fake.calls.count(status=429) == 2


def test_retry_after_is_enough_however_many_calls_were_refused(limited: tuple[FakeUpstream, httpx.Client]) -> None:
    fake, client = limited
    for _ in range(8):
        answer = client.get("/ping")
        fake.advance(1)
    fake.advance(int(answer.headers["retry-after"]) - 1)
    assert client.get("/ping").status_code == 200


def test_errors_count_toward_the_limit() -> None:
    with FakeUpstream(now=NOW, coins=0, limits=2) as fake, httpx.Client(base_url=fake.url) as client:
        assert [client.get("/coins/nope/market_chart").status_code for _ in range(3)] == [404, 404, 429]


def test_retry_after_may_be_a_date_or_missing() -> None:
    limits = Limits(per_minute=1, retry_after="date")
    with FakeUpstream(now=NOW, coins=0, limits=limits) as fake, httpx.Client(base_url=fake.url) as client:
        client.get("/ping")
        wait = parsedate_to_datetime(client.get("/ping").headers["retry-after"]) - datetime.now(UTC)
        assert 50 < wait.total_seconds() <= 62
        fake.set_limits(Limits(per_minute=1, retry_after="none"))
        answer = client.get("/ping")
        assert answer.status_code == 429
        assert "retry-after" not in answer.headers


def test_credits_of_the_month_run_out(fake: FakeUpstream, client: httpx.Client) -> None:
    fake.set_limits(Limits(monthly_credits=2))
    answers = [client.get("/ping") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "monthly" in answers[2].json()["status"]["error_message"]


# --- counts


def test_calls_are_counted_by_endpoint_coin_and_status(fake: FakeUpstream, client: httpx.Client) -> None:
    client.get("/simple/price", params={"ids": "bitcoin,ethereum", "vs_currencies": "usd"})
    client.get("/coins/bitcoin/market_chart", params={"vs_currency": "usd", "days": "7"})
    client.get("/coins/nope/market_chart")
    assert fake.calls.total == 3
    assert fake.calls.count("price") == 1
    assert fake.calls.count(coin="bitcoin") == 2
    assert fake.calls.count("market_chart", coin="ethereum") == 0
    assert fake.calls.count(status=404) == 1
    first = fake.calls.log[0]
    assert first.ids == ("bitcoin", "ethereum")
    assert first.params["vs_currencies"] == "usd"
    assert first.clock_s == NOW.timestamp()
    fake.reset()
    assert fake.calls.total == 0


def test_coins_can_be_given_and_added(fake: FakeUpstream, client: httpx.Client) -> None:
    mine = Coin(id="mine", symbol="me", name="Mine", price=2.0, daily_volatility=0.03)
    fake.add_coin(mine)
    assert "mine" in client.get("/simple/price?ids=mine&vs_currencies=usd").json()
    with FakeUpstream(now=NOW, coins=[mine]) as small:
        assert [row["id"] for row in httpx.get(f"{small.url}/coins/list").json()] == ["mine"]


def test_there_can_be_many_thousand_coins() -> None:
    coins = catalogue(15_000, int(NOW.timestamp()))
    assert len(coins) > 15_000
    assert next(iter(coins)) == "bitcoin"
    assert {"coin-007", "coin-14999"} <= coins.keys()


# --- control from outside


def control(fake: FakeUpstream, name: str, body: object = None) -> httpx.Response:
    return httpx.post(f"{fake.origin}/__control/{name}", json=body)


def state(fake: FakeUpstream) -> Any:
    return httpx.get(f"{fake.origin}/__control/calls").json()


def test_faults_clock_limits_and_quirks_are_set_over_http_too(fake: FakeUpstream, client: httpx.Client) -> None:
    assert control(fake, "faults", {"rules": [{"fault": "error", "status": 503, "times": 1}]}).status_code == 200
    assert [client.get("/ping").status_code for _ in range(2)] == [503, 200]
    assert control(fake, "clock", {"now": "2026-01-03T00:10:00Z", "speed": 0}).status_code == 200
    assert daily(client)[-2] == MIDNIGHT_MS
    control(fake, "clock", {"advance_s": 60})
    assert daily(client)[-1] == MIDNIGHT_MS + 11 * 60_000
    control(fake, "quirks", "clean")
    control(fake, "quirks", {"jitter_s": 5})
    control(fake, "latency", 0.01)
    control(fake, "revise", {"coin": "bitcoin", "at": "2026-01-02T00:00:00Z", "factor": 1.1})
    control(fake, "move", {"old": "litecoin", "new": "lightcoin"})
    assert client.get("/coins/litecoin/market_chart").status_code == 404
    control(fake, "limits", {"per_minute": 1})
    assert client.get("/ping").status_code == 429
    assert control(fake, "close_idle").status_code == 200


def test_counts_are_read_over_http_and_controls_are_not_counted(fake: FakeUpstream, client: httpx.Client) -> None:
    client.get("/simple/price?ids=bitcoin,nope&vs_currencies=usd")
    fake.script([Rule(fault="close", times=1)])
    with pytest.raises(httpx.RemoteProtocolError):
        client.get("/ping")
    found = state(fake)
    assert (found["total"], found["endpoints"]) == (2, {"price": 1, "ping": 1})
    assert found["ids"] == {"bitcoin": 1, "nope": 1}
    assert found["statuses"] == {"200": 1, "0": 1}
    assert found["faults"] == {"close": 1}
    assert found["connections"]["accepted"] == 2
    log = httpx.get(f"{fake.origin}/__control/log").json()
    assert [call["endpoint"] for call in log] == ["price", "ping"]
    control(fake, "reset")
    assert state(fake)["total"] == 0


def test_the_cycle_says_what_it_is_at(fake: FakeUpstream) -> None:
    control(fake, "faults", {"cycle": {"each_s": 100, "calm_s": 0, "rules": [{"fault": "hang"}]}})
    assert state(fake)["phase"] == "hang"
    control(fake, "faults", "none")
    assert state(fake)["phase"] is None


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("bogus", None, 404),
        ("faults", "bogus", 400),
        ("faults", {"rules": [{"fault": "bogus"}]}, 400),
        ("clock", {"now": "yesterday"}, 400),
        ("clock", {"now": "1999-01-01T00:00:00Z"}, 400),
        ("limits", {"per_minute": -1}, 400),
        ("quirks", "bogus", 400),
        ("revise", None, 400),
        ("move", {"old": "nope", "new": "x"}, 400),
    ],
)
def test_a_control_that_makes_no_sense_is_refused(fake: FakeUpstream, name: str, body: object, status: int) -> None:
    answer = control(fake, name, body)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


# --- deaths


def test_killed_it_refuses_connections_and_drops_those_it_has_and_comes_back_on_its_port(
    fake: FakeUpstream, client: httpx.Client
) -> None:
    client.get("/ping")
    port = fake.port
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        end = time.monotonic() + 60  # connected, but perhaps not yet accepted
        while fake.connections.open < 2 and time.monotonic() < end:
            time.sleep(0.01)
        assert fake.connections.open == 2
        fake.kill()
        assert raw.recv(1) == b""
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{fake.url}/ping")
    fake.restart()
    assert fake.port == port
    assert client.get("/ping").status_code == 200
    assert fake.calls.total == 2


def test_it_can_be_killed_in_the_middle_of_everything(fake: FakeUpstream) -> None:
    fake.script(["hang"])
    with socket.create_connection(("127.0.0.1", fake.port), timeout=60) as raw:
        raw.sendall(b"GET /api/v3/ping HTTP/1.1\r\n\r\n")
        assert fake.calls.wait(1, timeout_s=60)
        fake.kill()
        assert raw.recv(1) == b""


def test_a_port_that_is_taken_is_said_so(fake: FakeUpstream) -> None:
    with pytest.raises(UsageError, match=f"Port {fake.port} "):
        FakeUpstream(port=fake.port).start()


def test_closed_it_is_gone_and_closing_twice_does_no_harm() -> None:
    fake = FakeUpstream(coins=0)
    fake.start()
    fake.close()
    fake.close()
    with pytest.raises(RuntimeError, match="not running"):
        fake.close_idle()


def test_it_listens_on_the_loopback_only(fake: FakeUpstream) -> None:
    assert fake.url.startswith("http://127.0.0.1:")
    with pytest.raises(OSError, match=r"."), socket.create_connection(("127.0.0.2", fake.port), timeout=1):
        raise AssertionError("another address answers")


def test_the_network_in_front_keeps_answers_for_their_time_and_says_so() -> None:
    with FakeUpstream(now=NOW, coins=2, vendor_cache=True) as fake, httpx.Client(base_url=fake.url) as client:
        path = "/simple/price?ids=bitcoin&vs_currencies=usd"
        first = client.get(path)
        assert first.headers["cf-cache-status"] == "MISS"
        fake.revise("bitcoin", NOW, 2.0)
        fake.advance(59)
        again = client.get("/simple/price?vs_currencies=usd&ids=bitcoin")
        assert (again.content, again.headers["cf-cache-status"], again.headers["age"]) == (first.content, "HIT", "59")
        assert again.headers["cache-control"] == "no-cache"
        fake.advance(2)
        assert client.get(path).headers["cf-cache-status"] == "MISS"
        assert client.get("/coins/nobody/market_chart").headers["cf-cache-status"] == "MISS"
        assert fake.calls.total == 4  # a hit counts like any call


def test_ranges_are_dropped_from_the_cache_forty_minutes_after_midnight() -> None:
    midnight = datetime(2026, 1, 3, tzinfo=UTC)
    begin, end = int(midnight.timestamp()) - 200 * 86_400, int(midnight.timestamp()) + 86_400
    path = f"/coins/bitcoin/market_chart/range?vs_currency=usd&from={begin}&to={end}"
    with FakeUpstream(now=midnight - timedelta(hours=1), vendor_cache=True) as fake:
        seen = []
        for minutes in (0, 60 + 39, 60 + 41):
            fake.set_now(midnight + timedelta(minutes=minutes - 60))
            seen.append(httpx.get(fake.url + path).headers["cf-cache-status"])
    assert seen == ["MISS", "HIT", "MISS"]


def test_volumes_may_change_their_unit(fake: FakeUpstream, client: httpx.Client) -> None:
    path = "/coins/bitcoin/market_chart?vs_currency=usd&days=100"
    usual = dict(client.get(path).json()["total_volumes"])
    fake.set_quirks(Quirks(other_unit_days=30.0))
    told = dict(client.get(path).json()["total_volumes"])
    edge = NOW.timestamp() * 1000 - 30 * 86_400_000
    ratios = {(at < edge, round(usual[at] / told[at])) for at in usual if usual[at]}
    assert ratios == {(True, 1000), (False, 1)}
