import asyncio
import gzip
import json
import re
import threading

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import Scope

from cryptocast.serving import create_app
from cryptocast.serving.ab_routing import Sides, client_of
from cryptocast.serving.paths import Endpoint
from tests.serving.serving_app import FOREVER_S, Clock, FakeForecast, app_on, context, get, serving, talk
from tests.serving.test_app import problem
from tests.serving.test_checklist import PAGE as SERVING_PAGE

BITCOIN = "/forecasts?ids=bitcoin"
PAGE = "https://app.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "GET"}
MANY = "/forecasts?ids=" + ",".join(f"coin-{number}" for number in range(30))


def test_each_answer_has_a_request_id_and_a_good_one_of_the_client_is_kept() -> None:
    app = app_on(FakeForecast())

    async def conversation(client: httpx.AsyncClient) -> list[str]:
        given = ["abc-1.2_3", "x" * 65, "a b", "<script>"]
        first = [(await client.get(BITCOIN)).headers["x-request-id"] for _ in range(2)]
        return first + [
            (await client.get("/nowhere", headers={"X-Request-ID": one})).headers["x-request-id"] for one in given
        ]

    one, two, kept, *others = talk(app, conversation)

    assert one != two
    assert kept == "abc-1.2_3"
    assert all(re.fullmatch(r"[0-9a-f]{8}-\d+", other) for other in others)


def test_what_the_client_has_is_not_sent_again() -> None:
    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        first = await client.get(BITCOIN)
        tags = [first.headers["etag"], f'"other", W/{first.headers["etag"]}', "*", '"other"']
        return [first, *[await client.get(BITCOIN, headers={"If-None-Match": tag}) for tag in tags]]

    first, *again = talk(app_on(FakeForecast()), conversation)

    assert [answer.status_code for answer in again] == [304, 304, 304, 200]
    for answer in again[:3]:
        assert answer.content == b""
        assert answer.headers["etag"] == first.headers["etag"]
        assert "content-type" not in answer.headers
        assert "max-age" in answer.headers["cache-control"]


def test_the_first_answer_may_be_a_304_too() -> None:
    app = app_on(FakeForecast())
    tag = get(app, BITCOIN).headers["etag"]

    assert get(app_on(FakeForecast()), BITCOIN, headers={"If-None-Match": tag}).status_code == 304


def test_cache_control_ends_with_the_bar_and_age_grows() -> None:
    clock = Clock()

    async def conversation(client: httpx.AsyncClient) -> list[tuple[str, str]]:
        seen = []
        for seconds in (0, 11 * 3600 + 59 * 60 + 30, 29):
            clock.forward(seconds=seconds)
            answer = await client.get(BITCOIN)
            seen.append((answer.headers["age"], answer.headers["cache-control"]))
        return seen

    assert talk(app_on(FakeForecast(), clock=clock), conversation) == [
        ("0", "private, max-age=60, must-revalidate"),
        ("43170", "private, max-age=30, must-revalidate"),
        ("43199", "private, max-age=1, must-revalidate"),
    ]


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
def test_thirty_coins_are_sent_in_less_than_three_tenths(encoding: str) -> None:
    app = app_on(FakeForecast())
    whole = get(app, MANY, headers={"Accept-Encoding": "identity"})
    small = get(app, MANY, headers={"Accept-Encoding": encoding})

    assert "content-encoding" not in whole.headers
    assert small.headers["content-encoding"] == encoding
    assert small.content == whole.content
    assert int(small.headers["content-length"]) < 0.3 * len(whole.content)
    assert small.headers["vary"] == "accept-encoding"
    assert small.headers["etag"] != whole.headers["etag"]


def test_a_repeated_question_is_answered_with_the_same_bytes_without_the_app() -> None:
    forecast = FakeForecast()

    async def conversation(client: httpx.AsyncClient) -> tuple[bytes, bytes, dict[str, int]]:
        first = await client.get(MANY)
        second = await client.get(MANY)
        cache = (await client.get("/health/components/cache")).json()["values"]
        return first.content, second.content, cache

    first, second, cache = talk(app_on(forecast), conversation)

    assert first == second
    assert cache["hits"] == 1
    assert set(forecast.calls.values()) == {1}


def test_options_says_what_is_allowed_and_no_origin_may_read_by_default() -> None:
    answer = get(app_on(FakeForecast()), BITCOIN, method="OPTIONS", headers={"Origin": "https://example.org"})

    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_only_configured_origins_may_read() -> None:
    app = app_on(FakeForecast(), settings=serving(cors_origins=("https://example.org",)))
    good = get(app, BITCOIN, headers={"Origin": "https://example.org"})
    bad = get(app, BITCOIN, headers={"Origin": "https://example.com"})
    before = get(app, BITCOIN, method="OPTIONS", headers={"Origin": "https://example.org"})

    assert good.headers["access-control-allow-origin"] == "https://example.org"
    assert "access-control-allow-origin" not in bad.headers
    assert "authorization" in before.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in good.headers


def with_pages(*origins: str, **changes: object) -> Starlette:
    return app_on(FakeForecast(), settings=serving(cors_origins=origins or (PAGE,), **changes), token="right")  # noqa: S106


def listed(answer: httpx.Response, name: str) -> set[str]:
    return set(answer.headers.get(f"access-control-{name}", "").split(", "))


@pytest.mark.parametrize(("path", "method"), [(BITCOIN, "GET"), ("/admin/breakers?name=x&state=open", "POST")])
def test_a_browser_asks_without_a_token_whether_a_page_may_ask_with_one(path: str, method: str) -> None:
    offered = set(re.findall(r"^- .*?`(Prefer|If-None-Match|X-Request-ID)", SERVING_PAGE, re.MULTILINE))
    asked = {*(name.lower() for name in offered), "authorization", "x-client-id"}
    sent = {**PREFLIGHT, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": ", ".join(asked)}

    answer = get(with_pages(), path, method="OPTIONS", headers=sent)

    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert method in listed(answer, "allow-methods")
    assert asked <= listed(answer, "allow-headers")
    assert "access-control-allow-credentials" not in answer.headers


def test_a_preflight_of_another_page_is_told_nothing_and_what_is_none_needs_the_token() -> None:
    other = get(with_pages(), BITCOIN, method="OPTIONS", headers={**PREFLIGHT, "Origin": "https://other.example"})
    plain = get(with_pages(), BITCOIN, method="OPTIONS", headers={"Origin": PAGE})

    assert other.status_code == 204
    assert not [name for name in other.headers if name.startswith("access-control")]
    assert plain.status_code == 401


def test_preflights_do_not_use_up_what_a_client_may_ask() -> None:
    async def conversation(client: httpx.AsyncClient) -> set[int]:
        return {(await client.options(BITCOIN, headers=PREFLIGHT)).status_code for _ in range(30)}

    assert talk(with_pages(client_rate_per_s=1.0), conversation) == {204}


def test_a_page_may_read_the_headers_that_tell_it_what_to_do_also_those_of_errors() -> None:
    async def conversation(client: httpx.AsyncClient) -> list[httpx.Response]:
        origin = {"Origin": PAGE}
        known = {**origin, "Authorization": "Bearer right"}
        first = await client.get(BITCOIN, headers=known)
        answers = [
            first,
            await client.get(BITCOIN, headers={**known, "If-None-Match": first.headers["etag"]}),
            await client.get(BITCOIN, headers=origin),
            await client.get("/nowhere", headers=known),
            await client.post("/forecasts", headers={**known, "Content-Length": "99999"}),
            await client.get("/forecasts?ids=bitcoin&x=1", headers=known),
        ]
        while answers[-1].status_code != 429:
            answers.append(await client.get(BITCOIN, headers=known))
        return answers

    answers = talk(with_pages(client_rate_per_s=1.0), conversation)

    assert [answer.status_code for answer in answers[:6]] == [200, 304, 401, 404, 413, 400]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert {"etag", "age", "retry-after", "ratelimit", "ratelimit-policy", "x-request-id"} <= listed(
            answer, "expose-headers"
        )
        assert "origin" in answer.headers["vary"]


@pytest.mark.parametrize(
    ("setting", "origin", "said"),
    [
        ("*", "https://any.example", "*"),
        ("https://app.example/", PAGE, PAGE),
        ("HTTPS://App.Example:443", PAGE, PAGE),
        ("http://localhost:3000", "http://localhost:3000", "http://localhost:3000"),
        (PAGE, "https://app.example.evil", None),
        (PAGE, "http://app.example", None),
        (PAGE, "null", None),
        (PAGE, "", None),
    ],
)
def test_origins_are_compared_as_browsers_send_them(setting: str, origin: str, said: str | None) -> None:
    app = with_pages(setting)
    answer = get(app, "/health", headers={"Origin": origin})
    asked = get(app, BITCOIN, method="OPTIONS", headers={**PREFLIGHT, "Origin": origin})

    assert answer.headers.get("access-control-allow-origin") == said
    assert asked.headers.get("access-control-allow-origin") == said


PROXY = {"trusted_proxies": ("127.0.0.0/8", "10.0.0.0/8")}


def test_behind_a_trusted_proxy_each_client_has_its_own_rate() -> None:
    async def conversation(client: httpx.AsyncClient) -> list[int]:
        came = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.9, 192.0.2.1", "192.0.2.3, 10.1.1.1", "x, 192.0.2.1"]
        return [(await client.get(BITCOIN, headers={"X-Forwarded-For": one})).status_code for one in came]

    settings = serving(client_rate_per_s=0.05, **PROXY)  # bursts of one
    assert talk(app_on(FakeForecast(), settings=settings), conversation) == [200, 429, 200, 429, 200, 429]


@pytest.mark.parametrize("trusted", [(), ("192.0.2.0/24",)])
def test_the_word_of_a_stranger_about_who_asks_counts_for_nothing(trusted: tuple[str, ...]) -> None:
    async def conversation(client: httpx.AsyncClient) -> list[int]:
        came = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
        return [(await client.get(BITCOIN, headers={"X-Forwarded-For": one})).status_code for one in came]

    settings = serving(client_rate_per_s=0.05, trusted_proxies=trusted)
    assert talk(app_on(FakeForecast(), settings=settings), conversation) == [200, 429, 429]


def test_the_side_of_a_test_is_that_of_the_client_behind_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def question(_: Sides, scope: Scope) -> bytes:
        asked.append(client_of(scope))
        return bytes(scope["query_string"])

    monkeypatch.setattr(Sides, "question", question)
    app = app_on(FakeForecast(), settings=serving(**PROXY))
    for headers in ({"X-Forwarded-For": "192.0.2.7"}, {}, {"X-Forwarded-For": "192.0.2.7", "X-Client-Id": "ada"}):
        asked.append("|")
        get(app, BITCOIN, headers=headers)

    assert [set(part.split()) for part in " ".join(asked).replace("address ", "").split("|")[1:]] == [
        {"192.0.2.7"},
        {"127.0.0.1"},
        {"id", "ada"},
    ]


def test_no_header_and_no_answer_names_a_path_of_this_machine() -> None:
    app = app_on(FakeForecast())
    for path in ("/openapi.json", "/metrics", "/health/detailed", "/"):
        assert "/work/" not in get(app, path).text
        assert "/home/" not in get(app, path).text


def test_metrics_know_the_routes_and_put_everything_else_into_one_series() -> None:
    async def conversation(client: httpx.AsyncClient) -> str:
        for path in (BITCOIN, BITCOIN, "/nowhere", "/nowhere/else", "/health/components/cache"):
            await client.get(path)
        await client.request("BREW", "/health")
        return (await client.get("/metrics")).text

    text = talk(app_on(FakeForecast()), conversation)

    assert 'http_server_request_duration_seconds_count{method="GET",route="/forecasts",status="200"} 2.0' in text
    assert 'http_server_request_duration_seconds_count{method="GET",route="_OTHER",status="404"} 2.0' in text
    assert 'route="/health/components/{name}"' in text
    assert 'method="_OTHER"' in text
    assert "nowhere" not in text
    assert "BREW" not in text
    assert "bitcoin" not in text


def test_the_deadline_of_the_settings_holds_for_what_the_handlers_overlook() -> None:
    async def hanging(_service: object, _request: object, _query: object) -> Response:
        await asyncio.Event().wait()
        return Response()

    endpoints = {"/hanging": Endpoint(summary="Never answers", handler=hanging)}
    app = create_app(context(serving(request_timeout_s=0.05)), forecast=FakeForecast(), endpoints=endpoints)

    problem(get(app, "/hanging"), 503, "overloaded")


def test_a_client_may_wait_less_than_the_settings_let_it_and_finds_the_forecast_later() -> None:
    forecast = FakeForecast(go=threading.Event())

    async def conversation(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        early = await client.get(BITCOIN, headers={"Prefer": "respond-async, wait=1"})
        assert forecast.calls["bitcoin"] <= 1
        forecast.go.set()
        return early, await client.get(BITCOIN)

    early, later = talk(app_on(forecast, settings=serving(request_timeout_s=FOREVER_S)), conversation)

    problem(early, 503, "overloaded")
    assert "within 1 s" in early.json()["detail"]
    assert later.status_code == 200
    assert forecast.calls["bitcoin"] == 1


def test_the_bytes_of_an_encoding_are_the_document() -> None:
    async def conversation(client: httpx.AsyncClient) -> bytes:
        async with client.stream("GET", BITCOIN, headers={"Accept-Encoding": "gzip"}) as answer:
            return b"".join([chunk async for chunk in answer.aiter_raw()])

    raw = talk(app_on(FakeForecast()), conversation)

    assert json.loads(gzip.decompress(raw))["forecasts"][0]["coin"] == "bitcoin"
