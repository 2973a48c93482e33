from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from cryptocast.rehearsal import FakeUpstream, Quirks
from tests.rehearsal.conftest import NOW

DAY = 86_400_000
MIDNIGHT = datetime(2026, 1, 3, tzinfo=UTC)
MIDNIGHT_MS = int(MIDNIGHT.timestamp() * 1000)
HOUR = 3_600_000
LAST_MIDNIGHT = int(datetime(2026, 1, 2, tzinfo=UTC).timestamp() * 1000)


def daily(client: httpx.Client) -> list[int]:
    answer = client.get("/coins/bitcoin/market_chart", params={"vs_currency": "usd", "days": "91"})
    return [int(at) for at, _ in answer.json()["prices"]]


def ranged(client: httpx.Client) -> list[int]:
    begin = int((MIDNIGHT - timedelta(days=120)).timestamp())
    params = {"vs_currency": "usd", "from": str(begin), "to": str(begin + 200 * 86_400)}
    answer = client.get("/coins/bitcoin/market_chart/range", params=params)
    return [int(at) for at, _ in answer.json()["prices"]]


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


def test_volumes_may_change_their_unit(fake: FakeUpstream, client: httpx.Client) -> None:
    path = "/coins/bitcoin/market_chart?vs_currency=usd&days=100"
    usual = dict(client.get(path).json()["total_volumes"])
    fake.set_quirks(Quirks(other_unit_days=30.0))
    told = dict(client.get(path).json()["total_volumes"])
    edge = NOW.timestamp() * 1000 - 30 * 86_400_000
    ratios = {(at < edge, round(usual[at] / told[at])) for at in usual if usual[at]}
    assert ratios == {(True, 1000), (False, 1)}


NOW_MS = int(NOW.timestamp() * 1000)


def get(client: httpx.Client, path: str, **params: str) -> Any:
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    return answer.json()


def chart(client: httpx.Client, days: str, coin: str = "bitcoin", **params: str) -> Any:
    return get(client, f"/coins/{coin}/market_chart", vs_currency="usd", days=days, **params)


def stamps(points: list[list[float]]) -> list[int]:
    return [int(at) for at, _ in points]


def test_the_stamp_of_midnight_is_the_close_of_the_day_before(api: httpx.Client, shared: FakeUpstream) -> None:
    daily = dict(chart(api, "91")["prices"])
    hourly = chart(api, "90")["prices"]
    for at in (LAST_MIDNIGHT - DAY, LAST_MIDNIGHT):
        closing = min(hourly, key=lambda point: abs(point[0] - at))
        assert closing[1] == pytest.approx(daily[at], rel=1e-12)
        assert daily[at] == pytest.approx(shared.price("bitcoin", datetime.fromtimestamp(at / 1000, UTC)))


def test_caps_hold_null_zeros_stand_for_unknown_and_the_arrays_differ_in_length(api: httpx.Client) -> None:
    found = chart(api, "365")
    caps, volumes = [dict(found[name]) for name in ("market_caps", "total_volumes")]
    assert None in caps.values()
    assert 0.0 in caps.values()
    assert 0.0 in volumes.values()
    assert len({len(points) for points in found.values()}) > 1
    assert set(caps) | set(volumes) <= set(dict(found["prices"]))
    assert {value for _, value in chart(api, "91", "uncapped-coin")["market_caps"]} <= {0.0, None}


def test_young_coins_give_fewer_points_and_stopped_ones_end_without_a_word(api: httpx.Client) -> None:
    assert len(chart(api, "365", "young-coin")["prices"]) == 21
    last = stamps(chart(api, "365", "stopped-coin")["prices"])[-1]
    assert 30 * DAY <= NOW_MS - last < 31 * DAY
    assert chart(api, "91", "unpriced-coin") == {"prices": [], "market_caps": [], "total_volumes": []}


def test_hours_may_be_missing_come_twice_and_be_null(fake: FakeUpstream, client: httpx.Client) -> None:
    fake.set_quirks(Quirks(missing_every=10, duplicate_every=7, null_price_every=13))
    found = chart(client, "30")["prices"]
    hours = [round(at / HOUR) for at, _ in found[:-1]]
    whole = range(hours[0], hours[-1] + 1)
    assert len(set(whole) - set(hours)) == pytest.approx(72, abs=2)
    assert len(hours) - len(set(hours)) > 50
    assert any(price is None for _, price in found)
    assert stamps(found) == sorted(stamps(found))


def test_without_quirks_series_are_clean(fake: FakeUpstream, client: httpx.Client) -> None:
    fake.set_quirks("clean")
    found = chart(client, "30")
    assert all(at % HOUR == 0 for at in stamps(found["prices"])[:-1])
    assert stamps(found["prices"]) == stamps(found["market_caps"]) == stamps(found["total_volumes"])
    assert all(value for points in found.values() for _, value in points)


def test_young_prices_are_provisional_for_a_while(fake: FakeUpstream, client: httpx.Client) -> None:
    fake.set_quirks(Quirks(revised_for_s=20 * 3600, revised_by=0.01))
    truth = fake.price("bitcoin", datetime(2026, 1, 2, tzinfo=UTC))
    early = dict(chart(client, "91")["prices"])[LAST_MIDNIGHT]
    fake.advance(6 * 3600)
    late = dict(chart(client, "91")["prices"])[LAST_MIDNIGHT]
    assert early != pytest.approx(truth, rel=1e-9)
    assert early == pytest.approx(truth, rel=0.011)
    assert late == pytest.approx(truth)


def test_a_price_can_be_revised_after_the_fact(fake: FakeUpstream, client: httpx.Client) -> None:
    before = dict(chart(client, "91")["prices"])
    fake.revise("bitcoin", datetime(2026, 1, 1, tzinfo=UTC), 1.05)
    after = dict(chart(client, "91")["prices"])
    assert after.pop(LAST_MIDNIGHT - DAY) == pytest.approx(1.05 * before.pop(LAST_MIDNIGHT - DAY))
    assert after == before
