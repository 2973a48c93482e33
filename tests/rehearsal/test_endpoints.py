"""Each endpoint against the sheet: shapes, steps, limits, over a socket."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from cryptocast.rehearsal import DEMO_KEY, PRO_KEY, FakeUpstream, Quirks
from cryptocast.rehearsal.plans import Plan
from tests.rehearsal.conftest import NOW

NOW_MS = int(NOW.timestamp() * 1000)
HOUR, DAY = 3_600_000, 86_400_000
MIDNIGHT = NOW_MS - NOW_MS % DAY


def get(client: httpx.Client, path: str, **params: str) -> Any:
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    return answer.json()


def chart(client: httpx.Client, days: str, coin: str = "bitcoin", **params: str) -> Any:
    return get(client, f"/coins/{coin}/market_chart", vs_currency="usd", days=days, **params)


def span(client: httpx.Client, start_ms: int, end_ms: int, coin: str = "bitcoin") -> Any:
    times = {"from": str(start_ms // 1000), "to": str(end_ms // 1000)}
    return get(client, f"/coins/{coin}/market_chart/range", vs_currency="usd", **times)


def stamps(points: list[list[float]]) -> list[int]:
    return [int(at) for at, _ in points]


def refused(answer: httpx.Response) -> tuple[int, int | None]:
    """Status and error_code of an answer."""
    content = answer.json()
    while isinstance(content, dict) and "error_code" not in content:
        content = content.get("error", content.get("status"))
    return answer.status_code, content["error_code"] if isinstance(content, dict) else None


# --- small ones


def test_ping_says_what_it_says(api: httpx.Client) -> None:
    assert get(api, "/ping") == {"gecko_says": "(V3) To the Moon!"}


def test_answers_carry_the_headers_of_the_network_in_front(api: httpx.Client) -> None:
    headers = api.get("/ping").headers
    assert headers["cf-cache-status"]
    assert headers["x-request-id"]
    assert headers["cache-control"].startswith("max-age")


def test_the_list_holds_every_known_coin_once_and_symbols_are_not_unique(api: httpx.Client) -> None:
    rows = get(api, "/coins/list")
    assert all(row.keys() == {"id", "symbol", "name"} for row in rows)
    ids = [row["id"] for row in rows]
    assert len(set(ids)) == len(ids)
    assert {"bitcoin", "coin-000", "coin-149", "stopped-coin"} <= set(ids)
    assert {"dead-coin", "matic-network"}.isdisjoint(ids)
    assert {row["id"] for row in rows if row["symbol"] == "btc"} == {"bitcoin", "batcat"}


# --- prices of many coins


def test_simple_price_is_keyed_by_id_and_leaves_unknown_ones_out(api: httpx.Client) -> None:
    found = get(api, "/simple/price", ids="ethereum,bitcoin,nope,dead-coin,unpriced-coin", vs_currencies="usd,eur,zzz")
    assert found.keys() == {"bitcoin", "ethereum", "unpriced-coin"}
    assert found["unpriced-coin"] == {}
    assert found["bitcoin"].keys() == {"usd", "eur"}
    assert found["bitcoin"]["usd"] == pytest.approx(61234.5, rel=0.2)
    assert get(api, "/simple/price", ids="nope", vs_currencies="usd") == {}


def test_simple_price_adds_what_is_asked_for_with_seconds(api: httpx.Client, shared: FakeUpstream) -> None:
    options = ("include_market_cap", "include_24hr_vol", "include_24hr_change", "include_last_updated_at")
    flags = dict.fromkeys(options, "true")
    found = get(api, "/simple/price", ids="bitcoin", vs_currencies="usd", precision="full", **flags)["bitcoin"]
    assert found.keys() == {"usd", "usd_market_cap", "usd_24h_vol", "usd_24h_change", "last_updated_at"}
    assert found["last_updated_at"] == NOW_MS // 60_000 * 60
    assert found["usd"] == pytest.approx(shared.price("bitcoin", datetime.fromtimestamp(found["last_updated_at"], UTC)))


@pytest.mark.parametrize("params", [{"ids": "bitcoin"}, {"vs_currencies": "usd"}, {}])
def test_simple_price_needs_coins_and_currencies(api: httpx.Client, params: dict[str, str]) -> None:
    assert api.get("/simple/price", params=params).status_code == 422


def test_too_many_items_are_10012_in_the_fourth_shape_and_too_long_an_address_is_414(api: httpx.Client) -> None:
    many = api.get("/simple/price", params={"ids": ",".join(f"c{i}" for i in range(516)), "vs_currencies": "usd"})
    assert refused(many) == (400, 10012)
    assert many.json().keys() == {"timestamp", "error_code", "status"}
    assert api.get("/simple/price", params={"ids": "x" * 9000, "vs_currencies": "usd"}).status_code == 414


def test_prices_change_once_a_minute(fake: FakeUpstream, client: httpx.Client) -> None:
    def price() -> Any:
        return get(client, "/simple/price", ids="bitcoin", vs_currencies="usd", precision="full")["bitcoin"]["usd"]

    first = price()
    fake.advance(20)
    assert price() == first
    fake.advance(40)
    assert price() != first


# --- one coin


@pytest.mark.parametrize(
    "path", ["nope/market_chart", "dead-coin/market_chart", "nope/market_chart/range", "BTC/market_chart"]
)
def test_an_unknown_id_in_a_path_is_404(api: httpx.Client, path: str) -> None:
    answer = api.get(f"/coins/{path}", params={"vs_currency": "usd", "days": "7"})
    assert (answer.status_code, answer.json()) == (404, {"error": "coin not found"})


def test_an_unknown_path_is_404_and_only_get_is_allowed(api: httpx.Client) -> None:
    assert api.get("/bogus").status_code == 404
    assert api.get("/coins/bitcoin/bogus").status_code == 404
    assert api.post("/ping").status_code == 405


# --- charts


@pytest.mark.parametrize(("days", "step", "points"), [("1", 300_000, 289), ("2", HOUR, 49), ("90", HOUR, 2161)])
def test_short_charts_have_fine_steps_off_the_grid(api: httpx.Client, days: str, step: int, points: int) -> None:
    found = stamps(chart(api, days)["prices"])
    assert abs(len(found) - points) <= 1
    assert found == sorted(found)
    assert sum(at % step == 0 for at in found) < 0.1 * len(found)
    nearest = [round(at / step) for at in found[:-1]]
    assert nearest == list(range(nearest[0], nearest[0] + len(nearest)))


@pytest.mark.parametrize(("days", "points"), [("91", 92), ("365", 366)])
def test_long_charts_are_daily_at_midnight_and_end_now(api: httpx.Client, days: str, points: int) -> None:
    found = stamps(chart(api, days)["prices"])
    assert len(found) == points
    assert all(at % DAY == 0 for at in found[:-1])
    assert found[-2:] == [MIDNIGHT, NOW_MS]


def test_the_stamp_of_midnight_is_the_close_of_the_day_before(api: httpx.Client, shared: FakeUpstream) -> None:
    daily = dict(chart(api, "91")["prices"])
    hourly = chart(api, "90")["prices"]
    for at in (MIDNIGHT - DAY, MIDNIGHT):
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


@pytest.mark.parametrize(
    ("params", "status"),
    [
        ({"days": "7"}, 422),
        ({"vs_currency": "usd"}, 422),
        ({"vs_currency": "zzz", "days": "7"}, 400),
        ({"vs_currency": "usd", "days": "0"}, 400),
        ({"vs_currency": "usd", "days": "a week"}, 400),
    ],
)
def test_a_chart_with_bad_parameters_is_refused(api: httpx.Client, params: dict[str, str], status: int) -> None:
    assert api.get("/coins/bitcoin/market_chart", params=params).status_code == status


@pytest.mark.parametrize("days", ["366", "5000"])
def test_more_than_a_year_is_10012_in_the_third_shape(api: httpx.Client, days: str) -> None:
    answer = api.get("/coins/bitcoin/market_chart", params={"vs_currency": "usd", "days": days})
    assert refused(answer) == (401, 10012)
    assert answer.json()["error"]["status"].keys() == {"timestamp", "error_code", "error_message"}


# --- ranges


@pytest.mark.parametrize(
    ("start", "end", "step"),
    [
        (NOW_MS - DAY, NOW_MS, 300_000),
        (MIDNIGHT - 40 * DAY, MIDNIGHT - 39 * DAY, HOUR),
        (MIDNIGHT - 40 * DAY, MIDNIGHT - 38 * DAY, HOUR),
        (MIDNIGHT - 300 * DAY, MIDNIGHT - 210 * DAY, HOUR),
        (MIDNIGHT - 300 * DAY, MIDNIGHT - 209 * DAY, DAY),
    ],
)
def test_the_step_of_a_range_follows_its_span(api: httpx.Client, start: int, end: int, step: int) -> None:
    found = stamps(span(api, start, end)["prices"])
    assert abs(len(found) - (end - start) // step) <= 2
    assert start - 1000 <= found[0] <= found[-1] <= end


def test_a_range_that_begins_too_early_fails_whole(api: httpx.Client) -> None:
    times = {"from": str((NOW_MS - 366 * DAY) // 1000), "to": str(NOW_MS // 1000)}
    answer = api.get("/coins/bitcoin/market_chart/range", params={"vs_currency": "usd", **times})
    assert refused(answer) == (401, 10012)


def test_an_empty_range_gives_three_empty_arrays(api: httpx.Client) -> None:
    empty: dict[str, list[object]] = {"prices": [], "market_caps": [], "total_volumes": []}
    assert span(api, NOW_MS - 50 * DAY, NOW_MS - 40 * DAY, "young-coin") == empty
    assert span(api, NOW_MS - 10 * DAY, NOW_MS - 20 * DAY) == empty


# --- what the paying see


def test_pro_sees_all_of_history() -> None:
    with FakeUpstream(now=NOW, plan="pro", coins=0) as fake, httpx.Client(base_url=fake.url) as client:
        client.headers["x-cg-pro-api-key"] = PRO_KEY
        assert len(chart(client, "3650")["prices"]) > 3000
        key = get(client, "/key")
        assert key["current_remaining_monthly_calls"] == key["monthly_call_credit"] - 2


def test_the_key_endpoint_is_not_there_for_the_others(api: httpx.Client) -> None:
    assert api.get("/key").status_code == 404


@pytest.mark.parametrize(
    ("plan", "headers", "expected"),
    [
        ("keyless", {}, (200, None)),
        ("keyless", {"x-cg-demo-api-key": DEMO_KEY}, (200, None)),
        ("keyless", {"x-cg-demo-api-key": "wrong"}, (401, 10002)),
        ("keyless", {"x-cg-pro-api-key": PRO_KEY}, (401, 10010)),
        ("demo", {}, (401, 10002)),
        ("demo", {"x-cg-demo-api-key": DEMO_KEY}, (200, None)),
        ("demo", {"x-cg-pro-api-key": PRO_KEY}, (401, 10010)),
        ("pro", {}, (401, 10002)),
        ("pro", {"x-cg-demo-api-key": DEMO_KEY}, (401, 10011)),
        ("pro", {"x-cg-pro-api-key": "wrong"}, (401, 10002)),
        ("pro", {"x-cg-pro-api-key": PRO_KEY}, (200, None)),
    ],
)
def test_keys_open_their_own_host_only(plan: Plan, headers: dict[str, str], expected: tuple[int, int | None]) -> None:
    with FakeUpstream(now=NOW, plan=plan, coins=0) as fake:
        answer = httpx.get(f"{fake.url}/ping", headers=headers)
    assert (refused(answer) if answer.is_error else (200, None)) == expected


def test_a_key_may_stand_in_the_query() -> None:
    with FakeUpstream(now=NOW, plan="demo", coins=0) as fake:
        assert httpx.get(f"{fake.url}/ping", params={"x_cg_demo_api_key": DEMO_KEY}).status_code == 200


# --- quirks on request


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
    early = dict(chart(client, "91")["prices"])[MIDNIGHT]
    fake.advance(6 * 3600)
    late = dict(chart(client, "91")["prices"])[MIDNIGHT]
    assert early != pytest.approx(truth, rel=1e-9)
    assert early == pytest.approx(truth, rel=0.011)
    assert late == pytest.approx(truth)


def test_a_price_can_be_revised_after_the_fact(fake: FakeUpstream, client: httpx.Client) -> None:
    before = dict(chart(client, "91")["prices"])
    fake.revise("bitcoin", datetime(2026, 1, 1, tzinfo=UTC), 1.05)
    after = dict(chart(client, "91")["prices"])
    assert after.pop(MIDNIGHT - DAY) == pytest.approx(1.05 * before.pop(MIDNIGHT - DAY))
    assert after == before


def test_an_id_can_move(fake: FakeUpstream, client: httpx.Client) -> None:
    before = dict(chart(client, "91", "litecoin")["prices"])
    fake.move("litecoin", "lightcoin")
    assert client.get("/coins/litecoin/market_chart").status_code == 404
    assert get(client, "/simple/price", ids="litecoin,lightcoin", vs_currencies="usd").keys() == {"lightcoin"}
    assert dict(chart(client, "91", "lightcoin")["prices"]) == before
