from datetime import UTC, datetime, timedelta

import httpx

from cryptocast.rehearsal import FakeUpstream
from tests.rehearsal.conftest import NOW


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
