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

from cryptocast.config import CoinGeckoConfig
from cryptocast.data.candle_checks import check_candles
from cryptocast.data.schema import SeriesKey
from cryptocast.data.sources.coingecko.backfill import pages_of
from cryptocast.data.sources.coingecko.client import CoinGecko
from cryptocast.data.sources.errors import UnknownCoin
from cryptocast.data.sources.upstream import Page
from cryptocast.errors import ConfigError, DataError, UpstreamError, UsageError
from cryptocast.market import Market
from cryptocast.net import ApiClient, Priority
from cryptocast.rehearsal import FakeUpstream
from tests.data.sources.coingecko.history import DAY, HOUR, JAN_1, NOW, Points, chart, history

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
        found = history(upstream, "bitcoin", "usd", "daily", days, NOW)
    (request,) = calls.requests
    assert request.url.path == "/api/v3/coins/bitcoin/market_chart"
    assert dict(request.url.params) == {"vs_currency": "usd", "days": asked}
    check_candles(found.frame, SeriesKey(Market("coingecko", "usd", "daily"), "bitcoin"))
    assert found.frame["close_time"][-1] == datetime(2026, 1, 2, tzinfo=UTC)


def test_more_than_the_plan_gives_is_not_asked_for() -> None:
    calls = Calls()
    with coingecko(calls) as upstream:
        history(upstream, "bitcoin", "usd", "daily", 2000, NOW)
    assert calls.requests[0].url.params["days"] == "365"


@pytest.mark.parametrize(("days", "count"), [(1, 1), (90, 1), (91, 2), (365, 5)])
def test_hourly_history_is_asked_for_in_pieces_that_are_answered_in_hours(days: int, count: int) -> None:
    calls = Calls()
    with coingecko(calls) as upstream:
        found = history(upstream, "bitcoin", "usd", "hourly", days, NOW)
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
        history(upstream, "bitcoin", "usd", "daily", 365, NOW)
    (request,) = calls.requests
    assert (request.url.host, request.headers[header]) == (host, "CG-abc")
    assert "CG-abc" not in str(request.url)


def test_without_a_plan_no_key_is_sent() -> None:
    calls = Calls()
    with coingecko(calls, api_key="CG-abc") as upstream:
        history(upstream, "bitcoin", "usd", "daily", 365, NOW)
    assert "CG-abc" not in str(calls.requests[0].headers)


@pytest.mark.parametrize("key", [None, "", "CG abc", "CG-abc\n", "clé"])
def test_a_plan_without_a_usable_key_is_a_mistake_of_the_settings_that_does_not_show_the_key(key: str | None) -> None:
    with pytest.raises(ConfigError, match="CRYPTOCAST_COINGECKO_API_KEY") as caught:
        coingecko(Calls(), plan="demo", api_key=key)
    assert not key or key not in str(caught.value)


def test_a_hostile_coin_never_becomes_a_request() -> None:
    calls = Calls()
    with coingecko(calls) as upstream, pytest.raises(UsageError):
        history(upstream, "../key", "usd", "daily", 365, NOW)
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
        assert len(history(upstream, "bitcoin", "usd", "daily", 365, NOW).frame) > 360
    first, second = (NOW.timestamp() - float(str(text)) for text in calls.params("from")[:2])
    assert first == pytest.approx(365 * 86_400 - 3600)
    assert second == pytest.approx(364 * 86_400)
    calls = Picky(BEYOND)
    with coingecko(calls) as upstream:
        history(upstream, "bitcoin", "usd", "daily", 365, NOW)
    assert calls.params("days") == ["365", "364"]


def test_10012_that_stays_is_an_error_after_two_calls() -> None:
    calls = Picky(BEYOND, BEYOND)
    with coingecko(calls) as upstream, pytest.raises(UpstreamError, match="at most 365 days"):
        upstream.run(upstream.page(PAGE, NOW))
    assert len(calls.answering.requests) == 2


# --- live prices


def quoted(request: httpx.Request) -> httpx.Response:
    """Knows every coin; `dead` comes empty, as a coin without a price does."""
    ids = request.url.params["ids"].split(",")
    found: dict[str, Any] = {coin: {"usd": 2, "usd_market_cap": 0, "last_updated_at": 1767225601} for coin in ids}
    if "dead" in found:
        found["dead"] = {}
    found.pop("unknown", None)
    return httpx.Response(200, content=json.dumps(found).encode())


def test_prices_are_one_call_and_unknown_coins_are_left_out() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return quoted(request)

    coins = [f"coin-{number:03d}" for number in range(90)]
    with coingecko(answer) as upstream:
        quotes = upstream.run(upstream.quotes([*coins, "dead", "unknown"], "usd"))
    assert set(quotes) == set(coins)
    assert (quotes[coins[0]].price, quotes[coins[0]].market_cap) == (2.0, None)
    assert quotes[coins[0]].updated_at == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert [request.url.params["ids"] for request in requests] == [",".join([*coins, "dead", "unknown"])]
    assert "True" not in str(requests[0].url)


def test_a_batch_of_long_ids_makes_short_calls() -> None:
    coins = [f"{'x' * 90}-{number:03d}" for number in range(100)]
    urls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        urls.append(str(request.url))
        return quoted(request)

    with coingecko(answer) as upstream:
        assert len(upstream.run(upstream.live().get("usd", coins)).values) == 100
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


# --- keys, credits, lists


def test_retries_cost_credits_too() -> None:
    calls = Picky((500, b""), (500, b""))
    config = CoinGeckoConfig(max_retries=2, calls_per_minute=1000)
    client = partial(ApiClient, transport=httpx.MockTransport(calls), sleep=no_sleep)
    with CoinGecko(config, client=client) as upstream:
        history(upstream, "bitcoin", "usd", "daily", 365, NOW)
        assert (upstream.calls, upstream.credits.state().used) == (3, 3)


async def no_sleep(seconds: float) -> None:
    """Time does not matter here."""


def test_a_pro_key_tells_its_calls_and_the_budget_takes_them_over() -> None:
    with FakeUpstream(now=NOW, plan="pro", coins=1) as fake:
        config = CoinGeckoConfig(plan="pro", pro_base_url=fake.url, calls_per_minute=1000)
        with CoinGecko(config, api_key=fake.key) as upstream:
            history(upstream, "bitcoin", "usd", "daily", 2000, NOW)
            account = upstream.run(upstream.account())
            assert account.current_total_monthly_calls == upstream.credits.state().used == 2


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
            found = history(upstream, "bitcoin", "usd", "daily", 365, NOW)
            assert (len(found.frame), found.frame["close"][-1]) == (366, 100.0)
            with pytest.raises(DataError, match="has no coin"):
                history(upstream, "bitcion", "usd", "daily", 365, NOW)


@pytest.mark.parametrize("body", [b'{"status": {"error_code": 429}}', b'{"bitcoin": {"usd": 1}, "b": {"usd": 2}}'])
def test_prices_of_what_was_not_asked_for_are_no_answer(body: bytes) -> None:
    with coingecko(lambda _: httpx.Response(200, content=body)) as upstream, pytest.raises(UpstreamError):
        upstream.run(upstream.quotes(["bitcoin"], "usd"))


@pytest.mark.parametrize("missing", [httpx.Response(404, content=b'{"error": "coin not found"}'), httpx.Response(404)])
def test_a_coin_that_is_listed_is_not_unknown_because_one_answer_says_so(missing: httpx.Response) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return missing if "market_chart" in request.url.path else httpx.Response(200, content=b'[{"id": "bitcoin"}]')

    with coingecko(answer) as upstream, pytest.raises(UpstreamError):
        history(upstream, "bitcoin", "usd", "daily", 30, NOW)


def test_a_coin_that_the_list_of_today_lacks_is_unknown_for_certain() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if "market_chart" in request.url.path:
            return httpx.Response(404, content=b'{"error": "coin not found"}')
        return httpx.Response(200, content=b'[{"id": "bitcoin"}]')

    with coingecko(answer) as upstream, pytest.raises(UnknownCoin) as caught:
        history(upstream, "bitcion", "usd", "daily", 30, NOW)
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
