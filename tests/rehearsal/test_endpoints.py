"""Each endpoint against the sheet: shapes, steps, limits, over a socket."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from cryptocast.rehearsal import PRO_KEY, FakeUpstream
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


def test_pro_sees_all_of_history() -> None:
    with FakeUpstream(now=NOW, plan="pro", coins=0) as fake, httpx.Client(base_url=fake.url) as client:
        client.headers["x-cg-pro-api-key"] = PRO_KEY
        assert len(chart(client, "3650")["prices"]) > 3000
        key = get(client, "/key")
        assert key["current_remaining_monthly_calls"] == key["monthly_call_credit"] - 2


def test_the_key_endpoint_is_not_there_for_the_others(api: httpx.Client) -> None:
    assert api.get("/key").status_code == 404


def test_an_id_can_move(fake: FakeUpstream, client: httpx.Client) -> None:
    before = dict(chart(client, "91", "litecoin")["prices"])
    fake.move("litecoin", "lightcoin")
    assert client.get("/coins/litecoin/market_chart").status_code == 404
    assert get(client, "/simple/price", ids="litecoin,lightcoin", vs_currencies="usd").keys() == {"lightcoin"}
    assert dict(chart(client, "91", "lightcoin")["prices"]) == before
