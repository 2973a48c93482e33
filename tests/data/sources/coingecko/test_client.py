import asyncio
import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryptocast.config import CoinGeckoConfig
from cryptocast.data.candle_checks import check_candles
from cryptocast.data.schema import CANDLE_SCHEMA, SeriesKey
from cryptocast.data.sources.coingecko.backfill import pages_of
from cryptocast.data.sources.coingecko.client import CoinGecko, explain, market_chart, upstream_error
from cryptocast.data.sources.coingecko.simple_price import parse_quotes
from cryptocast.data.sources.errors import QuotaSpent, RateLimited, UnknownCoin, UnknownCurrency
from cryptocast.data.sources.upstream import History, Page
from cryptocast.errors import ConfigError, CryptocastError, DataError, UpstreamError, UsageError
from cryptocast.market import Market
from cryptocast.net import Answer, ApiClient, Priority
from cryptocast.rehearsal import FakeUpstream

DAY = 86_400_000
HOUR = 3_600_000
JAN_1 = 1_767_225_600_000  # 2026-01-01T00:00Z
NOW = datetime(2026, 1, 2, 15, 1, tzinfo=UTC)
Points = list[tuple[float, float | None]]


def chart(prices: Points, caps: Points | None = None, volumes: Points | None = None) -> bytes:
    document = {"prices": prices, "market_caps": caps or [], "total_volumes": volumes or []}
    return json.dumps(document).encode()


def times(found: History) -> list[str]:
    return found.frame["close_time"].dt.strftime("%d %H:%M").to_list()


# --- quirks of the API


def test_the_last_point_is_now_and_left_out_and_midnight_is_the_close_of_the_day_before() -> None:
    body = chart([(JAN_1, 61234.5), (JAN_1 + DAY, 61810.2), (JAN_1 + DAY + 54_060_000, 61777.0)])
    found = market_chart(body, "bitcoin", "daily", NOW)
    assert times(found) == ["01 00:00", "02 00:00"]
    assert found.frame["close"].to_list() == [61234.5, 61810.2]
    assert found.frame.schema == CANDLE_SCHEMA
    assert not found.frame["range_known"].any()
    assert found.frame["high"].equals(found.frame["close"].rename("high"))


def test_a_bar_that_is_not_closed_by_our_clock_is_left_out() -> None:
    body = chart([(JAN_1, 1.0), (JAN_1 + DAY, 2.0)])
    assert times(market_chart(body, "bitcoin", "daily", datetime(2026, 1, 1, 12, tzinfo=UTC))) == ["01 00:00"]


def test_the_arrays_are_joined_by_stamp_and_zeros_and_nulls_are_unknown() -> None:
    body = chart(
        [(JAN_1 - DAY, 1.0), (JAN_1, 2.0), (JAN_1 + DAY, 3.0)],
        caps=[(JAN_1, None), (JAN_1 + DAY, 9e11)],
        volumes=[(JAN_1 + DAY, 5e9), (JAN_1 - DAY, 0)],
    )
    found = market_chart(body, "bitcoin", "daily", NOW)
    assert found.frame["market_cap"].to_list() == [None, None, 9e11]
    assert found.frame["volume"].to_list() == [None, None, 5e9]


def test_a_null_price_is_a_gap_and_is_counted() -> None:
    found = market_chart(chart([(JAN_1 - DAY, 1.0), (JAN_1, None), (JAN_1 + DAY, 3.0)]), "bitcoin", "daily", NOW)
    assert times(found) == ["31 00:00", "02 00:00"]
    assert "1 bars without a price left out" in found.notes


def test_hourly_points_are_put_on_the_grid_and_the_closest_counts() -> None:
    points: Points = [
        (JAN_1 + 4_000, 1.0),  # four seconds late
        (JAN_1 + HOUR - 3_000, 2.0),  # early: closer than the next
        (JAN_1 + HOUR + 200_000, 2.5),
        (JAN_1 + 2 * HOUR + 1_799_000, 9.0),  # half past: says nothing about an hour's close
        (JAN_1 + 4 * HOUR, 4.0),
    ]
    found = market_chart(chart(points, volumes=[(JAN_1 + 4_500, 7.0)]), "bitcoin", "hourly", NOW)
    assert times(found) == ["01 00:00", "01 01:00", "01 04:00"]
    assert found.frame["close"].to_list() == [1.0, 2.0, 4.0]
    assert found.frame["volume"].to_list() == [7.0, None, None]
    assert any("rolling sum" in note for note in found.notes)


def test_points_out_of_order_and_repeated_make_one_sorted_series() -> None:
    body = chart([(JAN_1 + DAY, 3.0), (JAN_1, 1.0), (JAN_1, 2.0)])
    assert market_chart(body, "bitcoin", "daily", NOW).frame["close"].to_list() == [2.0, 3.0]


def test_hours_where_days_were_asked_for_are_refused() -> None:
    body = chart([(JAN_1 - hour * HOUR, 1.0) for hour in range(200)])
    with pytest.raises(UpstreamError, match="not daily"):
        market_chart(body, "bitcoin", "daily", NOW)


def test_an_empty_span_is_an_empty_frame() -> None:
    found = market_chart(chart([]), "bitcoin", "daily", NOW)
    assert found.frame.schema == CANDLE_SCHEMA
    assert found.frame.is_empty()


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"prices": [[17672', b"\xff", b'{"x":' + b"[" * 100_000])
def test_a_body_that_is_no_json_is_the_upstreams_failure(body: bytes) -> None:
    with pytest.raises(UpstreamError, match="not whole JSON"):
        market_chart(body, "bitcoin", "daily", NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"prices": null}',
        b'{"prices": [[1]]}',
        b'{"prices": [["a", 1]]}',
        b'{"prices": [[1767225600000, "1"]]}',
        b'{"prices": [[1767225600, 1.0]]}',  # seconds
        b'{"prices": [[1767225600000, -1.0]]}',
        b'{"prices": [[1767225600000, 1e400]]}',
    ],
)
def test_json_that_is_no_chart_is_the_upstreams_failure_in_one_line(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        market_chart(body, "bitcoin", "daily", NOW)
    assert str(caught.value).isprintable()


stamps = st.one_of(
    st.integers(-30, 5).map(lambda day: JAN_1 + day * DAY),
    st.integers(-200, 60).map(lambda hour: JAN_1 + hour * HOUR),
    st.integers(JAN_1 - 10 * DAY, JAN_1 + 3 * DAY),
    st.floats(),
)
values = st.one_of(st.none(), st.just(0.0), st.floats(0, 1e15), st.floats())
arrays = st.lists(st.tuples(stamps, values), max_size=30)


@settings(max_examples=120, deadline=None)
@given(arrays, arrays, arrays, st.sampled_from(["daily", "hourly"]))
def test_any_chart_gives_a_valid_series_or_one_line(prices: Any, caps: Any, volumes: Any, granularity: Any) -> None:
    body = json.dumps({"prices": prices, "market_caps": caps, "total_volumes": volumes}, allow_nan=True).encode()
    try:
        found = market_chart(body, "bitcoin", granularity, NOW)
    except (DataError, UpstreamError) as error:
        refusal = str(error)
    else:
        if len(found.frame):
            check_candles(found.frame, SeriesKey(Market("coingecko", "usd", granularity), "bitcoin"))
            assert found.frame["close_time"].max() <= NOW  # type: ignore[operator]
        assert found.frame.schema == CANDLE_SCHEMA
        return
    assert refusal.isprintable()


# --- errors


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"error": "coin not found"}', None, "coin not found"),
        (b'{"status": {"error_code": 429, "error_message": "Rate Limit"}}', 429, "Rate Limit"),
        (b'{"error": {"status": {"timestamp": "x", "error_code": 10012, "error_message": "m"}}}', 10012, "m"),
        (b'{"timestamp": "x", "error_code": 10012, "status": {"error_message": "m"}}', 10012, "m"),
        (b"<html>blocked</html>", None, ""),
        (b"", None, ""),
        (b"[1, 2]", None, ""),
        (b'{"error": {"error": {"error": {"error": 1}}}}', None, ""),
        (b'{"error": "a\\u001b[31m\\nb"}', None, "a [31m b"),
    ],
)
def test_all_shapes_of_errors_are_read(body: bytes, code: int | None, message: str) -> None:
    assert upstream_error(body) == (code, message)


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (404, b'{"error": "coin not found"}', UnknownCoin, "knows no coin 'bitcion'. Did you mean bitcoin"),
        (404, b"<html>", UpstreamError, "failed .status 404"),
        (400, b'{"error": "invalid vs_currency"}', UnknownCurrency, "no prices in 'usd'"),
        (401, b'{"error": {"status": {"error_code": 10012}}}', UpstreamError, "at most 365 days"),
        (
            401,
            b'{"status": {"error_code": 10002, "error_message": "API Key Missing"}}',
            UpstreamError,
            "API Key Missing",
        ),
        (400, b'{"status": {"error_code": 10010}}', ConfigError, "another plan"),
        (400, b'{"status": {"error_code": 10011}}', ConfigError, "another plan"),
        (403, b"<html>", UpstreamError, "refused .status 403"),
        (429, b"<html>", RateLimited, "rate limit"),
        (500, b"", UpstreamError, "failed .status 500"),
        (302, b"", UpstreamError, "another address .status 302.*base_url"),
    ],
)
def test_each_refusal_says_what_to_do(status: int, body: bytes, kind: type[CryptocastError], words: str) -> None:
    error = explain(Answer(status, body, {}), "bitcion", "usd", "keyless")
    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error


# --- the calls, over a transport


class Calls:
    """Answers every chart with one point a day or an hour over what was asked, and remembers the requests."""

    def __init__(self, refusal: httpx.Response | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self.refusal = refusal

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.refusal is not None:
            return self.refusal
        query = request.url.params
        end = int(query["to"]) * 1000 if "to" in query else int(NOW.timestamp() * 1000)
        start = int(query["from"]) * 1000 if "from" in query else end - int(query["days"]) * DAY
        step = HOUR if end - start <= 90 * DAY else DAY
        first = math.ceil(start / step) * step
        points: Points = [(at, 100.0 + at / DAY % 7) for at in range(first, end + 1, step)]
        return httpx.Response(200, content=chart([*points, (end, 1.0)], volumes=points))


def coingecko(calls: Callable[[httpx.Request], httpx.Response], **options: Any) -> CoinGecko:
    key = options.pop("api_key", None)
    config = CoinGeckoConfig(max_retries=0, calls_per_minute=1000, **options)
    return CoinGecko(config, api_key=key, client=partial(ApiClient, transport=httpx.MockTransport(calls)))


@pytest.mark.parametrize(("days", "asked"), [(3, "91"), (365, "365")])
def test_daily_history_is_one_call_that_is_long_enough_to_be_answered_in_days(days: int, asked: str) -> None:
    calls = Calls()
    with coingecko(calls) as upstream:
        found = upstream.history("bitcoin", "usd", "daily", days, NOW)
    (request,) = calls.requests
    assert request.url.path == "/api/v3/coins/bitcoin/market_chart"
    assert dict(request.url.params) == {"vs_currency": "usd", "days": asked}
    check_candles(found.frame, SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin"))
    assert found.frame["close_time"][-1] == datetime(2026, 1, 2, tzinfo=UTC)


def test_more_than_the_plan_gives_is_clamped_with_a_note() -> None:
    calls = Calls()
    with coingecko(calls) as upstream:
        found = upstream.history("bitcoin", "usd", "daily", 2000, NOW)
    assert calls.requests[0].url.params["days"] == "365"
    assert "2000 days asked, the keyless plan gives 365" in found.notes


@pytest.mark.parametrize(("days", "count"), [(1, 1), (90, 1), (91, 2), (365, 5)])
def test_hourly_history_is_asked_for_in_pieces_that_are_answered_in_hours(days: int, count: int) -> None:
    calls = Calls()
    with coingecko(calls) as upstream:
        found = upstream.history("bitcoin", "usd", "hourly", days, NOW)
    assert len(calls.requests) == count
    check_candles(found.frame, SeriesKey(Market("coingecko", "usd", "hourly"), "bitcoin"))
    steps = found.frame["close_time"].diff().drop_nulls().unique().to_list()
    assert steps == [timedelta(hours=1)]  # no seam between the pieces
    assert len(found.frame) >= 24 * days - 2
    oldest = min(float(r.url.params["from"]) for r in calls.requests if "from" in r.url.params) if count > 1 else None
    assert oldest is None or oldest >= (NOW - timedelta(days=days)).timestamp()


@pytest.mark.parametrize(
    ("plan", "host", "header"),
    [
        ("demo", "api.coingecko.com", "x-cg-demo-api-key"),
        ("pro", "pro-api.coingecko.com", "x-cg-pro-api-key"),
    ],
)
def test_the_key_goes_into_the_header_of_its_plan(plan: str, host: str, header: str) -> None:
    calls = Calls()
    with coingecko(calls, plan=plan, api_key="CG-abc") as upstream:
        upstream.history("bitcoin", "usd", "daily", 365, NOW)
    (request,) = calls.requests
    assert (request.url.host, request.headers[header]) == (host, "CG-abc")
    assert "CG-abc" not in str(request.url)


def test_without_a_plan_no_key_is_sent() -> None:
    calls = Calls()
    with coingecko(calls, api_key="CG-abc") as upstream:
        upstream.history("bitcoin", "usd", "daily", 365, NOW)
    assert "CG-abc" not in str(calls.requests[0].headers)


@pytest.mark.parametrize("key", [None, "", "CG abc", "CG-abc\n", "clé"])
def test_a_plan_without_a_usable_key_is_a_mistake_of_the_settings_that_does_not_show_the_key(key: str | None) -> None:
    with pytest.raises(ConfigError, match="CRYPTOCAST_COINGECKO_API_KEY") as caught:
        coingecko(Calls(), plan="demo", api_key=key)
    assert not key or key not in str(caught.value)


def test_a_hostile_coin_never_becomes_a_request() -> None:
    calls = Calls()
    with coingecko(calls) as upstream, pytest.raises(UsageError):
        upstream.history("../key", "usd", "daily", 365, NOW)
    assert calls.requests == []


# --- one new try where the upstream wants it otherwise


class Picky:
    """Refuses the first calls with the given answers, then answers as Calls does."""

    def __init__(self, *refusals: tuple[int, bytes]) -> None:
        self.refusals = list(refusals)
        self.answering = Calls()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self.answering(request)
        if self.refusals:
            status, body = self.refusals.pop(0)
            return httpx.Response(status, content=body)
        return answer

    def params(self, name: str) -> list[str | None]:
        return [request.url.params.get(name) for request in self.answering.requests]


BEYOND = (401, b'{"error": {"status": {"error_code": 10012, "error_message": "within the past 365 days"}}}')
NOT_IN_PLAN = (401, b'{"error": {"status": {"error_code": 10005, "error_message": "limited to PRO"}}}')
TOO_MANY_ITEMS = (400, b'{"timestamp": "x", "error_code": 10012, "status": {"error_message": "too many"}}')
PAGE = Page(
    SeriesKey(Market("coingecko", "usd", "hourly"), "bitcoin"),
    NOW - timedelta(days=365),
    NOW - timedelta(days=300),
    ends_now=False,
)


def test_10012_for_history_is_clamped_and_tried_once_more() -> None:
    calls = Picky(BEYOND)
    with coingecko(calls) as upstream:
        assert len(upstream.run(upstream.page(PAGE, NOW)).frame) > 60 * 24
        assert len(upstream.history("bitcoin", "usd", "daily", 365, NOW).frame) > 360
    first, second = (NOW.timestamp() - float(str(text)) for text in calls.params("from")[:2])
    assert first == pytest.approx(365 * 86_400 - 3600)
    assert second == pytest.approx(364 * 86_400)
    calls = Picky(BEYOND)
    with coingecko(calls) as upstream:
        upstream.history("bitcoin", "usd", "daily", 365, NOW)
    assert calls.params("days") == ["365", "364"]


def test_10012_that_stays_is_an_error_after_two_calls() -> None:
    calls = Picky(BEYOND, BEYOND)
    with coingecko(calls) as upstream, pytest.raises(UpstreamError, match="at most 365 days"):
        upstream.run(upstream.page(PAGE, NOW))
    assert len(calls.answering.requests) == 2


def test_10005_drops_the_parameter_once_and_for_the_rest() -> None:
    calls = Picky(NOT_IN_PLAN)
    with coingecko(calls, plan="pro", api_key="CG-abc") as upstream:
        for _ in range(2):
            assert len(upstream.run(upstream.page(PAGE, NOW)).frame) > 60 * 24
    assert calls.params("interval") == ["hourly", None, None]
    calls = Picky(NOT_IN_PLAN, NOT_IN_PLAN)
    with (
        coingecko(calls, plan="pro", api_key="CG-abc") as upstream,
        pytest.raises(UpstreamError, match="does not offer this to the plan 'pro'"),
    ):
        upstream.run(upstream.page(PAGE, NOW))
    assert len(calls.answering.requests) == 2


def test_free_plans_never_send_an_interval() -> None:
    calls = Picky()
    with coingecko(calls) as upstream:
        upstream.history("bitcoin", "usd", "hourly", 200, NOW)
        upstream.history("bitcoin", "usd", "daily", 200, NOW)
    assert set(calls.params("interval")) == {None}


# --- live prices


def quoted(request: httpx.Request) -> httpx.Response:
    """Knows every coin; `dead` comes empty, as a coin without a price does."""
    ids = request.url.params["ids"].split(",")
    found: dict[str, Any] = {coin: {"usd": 2, "usd_market_cap": 0, "last_updated_at": 1767225601} for coin in ids}
    if "dead" in found:
        found["dead"] = {}
    found.pop("unknown", None)
    return httpx.Response(200, content=json.dumps(found).encode())


def test_prices_come_in_chunks_and_unknown_coins_are_left_out() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return quoted(request)

    coins = [f"coin-{number:03d}" for number in range(230)]
    with coingecko(answer) as upstream:
        found = upstream.run(upstream.quotes([*coins, "dead", "unknown", coins[0]], "usd"))
    assert set(found) == set(coins)
    assert (found[coins[0]].price, found[coins[0]].market_cap) == (2.0, None)
    assert found[coins[0]].updated_at == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert [len(request.url.params["ids"].split(",")) for request in requests] == [100, 100, 32]
    assert all(len(str(request.url)) <= 4000 for request in requests)
    assert "True" not in str(requests[0].url)


def test_long_ids_make_shorter_chunks() -> None:
    coins = [f"{'x' * 90}-{number:03d}" for number in range(100)]
    urls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        urls.append(str(request.url))
        return quoted(request)

    with coingecko(answer) as upstream:
        assert len(upstream.run(upstream.quotes(coins, "usd"))) == 100
    assert len(urls) == 3
    assert max(map(len, urls)) <= 4000


def test_10012_for_items_is_split_and_tried_once_more() -> None:
    refusals = [TOO_MANY_ITEMS]
    sizes: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sizes.append(len(request.url.params["ids"].split(",")))
        if refusals:
            status, body = refusals.pop()
            return httpx.Response(status, content=body)
        return quoted(request)

    with coingecko(answer) as upstream:
        assert len(upstream.run(upstream.quotes([f"c{number}" for number in range(90)], "usd"))) == 90
    assert sizes == [90, 45, 45]


@pytest.mark.parametrize(
    "body",
    [
        *(b"[]", b"null", b'"soon"', b'{"error": "Down"}', b'{"status": {"error_code": 429, "error_message": "Slow"}}'),
        *(b'{"a": 1}', b'{"a": {"usd": "x"}}', b"", b"<html>"),
    ],
)
def test_prices_of_another_shape_are_the_upstreams_failure(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        parse_quotes(body, "usd")


amounts = st.one_of(st.none(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
members = st.dictionaries(st.sampled_from(["usd", "usd_24h_vol", "usd_market_cap", "last_updated_at"]), amounts)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=5), members, max_size=5))
def test_any_prices_of_the_right_shape_give_positive_ones_or_none(content: Any) -> None:
    found = parse_quotes(json.dumps(content).encode(), "usd")
    for coin, quote in found.items():
        assert quote.price == float(content[coin]["usd"]) > 0
        assert quote.volume_24h is None or quote.volume_24h > 0
        assert quote.updated_at is None or quote.updated_at.year < 2101


# --- keys, credits, lists


@pytest.mark.parametrize(
    ("plan", "status", "code", "kind", "words"),
    [
        ("keyless", 401, 10002, UpstreamError, 'get a free demo key .* plan = "demo"'),
        ("demo", 401, 10002, ConfigError, "does not take the demo key .* Copy it again"),
        ("demo", 401, 10010, ConfigError, "plan = 'pro', whose host is pro-api.coingecko.com"),
        ("pro", 401, 10011, ConfigError, "plan = 'demo', whose host is api.coingecko.com"),
        ("pro", 401, 10012, UpstreamError, "fewer --days"),
        ("demo", 401, 10005, UpstreamError, "does not offer this to the plan 'demo'"),
        ("demo", 429, 429, QuotaSpent, "monthly credits"),
    ],
)
@pytest.mark.parametrize("shape", range(3))
def test_codes_mean_the_same_in_every_shape(
    plan: Any, status: int, code: int, kind: type[CryptocastError], words: str, shape: int
) -> None:
    message = "You've exceeded your monthly call credits." if code == 429 else "No."
    fields: dict[str, Any] = {"error_code": code, "error_message": message}
    shapes: list[Any] = [
        {"status": fields},
        {"error": {"status": {"timestamp": "x", **fields}}},
        {"timestamp": "x", "error_code": code, "status": {"error_message": message}},
    ]
    error = explain(Answer(status, json.dumps(shapes[shape]).encode(), {}), "bitcoin", "usd", plan)
    assert type(error) is kind
    with pytest.raises(kind, match=words):
        raise error


def test_retries_cost_credits_too() -> None:
    calls = Picky((500, b""), (500, b""))
    config = CoinGeckoConfig(max_retries=2, calls_per_minute=1000)
    client = partial(ApiClient, transport=httpx.MockTransport(calls), sleep=no_sleep)
    with CoinGecko(config, client=client) as upstream:
        upstream.history("bitcoin", "usd", "daily", 365, NOW)
        assert (upstream.calls, upstream.credits.state().used) == (3, 3)


async def no_sleep(seconds: float) -> None:
    """Time does not matter here."""


def test_a_pro_key_tells_its_calls_and_the_budget_takes_them_over() -> None:
    with FakeUpstream(now=NOW, plan="pro", coins=1) as fake:
        config = CoinGeckoConfig(plan="pro", pro_base_url=fake.url, calls_per_minute=1000)
        with CoinGecko(config, api_key=fake.key) as upstream:
            upstream.history("bitcoin", "usd", "daily", 2000, NOW)
            account = upstream.run(upstream.account())
            assert account.current_total_monthly_calls == upstream.credits.state().used == 2
            assert "usd" in upstream.run(upstream.currencies())
    with (
        FakeUpstream(now=NOW, coins=1) as fake,
        CoinGecko(CoinGeckoConfig(base_url=fake.url)) as upstream,
        pytest.raises(DataError, match="only of pro keys"),
    ):
        upstream.run(upstream.account())


# --- many pieces of work


def test_work_is_done_side_by_side_and_each_result_comes_with_what_it_is_about() -> None:
    under_way, most = 0, 0

    async def work(number: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001 * (number % 3))
        under_way -= 1
        if number % 5 == 0:
            raise DataError(f"no {number}")
        return number * number

    with coingecko(Calls()) as upstream:
        found = dict(upstream.each(((n, partial(work, n)) for n in range(20)), at_once=4))
    assert most == 4
    assert {n: result for n, result in found.items() if isinstance(result, int)} == {
        n: n * n for n in range(20) if n % 5
    }
    assert str(found[10]) == "no 10"


def test_whoever_leaves_takes_the_rest_of_the_work_with_them() -> None:
    begun: list[int] = []

    async def work(number: int) -> int:
        begun.append(number)
        await asyncio.sleep(0.0 if number == 0 else 30.0)
        return number

    with coingecko(Calls()) as upstream:
        results = upstream.each(((n, partial(work, n)) for n in range(9)), at_once=3)
        assert next(results) == (0, 0)
        results.close()
    assert begun == [0, 1, 2]


# --- one fetch over a real socket


class Handler(BaseHTTPRequestHandler):
    """A coin that is known after one failure, and a coin that is not."""

    failures = 1

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path != "/api/v3/coins/bitcoin/market_chart":
            return self.answer(404, b'{"error": "coin not found"}')
        if Handler.failures:
            Handler.failures -= 1
            return self.answer(503, b"busy")
        days = int(parse_qs(url.query)["days"][0])
        points: Points = [(JAN_1 + (1 - back) * DAY, 100.0 + back) for back in reversed(range(days + 1))]
        return self.answer(200, chart([*points, (JAN_1 + DAY + 54_060_000, 7.0)]))

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Keeps the output of the tests clean."""


@contextmanager
def local_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api/v3"
    finally:
        server.shutdown()
        server.server_close()


def test_history_comes_over_a_real_connection_after_a_failure() -> None:
    with local_server() as url:
        config = CoinGeckoConfig(base_url=url, calls_per_minute=1000)
        with CoinGecko(config, client=partial(ApiClient, trust_env=False)) as upstream:
            found = upstream.history("bitcoin", "usd", "daily", 365, NOW)
            assert (len(found.frame), found.frame["close"][-1]) == (366, 100.0)
            with pytest.raises(DataError, match="knows no coin"):
                upstream.history("bitcion", "usd", "daily", 365, NOW)


@pytest.mark.parametrize("body", [b'{"status": {"error_code": 429}}', b'{"bitcoin": {"usd": 1}, "b": {"usd": 2}}'])
def test_prices_of_what_was_not_asked_for_are_no_answer(body: bytes) -> None:
    with coingecko(lambda _: httpx.Response(200, content=body)) as upstream, pytest.raises(UpstreamError):
        upstream.run(upstream.quotes(["bitcoin"], "usd"))


@pytest.mark.parametrize("missing", [httpx.Response(404, content=b'{"error": "coin not found"}'), httpx.Response(404)])
def test_a_coin_that_is_listed_is_not_unknown_because_one_answer_says_so(missing: httpx.Response) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return missing if "market_chart" in request.url.path else httpx.Response(200, content=b'[{"id": "bitcoin"}]')

    with coingecko(answer) as upstream, pytest.raises(UpstreamError):
        upstream.history("bitcoin", "usd", "daily", 30, NOW)


def test_a_coin_that_the_list_of_today_lacks_is_unknown_for_certain() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "market_chart" in request.url.path:
            return httpx.Response(404, content=b'{"error": "coin not found"}')
        return httpx.Response(200, content=b'[{"id": "bitcoin"}]')

    with coingecko(answer) as upstream, pytest.raises(UnknownCoin) as caught:
        upstream.history("bitcion", "usd", "daily", 30, NOW)
    assert caught.value.is_certain


def test_a_list_that_is_cut_short_does_not_replace_the_one_before() -> None:
    bodies = [b'[{"id": "bitcoin"}]', b'[{"id": "bitcoin"}, {"id": "ethereum"}, {"id": "litecoin"}]']
    with coingecko(lambda _: httpx.Response(200, content=bodies.pop())) as upstream:
        upstream.run(upstream.coin_list(NOW))
        with pytest.raises(UpstreamError, match="has 1 coins, where it had 3"):
            upstream.run(upstream.coin_list(NOW + timedelta(days=2)))
        kept = upstream.known_coins()
        assert kept is not None
        assert "ethereum" in kept


def test_a_strangers_call_is_made_once_whatever_comes_of_it() -> None:
    calls = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return httpx.Response(404 if "not" in request.url.path else 500, content=b'{"error": "coin not found"}')

    client = partial(ApiClient, transport=httpx.MockTransport(answer))
    with CoinGecko(CoinGeckoConfig(max_retries=2, calls_per_minute=1000), client=client) as upstream:
        for coin in ("broken-coin", "no-such-note-coin"):
            (page,) = pages_of(
                SeriesKey(Market("coingecko", "usd", "daily"), coin), [(NOW - timedelta(days=9), NOW)], NOW
            )
            with pytest.raises((UpstreamError, UnknownCoin)):
                upstream.run(upstream.page(page, NOW, priority=Priority.STRANGER))
    assert len(calls) == 2
    assert upstream.credits.state().by_priority == {"stranger": 2}
