from datetime import UTC, datetime, timedelta

import httpx
import pytest

from cryptocast.rehearsal import FakeUpstream
from cryptocast.rehearsal.clock import Clock
from tests.rehearsal.conftest import NOW

MIDNIGHT = datetime(2026, 1, 3, tzinfo=UTC)
MIDNIGHT_MS = int(MIDNIGHT.timestamp() * 1000)


def daily(client: httpx.Client) -> list[int]:
    answer = client.get("/coins/bitcoin/market_chart", params={"vs_currency": "usd", "days": "91"})
    return [int(at) for at, _ in answer.json()["prices"]]


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
